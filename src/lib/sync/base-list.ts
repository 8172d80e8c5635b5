import type {BackupRecord} from '../archive/backup-record.ts'
import type {RemoteBackupState} from '../archive/backup-state.ts'
import {judgeRestorable} from '../archive/recoverability.ts'
import {parseBackupInfo, type BackupInfo} from '../barman/backup-info.ts'
import {readCatalog, type BarmanCatalog} from '../barman/catalog.ts'
import {walRelativePath, parseWalName} from '../barman/wal-name.ts'
import {BarmanFilesError, messageOf} from '../errors.ts'
import {readStartedMarker} from './claim.ts'
import {forEachConcurrently} from './concurrency.ts'
import {RemoteBackups} from './remote-backups.ts'
import {MAX_DOCUMENT_BYTES} from './remote-identity.ts'
import {isOfOneObject, readRecords} from './remote-records.ts'
import type {ServerContext} from './server-context.ts'

/** One backup, as Barman has it here and as the bucket has it. Times are RFC 3339 in UTC. */
export interface BaseListRow {
  readonly server: string
  readonly backupId: string
  readonly name: string | undefined
  readonly beginTime: string | undefined
  readonly endTime: string | undefined
  /** Of the files. */
  readonly sizeBytes: number | undefined
  /** Of the objects that are stored for it. */
  readonly storedBytes: number | undefined
  readonly layout: string | undefined
  readonly parentBackupId: string | undefined
  /** Status in Barman's own catalogue; undefined when Barman does not have it. */
  readonly barmanStatus: string | undefined
  readonly state: RemoteBackupState
  readonly restorable: 'yes' | 'no' | 'unproven'
  /** Why it is not restorable. */
  readonly reason: string | undefined
  /** Whether Barman has it on its disk; undefined when that disk could not be read. */
  readonly isLocal: boolean | undefined
}

export interface BaseListResult {
  readonly server: string
  /** By begin time; those without one last. */
  readonly backups: readonly BaseListRow[]
  /** The newest restorable one, by begin time. */
  readonly latestRestorable: string | undefined
  readonly problems: readonly string[]
  /** Whether Barman's own catalogue could be read here. */
  readonly isCatalogRead: boolean
}

/** Every backup of a server in S3 and on Barman's disk, with what can be restored. Changes nothing. */
export async function listBase(context: ServerContext): Promise<BaseListResult> {
  const {server, concurrency, progress} = context
  const problems: string[] = []
  const catalog = await readCatalogIfAny(context, problems)
  const remote = await RemoteBackups.load(context)
  const {records, problems: recordProblems} = await readRecords(context, remote.files)
  for (const {message} of recordProblems) problems.push(message)
  // One that is being deleted counts no more, for those that need it neither.
  const byId = new Map(records.flatMap((record) => (remote.files.tombstoned.has(record.backupId) ? [] : [[record.backupId, record] as const])))
  const ids = new Set([...remote.ids(), ...(catalog?.backups ?? []).map(({id}) => id as string)])
  const rows: BaseListRow[] = []
  await forEachConcurrently(ids, concurrency, async (backupId) => {
    const row = await describeBackup(context, {backupId, catalog, remote, byId, problems})
    if (row) rows.push(row)
  })
  rows.sort(byBeginTime)
  for (const problem of problems) progress.warn(problem)
  return {
    server: server.name,
    backups: rows,
    latestRestorable: rows.findLast(({restorable, beginTime}) => restorable === 'yes' && beginTime !== undefined)?.backupId,
    problems,
    isCatalogRead: catalog !== undefined,
  }
}

async function readCatalogIfAny({server, signal}: ServerContext, problems: string[]): Promise<BarmanCatalog | undefined> {
  try {
    const catalog = await readCatalog(server, {signal})
    for (const {path, message} of catalog.problems) problems.push(`${path}: ${message}`)
    return catalog
  } catch (error) {
    if (!(error instanceof BarmanFilesError)) throw error
    problems.push(`Barman's own catalogue cannot be read: ${messageOf(error)}`)
    return undefined
  }
}

interface Sources {
  readonly backupId: string
  readonly catalog: BarmanCatalog | undefined
  readonly remote: RemoteBackups
  readonly byId: ReadonlyMap<string, BackupRecord>
  readonly problems: string[]
}

async function describeBackup(context: ServerContext, sources: Sources): Promise<BaseListRow | undefined> {
  const {backupId, catalog, remote, byId, problems} = sources
  const local = catalog?.backups.find(({id}) => id === backupId)
  const state = await remote.state(backupId)
  if (state === 'absent' && !local) return undefined
  const record = state === 'complete' ? byId.get(backupId) : undefined
  const info = record ? undefined : (local?.info ?? (await readRemoteInfo(context, backupId, state, problems)))
  const facts = record
    ? {
        name: record.summary.name, beginTime: normalizeTime(record.summary.beginTime), endTime: normalizeTime(record.summary.endTime),
        sizeBytes: record.counts.sourceBytes, storedBytes: record.counts.storedBytes, layout: record.layout as string,
        parentBackupId: record.summary.parentBackupId,
      }
    : {
        name: info?.backupName, beginTime: info?.beginTime?.toISOString() ?? (await startedBeginTime(context, backupId, state, problems)),
        endTime: info?.endTime?.toISOString(), sizeBytes: info?.sizeBytes, storedBytes: undefined, layout: undefined,
        parentBackupId: info?.parentBackupId as string | undefined,
      }
  return {
    server: context.server.name, backupId, ...facts,
    barmanStatus: local ? (local.info?.status ?? 'UNREADABLE') : undefined,
    state,
    ...(await judge(context, state, record, byId)),
    isLocal: catalog ? local !== undefined : undefined,
  }
}

async function judge(
  context: ServerContext, state: RemoteBackupState, record: BackupRecord | undefined, byId: ReadonlyMap<string, BackupRecord>,
): Promise<Pick<BaseListRow, 'restorable' | 'reason'>> {
  if (state === 'legacy') return {restorable: 'unproven', reason: 'copied by the old scripts, without a record'}
  if (state === 'absent') return {restorable: 'no', reason: 'not in S3'}
  if (state !== 'complete') return {restorable: 'no', reason: `${state} in S3`}
  if (!record) return {restorable: 'no', reason: 'its record cannot be read'}
  const segments = await listSegments(context, record)
  const verdict = judgeRestorable(record, byId, (name) => segments.has(name))
  return verdict.isRestorable ? {restorable: 'yes', reason: undefined} : {restorable: 'no', reason: verdict.reason}
}

/** Names of the segments from a backup's begin to its end that the bucket has, by ranged LIST. */
async function listSegments({store, keys, signal}: ServerContext, {summary}: BackupRecord): Promise<ReadonlySet<string>> {
  const found = new Set<string>()
  const {beginWal, endWal} = summary
  const begin = beginWal === undefined ? undefined : parseWalName(beginWal)
  const end = endWal === undefined ? undefined : parseWalName(endWal)
  if (!begin || !end) return found
  const lastKey = keys.wal(walRelativePath(end))
  const startAfter = keys.wal(walRelativePath(begin)).slice(0, -1)
  for await (const {key} of store.list(keys.walsPrefix, {startAfter, signal})) {
    if (key > lastKey) break
    const name = key.slice(key.lastIndexOf('/') + 1)
    if (parseWalName(name)?.kind === 'segment') found.add(name)
  }
  return found
}

/** The copy of a backup's `backup.info` in the bucket, when there is no record to tell of it. */
async function readRemoteInfo(
  {store, keys, signal}: ServerContext, backupId: string, state: RemoteBackupState, problems: string[],
): Promise<BackupInfo | undefined> {
  if (state === 'absent') return undefined
  for (const place of ['meta', 'base'] as const) {
    try {
      const bytes = await store.get(keys.backupInfo(backupId, place), {maxBytes: MAX_DOCUMENT_BYTES, signal})
      if (bytes) return parseBackupInfo(bytes.toString('utf8'))
    } catch (error) {
      // A copy nobody can read tells nothing; the state is shown all the same.
      if (!isOfOneObject(error) && !(error instanceof BarmanFilesError)) throw error
      problems.push(`the copy of backup.info of ${backupId} in S3: ${messageOf(error)}`)
    }
  }
  return undefined
}

async function startedBeginTime(context: ServerContext, backupId: string, state: RemoteBackupState, problems: string[]): Promise<string | undefined> {
  if (state !== 'incomplete') return undefined
  try {
    return normalizeTime((await readStartedMarker(context, backupId))?.identity.beginTime)
  } catch (error) {
    if (!isOfOneObject(error)) throw error
    problems.push(messageOf(error))
    return undefined
  }
}

/** A time as RFC 3339 in UTC, which sorts as text; undefined when it is none. */
function normalizeTime(text: string | undefined): string | undefined {
  const time = new Date(text ?? '')
  return Number.isNaN(time.getTime()) ? undefined : time.toISOString()
}

function byBeginTime(left: BaseListRow, right: BaseListRow): number {
  const leftTime = left.beginTime ?? '\uffff'
  const rightTime = right.beginTime ?? '\uffff'
  if (leftTime !== rightTime) return leftTime < rightTime ? -1 : 1
  return left.backupId < right.backupId ? -1 : 1
}

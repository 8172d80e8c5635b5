import {parseBackupRecord, type BackupRecord} from '../archive/backup-record.ts'
import {ConflictError, StoreRefusedError, messageOf} from '../errors.ts'
import {forEachConcurrently} from './concurrency.ts'
import {MAX_DOCUMENT_BYTES} from './remote-identity.ts'
import type {ItemProblem, ServerContext} from './server-context.ts'

/** What lies in `barmans3/` of one server, by backup id. */
export interface RemoteFiles {
  readonly started: ReadonlySet<string>
  readonly recorded: ReadonlySet<string>
  readonly tombstoned: ReadonlySet<string>
  /** Of which a manifest or a note is there. */
  readonly others: ReadonlySet<string>
}

/** The names in `barmans3/`, with one LIST. */
export async function listRemoteFiles({store, keys, signal}: Pick<ServerContext, 'store' | 'keys' | 'signal'>): Promise<RemoteFiles> {
  const started = new Set<string>()
  const recorded = new Set<string>()
  const tombstoned = new Set<string>()
  const others = new Set<string>()
  for await (const {key} of store.list(keys.recordsPrefix, {signal})) {
    const kind = keys.classify(key)
    if (!('backupId' in kind)) continue
    const found = kind.type === 'started' ? started : kind.type === 'record' ? recorded : kind.type === 'deleted' ? tombstoned : others
    found.add(kind.backupId)
  }
  return {started, recorded, tombstoned, others}
}

/**
 * All records of a server, by one LIST and one small GET each. A record that cannot be read or understood is a problem and does
 * not hide the others.
 */
export async function readRecords(
  context: Pick<ServerContext, 'store' | 'keys' | 'signal' | 'concurrency'>, files?: RemoteFiles,
): Promise<{records: BackupRecord[]; problems: ItemProblem[]}> {
  const {recorded} = files ?? (await listRemoteFiles(context))
  const records: BackupRecord[] = []
  const problems: ItemProblem[] = []
  await forEachConcurrently([...recorded].sort(), context.concurrency, async (backupId) => {
    try {
      const record = await readRecord(context, backupId)
      if (record) records.push(record)
    } catch (error) {
      if (!isOfOneObject(error)) throw error
      problems.push({name: backupId, message: messageOf(error)})
    }
  })
  return {records: records.sort((left, right) => (left.backupId < right.backupId ? -1 : 1)), problems}
}

/** Whether an error is about one object only: it cannot be understood, or the store does not give it out. */
export function isOfOneObject(error: unknown): error is ConflictError | StoreRefusedError {
  return error instanceof ConflictError || (error instanceof StoreRefusedError && error.scope === 'request')
}

/**
 * The record of one backup, undefined if there is none.
 * @throws ConflictError when the object is cut, foreign, newer, or of another backup
 */
export async function readRecord(
  {store, keys, signal}: Pick<ServerContext, 'store' | 'keys' | 'signal'>, backupId: string,
): Promise<BackupRecord | undefined> {
  const key = keys.record(backupId)
  const bytes = await store.get(key, {maxBytes: MAX_DOCUMENT_BYTES, signal})
  if (!bytes) return undefined
  const record = parseBackupRecord(bytes, key)
  if (record.backupId !== backupId) throw new ConflictError(`"${key}" is the record of another backup, ${record.backupId}`)
  return record
}

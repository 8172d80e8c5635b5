import type {BackupRecord} from '../archive/backup-record.ts'
import type {RemoteBackupState} from '../archive/backup-state.ts'
import {parseBackupId, type BackupId} from '../barman/backup-id.ts'
import {sameIdentity, type BackupIdentity} from '../barman/backup-info.ts'
import {backupChain, readBackup, readCatalog, type BarmanCatalog, type CatalogBackup} from '../barman/catalog.ts'
import {
  BarmanFilesError, BarmansError, ConflictError, EXIT, InterruptedError, StoreRefusedError, StoreUnreachableError, exitCodeOf, messageOf,
  type ExitCode,
} from '../errors.ts'
import {acquireServerLock} from '../local/server-lock.ts'
import {areTimesKept, copyBackup, identityOf} from './backup-copy.ts'
import {planBackup} from './backup-plan.ts'
import {decideBackup} from './base-plan.ts'
import {stopReasonOf} from './stop-reason.ts'
import {baseSyncExitCode, type BackupOutcome, type BaseSyncResult} from './base-result.ts'
import {deleteObject} from './delete-object.ts'
import {drainQueue} from './drain-queue.ts'
import {removeStaleJournals} from './journal-cleanup.ts'
import {MetadataNotes, syncMetadata} from './metadata-sync.ts'
import type {QueueAccess} from './queue-access.ts'
import {RemoteBackups} from './remote-backups.ts'
import {guardSystemId, type GuardedIdentity} from './remote-identity.ts'
import {readRecord} from './remote-records.ts'
import type {ServerContext} from './server-context.ts'

export interface BaseSyncOptions {
  /** The server's queue, unless only named backups are wanted. */
  readonly queue: QueueAccess | undefined
  /** Only these backups. */
  readonly backupIds: readonly string[] | undefined
  /** Take what the hook missed, too. */
  readonly scan: boolean
  /** Send again what was deleted in S3 or copied by the old scripts. */
  readonly again: boolean
  /** Take over what another installation began. */
  readonly adopt: boolean
  readonly isDryRun: boolean
}

/**
 * Copies base backups of one server: the queue's, then every finished one that is not in S3, or only those named. One
 * backup's failure does not stop the others; what would stop them all (credentials, bucket, network, a signal) does.
 * @throws LockedError, BarmanFilesError (no catalogue), ConflictError (another cluster): nothing was begun
 */
export async function syncBase(context: ServerContext, options: BaseSyncOptions): Promise<BaseSyncResult> {
  if (options.isDryRun) return await new BaseSync(context, options).run()
  const {clock, signal, stateDirectory, server} = context
  const lock = await acquireServerLock(stateDirectory, server.name, 'base', {clock, signal})
  try {
    return await new BaseSync(context, options).run()
  } finally {
    await lock.release()
  }
}

class BaseSync {
  readonly #context: ServerContext
  readonly #options: BaseSyncOptions
  readonly #outcomes: BackupOutcome[] = []
  readonly #brokenTasks: string[] = []
  #metadataUpdated = 0
  #identity: GuardedIdentity = {systemId: undefined, hasIdentityFile: false}

  constructor(context: ServerContext, options: BaseSyncOptions) {
    this.#context = context
    this.#options = options
  }

  async run(): Promise<BaseSyncResult> {
    const {server, signal, progress} = this.#context
    const {queue, isDryRun} = this.#options
    if (!isDryRun) await queue?.recover()
    progress.phase(`base backups of ${server.name}: compare`)
    const catalog = await readCatalog(server, {signal})
    checkBaseDirectory(catalog)
    const loading = RemoteBackups.load(this.#context)
    // Another cluster's bucket is told first, whatever else is wrong with it.
    loading.catch(() => undefined)
    this.#identity = await guardSystemId(this.#context, catalog)
    const remote = await loading
    const notes = await MetadataNotes.load(this.#context)
    let failure: BarmansError | undefined
    try {
      await this.#work(catalog, remote, notes)
      await this.#carryMetadata(remote, notes)
      if (!isDryRun) await removeStaleJournals(this.#context, catalog)
    } catch (error) {
      if (!(error instanceof BarmansError)) throw error
      failure = error
    } finally {
      if (!isDryRun) await notes.save()
    }
    return {
      server: server.name,
      backups: this.#outcomes,
      metadataUpdated: this.#metadataUpdated,
      brokenTasks: this.#brokenTasks,
      isDryRun,
      stoppedBy: stopReasonOf(failure),
      exitCode: baseSyncExitCode(this.#outcomes, {brokenTasks: this.#brokenTasks.length, failure}),
    }
  }

  async #work(catalog: BarmanCatalog, remote: RemoteBackups, notes: MetadataNotes): Promise<void> {
    const {backupIds, queue, scan} = this.#options
    if (backupIds) {
      for (const backupId of backupIds) await this.#handle(backupId, 'command', remote, notes)
      return
    }
    if (queue) await this.#drain(queue, remote, notes)
    if (scan) await this.#scan(catalog, remote, notes)
  }

  async #drain(queue: QueueAccess, remote: RemoteBackups, notes: MetadataNotes): Promise<void> {
    const {isDryRun} = this.#options
    if (isDryRun) {
      for (const task of await queue.waiting()) await this.#handle(task.backupId, 'queue', remote, notes)
      return
    }
    this.#brokenTasks.push(...(await queue.setBrokenAside()))
    for (const name of this.#brokenTasks) this.#context.progress.fail(`"${name}" in the queue is no valid task; it was set aside`)
    await drainQueue(queue, {
      handle: async (task) => await this.#handle(task.backupId, 'queue', remote, notes),
      readIdentity: async (task) => await this.#readIdentity(task.backupId),
    })
  }

  async #readIdentity(id: BackupId): Promise<BackupIdentity | undefined> {
    const backup = await readBackup(this.#context.server, id)
    return backup?.info && identityOf(backup, this.#identity.systemId)
  }

  /** What the hook missed: hooks do not fire on passive nodes, nor when the backup process was killed. */
  async #scan(catalog: BarmanCatalog, remote: RemoteBackups, notes: MetadataNotes): Promise<void> {
    const handled = new Set(this.#outcomes.map(({backupId}) => backupId))
    for (const {id} of catalog.backups) {
      if (handled.has(id) || remote.files.recorded.has(id)) continue
      const backup = await readBackup(this.#context.server, id)
      // Deleted by Barman since the catalogue was read.
      if (!backup) continue
      const {action, reason, hint} = decideBackup(backup, await remote.look(id), {again: false})
      if (action === 'copy') await this.#handle(id, 'scan', remote, notes)
      if (action !== 'broken') continue
      this.#context.progress.fail(`backup ${id} cannot be copied: ${reason}`)
      this.#add(id, 'scan', 'failed', {reason, hint, exitCode: EXIT.barmanFiles})
    }
  }

  async #handle(backupId: string, origin: BackupOutcome['origin'], remote: RemoteBackups, notes: MetadataNotes): Promise<BackupOutcome> {
    try {
      return await this.#handleChecked(backupId, origin, remote, notes)
    } catch (error) {
      const stops = error instanceof InterruptedError || error instanceof StoreUnreachableError
        || (error instanceof StoreRefusedError && error.scope === 'run')
      if (stops || !(error instanceof BarmansError)) throw error
      this.#context.progress.fail(messageOf(error))
      return this.#add(backupId, origin, 'failed', {reason: messageOf(error), hint: error.hint, exitCode: exitCodeOf(error)})
    }
  }

  async #handleChecked(text: string, origin: BackupOutcome['origin'], remote: RemoteBackups, notes: MetadataNotes): Promise<BackupOutcome> {
    const {again} = this.#options
    const id = parseBackupId(text)
    if (!id) return this.#refuse(text, origin, 'that is no backup id', 'ids look like 20261101T020000; see `barmans3 base ls`')
    const backup = await readBackup(this.#context.server, id)
    const look = await remote.look(id)
    const {action, reason, hint} = decideBackup(backup, look, {again})
    switch (action) {
      case 'refuse':
      case 'broken': return this.#refuse(id, origin, reason, hint)
      case 'wait': return this.#add(id, origin, 'not-finished', {reason, exitCode: origin === 'command' ? EXIT.partial : EXIT.ok})
      case 'skip': return this.#add(id, origin, 'skipped', {reason})
      case 'done':
        await this.#checkSameBackup(id, backup)
        return this.#add(id, origin, 'already-complete', {reason})
      case 'copy':
        if (!backup) throw new BarmanFilesError(`backup ${id} is gone`)
        return await this.#copy(id, backup, {reason, origin, ...look}, remote, notes)
    }
  }

  #refuse(backupId: string, origin: BackupOutcome['origin'], reason: string, hint: string | undefined): BackupOutcome {
    this.#context.progress.fail(`backup ${backupId} cannot be copied: ${reason}`)
    return this.#add(backupId, origin, 'refused', {reason, hint, exitCode: origin === 'command' ? EXIT.barmanFiles : EXIT.partial})
  }

  /** @throws ConflictError when S3 has another backup under this id */
  async #checkSameBackup(id: BackupId, backup: CatalogBackup | undefined): Promise<void> {
    const record = await readRecord(this.#context, id)
    if (!record || !backup?.info) return
    this.#checkIdentity(record, backup)
  }

  /** @throws ConflictError when the record is of another backup */
  #checkIdentity(record: BackupRecord, backup: CatalogBackup): void {
    const {id, info} = backup
    if (sameIdentity(record.identity, identityOf(backup, this.#identity.systemId))) return
    throw new ConflictError(
      `backup ${id} in S3, written by ${record.writer.host}, is another backup with the same id: begun ${record.identity.beginTime ?? '?'} at `
      + `${record.identity.beginXlog ?? '?'}, here ${info?.beginTimeText ?? '?'} at ${info?.beginXlog ?? '?'}; nothing was replaced`, {
        hint: 'two Barman hosts must not share one place: set servers.<name>.uri on one of them',
      })
  }

  async #copy(
    id: BackupId, backup: CatalogBackup,
    {reason, origin, state, isTombstoned}: {reason: string; origin: BackupOutcome['origin']; state: RemoteBackupState; isTombstoned: boolean},
    remote: RemoteBackups, notes: MetadataNotes,
  ): Promise<BackupOutcome> {
    const {server, keys, signal} = this.#context
    if (this.#options.isDryRun) {
      const plan = await planBackup(this.#context, {
        backupId: id, root: `${server.basebackupsDirectory}/${id}`, identity: identityOf(backup, this.#identity.systemId), files: remote.files,
        areTimesKept: areTimesKept(backup),
        readLocal: async (earlierId) => await readBackup(server, earlierId),
        identityOf: (earlier) => identityOf(earlier, this.#identity.systemId),
      })
      return this.#add(id, origin, 'planned', {reason, files: plan.files, bytes: plan.bytes, plan: plan.steps})
    }
    if (isTombstoned && remote.files.recorded.has(id)) {
      // The record goes first: while it is there, nothing of the backup has been deleted.
      await this.#checkSameBackup(id, backup)
      await deleteObject(this.#context, keys.tombstone(id), 'the backup stays deleted in S3; nothing was sent')
      return this.#add(id, origin, 'already-complete', {reason: 'its deletion in S3 was called off'})
    }
    // Read anew: the catalogue may have changed since the run began, and a chain must be the present one.
    const chain = backupChain(await readCatalog(server, {signal}), id)?.map((member) => member.id)
    const record = await copyBackup(this.#context, backup, {
      systemId: this.#identity.systemId, chain, hadLegacyData: state === 'legacy', isTombstoned, adopt: this.#options.adopt, notes, files: remote.files,
    })
    remote.addRecorded(id)
    this.#context.progress.event('backup copied', {backup: id, files: record.counts.files, bytes: record.counts.sourceBytes})
    return this.#add(id, origin, 'copied', {reason, files: record.counts.files, bytes: record.counts.sourceBytes})
  }

  /** Later changes of metadata, of every backup that this installation recorded. */
  async #carryMetadata(remote: RemoteBackups, notes: MetadataNotes): Promise<void> {
    const {server, signal, writer, progress} = this.#context
    const catalog = await readCatalog(server, {signal})
    const failed = new Set(this.#outcomes.filter(({outcome}) => outcome === 'failed').map(({backupId}) => backupId))
    for (const backup of catalog.backups) {
      if (failed.has(backup.id) || !remote.files.recorded.has(backup.id) || remote.files.tombstoned.has(backup.id) || !backup.info) continue
      try {
        if (!(await notes.isOwn(backup.id, async () => await this.#isOurs(backup, writer.id)))) continue
        this.#metadataUpdated += (await syncMetadata(this.#context, backup, notes, this.#options.isDryRun)).length
      } catch (error) {
        if (!(error instanceof BarmanFilesError || error instanceof ConflictError || (error instanceof StoreRefusedError && error.scope === 'request'))) throw error
        progress.fail(`metadata of backup ${backup.id}: ${messageOf(error)}`)
        this.#add(backup.id, 'scan', 'failed', {reason: messageOf(error), hint: error.hint, exitCode: exitCodeOf(error)})
      }
    }
  }

  /** @throws ConflictError when the record is of another backup: the scan takes the id for done and would never tell */
  async #isOurs(backup: CatalogBackup, writerId: string): Promise<boolean> {
    const record = await readRecord(this.#context, backup.id)
    if (!record) return false
    this.#checkIdentity(record, backup)
    return record.writer.id === writerId
  }

  #add(
    backupId: string, origin: BackupOutcome['origin'], outcome: BackupOutcome['outcome'],
    rest: {reason?: string | undefined; hint?: string | undefined; files?: number; bytes?: number; plan?: BackupOutcome['plan']; exitCode?: ExitCode},
  ): BackupOutcome {
    const added: BackupOutcome = {
      backupId, origin, outcome, reason: rest.reason, hint: rest.hint, files: rest.files, bytes: rest.bytes, plan: rest.plan, exitCode: rest.exitCode ?? EXIT.ok,
    }
    this.#outcomes.push(added)
    return added
  }
}

/**
 * Backups that are known while the directory of all of them is missing: its disk is not mounted.
 * @throws BarmanFilesError
 */
function checkBaseDirectory({backups, problems, server}: BarmanCatalog): void {
  const missing = problems.find(({path}) => path === server.basebackupsDirectory)
  if (!missing || backups.length === 0) return
  throw new BarmanFilesError(`${missing.path}: ${missing.message}, but server ${server.name} has ${backups.length} backups; nothing was uploaded`, {
    hint: 'see whether its disk is mounted, and compare with basebackups_directory in `barman show-servers`',
  })
}

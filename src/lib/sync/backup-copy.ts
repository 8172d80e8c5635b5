import {join} from 'node:path'
import {formatBackupRecord, summarizeBackupInfo, type BackupRecord} from '../archive/backup-record.ts'
import type {StartedMarker} from '../archive/markers.ts'
import {lockBackupChain, type ChainLock} from '../barman/backup-lock.ts'
import type {BackupId} from '../barman/backup-id.ts'
import {backupIdentity, sameIdentity, type BackupIdentity} from '../barman/backup-info.ts'
import {readBackup, type CatalogBackup} from '../barman/catalog.ts'
import {BarmanFilesError, ConflictError, PartialError, messageOf} from '../errors.ts'
import {checkClaim, claimBackup} from './claim.ts'
import {copyUntilStable, forgetCopy} from './copy-rounds.ts'
import type {CopySummary} from './copy-summary.ts'
import {deleteObject} from './delete-object.ts'
import type {JournalBinding} from './journal-line.ts'
import {uploadManifest, type StoredManifest} from './manifest-upload.ts'
import {MetadataNotes, readMetadataFiles} from './metadata-sync.ts'
import {listRemoteFiles, readRecord, type RemoteFiles} from './remote-records.ts'
import type {ServerContext} from './server-context.ts'

/** Taking back a record may not hold up the end of the program for longer. */
const REMOVAL_TIMEOUT_MS = 10_000

export interface BackupCopyOptions {
  /** Of the server, for backups that do not say it themselves. */
  readonly systemId: string | undefined
  /** Ids of the backup's chain, root to leaf, as the catalogue has it; undefined when an ancestor is missing. */
  readonly chain: readonly BackupId[] | undefined
  readonly hadLegacyData: boolean
  /** A tombstone stands, and is to be lifted. */
  readonly isTombstoned: boolean
  readonly adopt: boolean
  readonly notes: MetadataNotes
  /** What lay in `barmans3/` when the run began, with what it has recorded since. */
  readonly files: RemoteFiles
}

/**
 * Copies one finished backup and, when everything is in S3 and nothing changed meanwhile, records it. Whatever goes
 * wrong before the record is written leaves no record.
 * @param backup as just read, with status WAITING_FOR_WALS or DONE
 */
export async function copyBackup(context: ServerContext, backup: CatalogBackup, options: BackupCopyOptions): Promise<BackupRecord> {
  const copy = new BackupCopy(context, backup, options)
  try {
    return await copy.run()
  } finally {
    await copy.releaseLock()
  }
}

class BackupCopy {
  readonly #context: ServerContext
  readonly #options: BackupCopyOptions
  readonly #identity: BackupIdentity
  readonly #root: string
  readonly #id: BackupId
  #backup: CatalogBackup
  #lock: ChainLock | undefined

  constructor(context: ServerContext, backup: CatalogBackup, options: BackupCopyOptions) {
    this.#context = context
    this.#options = options
    this.#backup = backup
    this.#id = backup.id
    this.#root = join(context.server.basebackupsDirectory, backup.id)
    this.#identity = identityOf(backup, options.systemId)
  }

  async run(): Promise<BackupRecord> {
    const {adopt, files, hadLegacyData, isTombstoned} = this.#options
    await this.#lockIfDone()
    const {marker, isFirst} = await claimBackup(this.#context, {backupId: this.#id, identity: this.#identity, hadLegacyData, adopt, isListed: files.started.has(this.#id)})
    if (isTombstoned) {
      // Only now: without a marker, what the deletion has left would pass for a backup of the old scripts.
      await deleteObject(this.#context, this.#context.keys.tombstone(this.#id), 'the backup stays deleted in S3; nothing was sent')
    }
    const copied = await copyUntilStable(this.#context, {
      backupId: this.#id, root: this.#root, identity: this.#identity, binding: this.#binding(), isFirst: isFirst && !isTombstoned, files,
      areTimesKept: areTimesKept(this.#backup),
      readLocal: async (id) => await readBackup(this.#context.server, id),
      identityOf: (backup) => identityOf(backup, this.#options.systemId),
      onCopied: async () => {
        this.#backup = await this.#readAgain()
        await this.#lockIfDone()
      },
    })
    const {summary} = copied
    const manifest = await uploadManifest(this.#context, this.#id, copied)
    await this.#putMetadata()
    await Promise.all([checkClaim(this.#context, marker), this.#checkVouchers(summary.vouchers)])
    const record = await this.#putRecord(marker, manifest, summary)
    try {
      await this.#checkVouchers(summary.vouchers)
    } catch (error) {
      await this.#removeRecord(error)
      throw error
    }
    await forgetCopy(this.#context, this.#id)
    return record
  }

  async releaseLock(): Promise<void> {
    await this.#lock?.release()
    this.#lock = undefined
  }

  /**
   * Barman's own lock keeps it from deleting the backup meanwhile. Never taken while the backup is WAITING_FOR_WALS: that
   * would hold up Barman's check-backup. Without the lock the check at the end decides.
   */
  async #lockIfDone(): Promise<void> {
    const {server, progress} = this.#context
    if (this.#lock || this.#backup.info?.status !== 'DONE') return
    if (!this.#options.chain) {
      progress.event('copied without lock', {backup: this.#id, reason: 'its chain is not whole here'})
      return
    }
    const result = await lockBackupChain(server, this.#options.chain)
    if (!result.lock) {
      progress.event('copied without lock', {backup: this.#id, reason: result.message})
      return
    }
    this.#lock = result.lock
    // Only now nothing can change any more, so what was read before may be old.
    this.#backup = await this.#readAgain()
  }

  #binding(): JournalBinding {
    const {archiveUri, server, writer, base: {layout}} = this.#context
    return {server: server.name, backupId: this.#id, archiveUri, writer: writer.id, layout, ...this.#identity}
  }

  /** Looked at before and after the record: a backup through whose manifest we refer to objects must not be on its way out. */
  async #checkVouchers(vouchers: readonly string[]): Promise<void> {
    if (vouchers.length === 0) return
    const {tombstoned, recorded} = await listRemoteFiles(this.#context)
    const gone = vouchers.find((id) => tombstoned.has(id) || !recorded.has(id))
    if (gone === undefined) return
    throw new PartialError(`backup ${this.#id} refers to objects through backup ${gone}, which is being deleted in S3`, {
      hint: 'the backup is not recorded as complete; run again, and what it needs of that one is sent',
    })
  }

  /**
   * Takes the record back, whatever else goes wrong: also when the run is being stopped.
   * @throws ConflictError when it stays, for a human to look at
   */
  async #removeRecord(cause: unknown): Promise<void> {
    const {store, keys} = this.#context
    const key = keys.record(this.#id)
    try {
      await deleteObject({store, signal: AbortSignal.timeout(REMOVAL_TIMEOUT_MS)}, key, 'remove it by hand')
    } catch (error) {
      const text = `backup ${this.#id} is recorded, but may not be: ${messageOf(cause)}; and its record could not be removed: ${messageOf(error)}`
      throw new ConflictError(text, {
        hint: `look for tombstones, then remove "${key}" by hand if one stands: the backup it describes would lose objects`, cause: error,
      })
    }
  }

  /**
   * The backup as Barman has it now.
   * @throws BarmanFilesError when it is gone, being deleted, or another one by now
   */
  async #readAgain(): Promise<CatalogBackup> {
    const backup = await readBackup(this.#context.server, this.#id)
    const aborted = {hint: 'nothing was recorded for it in S3; if Barman still has it, the next run begins anew'}
    if (!backup?.info || !backup.hasDataDirectory) throw new BarmanFilesError(`backup ${this.#id} was deleted by Barman while it was copied`, aborted)
    if (backup.deleteMarkerPath !== undefined) throw new BarmanFilesError(`backup ${this.#id} is being deleted by Barman`, aborted)
    if (!sameIdentity(identityOf(backup, this.#options.systemId), this.#identity)) {
      throw new ConflictError(`backup ${this.#id} became another backup while it was copied`, aborted)
    }
    if (backup.info.status === 'FAILED') {
      this.#context.progress.warn(`Barman says FAILED of backup ${this.#id} by now: ${backup.info.error ?? 'a WAL it needs is missing'}`)
    }
    return backup
  }

  async #putMetadata(): Promise<void> {
    const {store, signal} = this.#context
    this.#backup = await this.#readAgain()
    for (const {key, bytes} of await readMetadataFiles(this.#context, this.#backup)) {
      await store.put(key, bytes, {kind: 'meta', signal})
      this.#options.notes.set(key, bytes)
    }
  }

  async #putRecord(marker: StartedMarker, manifest: StoredManifest, {counts, features, owners, vouchers}: CopySummary): Promise<BackupRecord> {
    const {store, keys, clock, signal, server} = this.#context
    const info = this.#backup.info
    if (!info) throw new BarmanFilesError(`backup ${this.#id} has no readable backup.info any more`, {hint: 'nothing was recorded for it in S3; run again'})
    const record: BackupRecord = {
      server: server.name,
      backupId: this.#id,
      identity: this.#identity,
      writer: marker.writer,
      attempt: marker.attempt,
      startedAt: marker.startedAt,
      completedAt: clock.now().toISOString(),
      layout: this.#context.base.layout,
      features,
      summary: summarizeBackupInfo(info),
      counts,
      manifest: {key: keys.relative(keys.manifest(this.#id)), sizeBytes: manifest.sizeBytes, sha256: manifest.sha256},
      owners,
      vouchers,
    }
    const key = keys.record(this.#id)
    const outcome = await store.put(key, formatBackupRecord(record), {kind: 'meta', contentType: 'application/json', ifAbsent: true, signal})
    if (outcome === 'stored') return record
    const present = await readRecord(this.#context, this.#id)
    if (present?.attempt === marker.attempt) return present
    throw new ConflictError(`backup ${this.#id} has been recorded by ${present?.writer.host ?? 'another run'} meanwhile; nothing was replaced`, {
      hint: 'see `barmans3 base ls`; two Barman hosts must not share one place',
    })
  }
}

/** Who a backup is, with the server's system identifier where its own file has none. */
export function identityOf(backup: CatalogBackup, systemId: string | undefined): BackupIdentity {
  if (!backup.info) throw new BarmanFilesError(`backup ${backup.id} has no readable backup.info: ${backup.problem ?? 'it is missing'}`, {hint: 'look at that file: Barman should be able to read it too (`barman show-backup`)'})
  return backupIdentity(backup.info, systemId)
}

/** Whether the files have PostgreSQL's own times (barman: modes rsync-… and local-rsync); pg_basebackup gives its own. */
export function areTimesKept({info}: CatalogBackup): boolean {
  return /rsync/.test(info?.mode ?? '')
}

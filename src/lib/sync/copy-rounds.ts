import {join} from 'node:path'
import {setTimeout as delay} from 'node:timers/promises'
import {formatBackupPath} from '../archive/backup-path.ts'
import type {BackupId} from '../barman/backup-id.ts'
import type {BackupIdentity} from '../barman/backup-info.ts'
import {BackupManifest} from '../barman/backup-manifest.ts'
import type {CatalogBackup} from '../barman/catalog.ts'
import {BarmanFilesError, PartialError, StoreRefusedError, messageOf} from '../errors.ts'
import {CopyTotals} from './copy-totals.ts'
import {copyTree, type CopiedTree} from './copy-tree.ts'
import {deleteObject} from './delete-object.ts'
import {EarlierBackups} from './earlier-backups.ts'
import {checkTreeUnchanged} from './end-check.ts'
import {LocalFileError} from './file-errors.ts'
import {JournalWriter, journalDirectory, removeJournal} from './journal.ts'
import type {JournalBinding} from './journal-line.ts'
import {compareListing, findGoneReferences} from './listing-check.ts'
import type {CopiedBackup} from './manifest-upload.ts'
import {ProtectedObjects} from './protected-objects.ts'
import type {RemoteFiles} from './remote-records.ts'
import type {ServerContext} from './server-context.ts'
import {walkBackupTree} from './tree-walk.ts'
import {UploadAccess, uploadsDirectory} from './upload-access.ts'

/** Files that come while a finished backup is copied (Barman's own manifest) are copied too, so many times. */
const MAX_ROUNDS = 4

export interface StableCopyRequest {
  readonly backupId: BackupId
  /** Directory of the backup. */
  readonly root: string
  readonly identity: BackupIdentity
  readonly binding: JournalBinding
  /** Files have PostgreSQL's own times (methods of rsync). */
  readonly areTimesKept: boolean
  /** Nobody has begun to copy this backup before, so nobody can refer to its objects. */
  readonly isFirst: boolean
  /** What lies in `barmans3/`. */
  readonly files: RemoteFiles
  readonly readLocal: (id: BackupId) => Promise<CatalogBackup | undefined>
  readonly identityOf: (backup: CatalogBackup) => BackupIdentity
  /** Called when all of the tree has been copied, before it is looked at again. */
  readonly onCopied: () => Promise<void>
}

/** Brings a backup's tree to S3 until it is unchanged on disk and the bucket's listing agrees with it. */
export async function copyUntilStable(context: ServerContext, request: StableCopyRequest): Promise<CopiedBackup> {
  const rounds = await CopyRounds.open(context, request)
  try {
    return await rounds.run()
  } finally {
    await rounds.close()
  }
}

/** Removes what is noted here of the copy of a backup that is recorded, uploads in parts included. */
export async function forgetCopy(context: ServerContext, backupId: string): Promise<void> {
  const directory = journalDirectory(context.stateDirectory, context.server.name)
  await new UploadAccess(context.store, uploadsDirectory(directory, backupId), {}).close()
  await removeJournal(directory, backupId)
}

class CopyRounds {
  readonly #context: ServerContext
  readonly #request: StableCopyRequest
  readonly #directory: string
  readonly #earlier: EarlierBackups
  readonly #guarded: ProtectedObjects
  readonly #uploads: UploadAccess

  private constructor(
    context: ServerContext, request: StableCopyRequest, {directory, earlier, guarded}: {directory: string; earlier: EarlierBackups; guarded: ProtectedObjects},
  ) {
    this.#context = context
    this.#request = request
    this.#directory = directory
    this.#earlier = earlier
    this.#guarded = guarded
    this.#uploads = new UploadAccess(context.store, uploadsDirectory(directory, request.backupId), definedOnly(request.binding))
  }

  static async open(context: ServerContext, request: StableCopyRequest): Promise<CopyRounds> {
    const {stateDirectory, server} = context
    const {backupId, identity, isFirst, files, readLocal, identityOf} = request
    const directory = await JournalWriter.prepare(journalDirectory(stateDirectory, server.name))
    const guarded = isFirst ? ProtectedObjects.none() : await ProtectedObjects.load(context, backupId, directory)
    const earlier = await EarlierBackups.load(context, {backupId, identity, files, directory, readLocal, identityOf})
    return new CopyRounds(context, request, {directory, earlier, guarded})
  }

  async close(): Promise<void> {
    await this.#earlier.close()
  }

  async run(): Promise<CopiedBackup> {
    const {progress} = this.#context
    const {backupId} = this.#request
    for (let isRetry = false; ; isRetry = true) {
      const {journal, tree} = await this.#copy()
      const {layout} = this.#context.base
      const copied: CopiedBackup = {layout, summary: tree.summary, entryLines: () => journal.entryLines(), objects: () => journal.objects()}
      const difference = await compareListing(this.#context, backupId, {expected: tree.summary.objects, objects: copied.objects})
      if (difference && difference.foreign.count > 0) {
        progress.warn(`${difference.foreign.count} objects below base/${backupId}/ do not belong to the backup, such as "${difference.foreign.keys[0]}"`)
      }
      const isWhole = !difference || difference.missing.count === 0
      if (isWhole && !(await this.#excludeGone(copied, isRetry))) return copied
      if (isWhole) continue
      // What the journal took for sent may be gone since, and what was copied inside S3 is what the earlier backup has, of any
      // size: then everything is sent once more.
      const {count, keys: [name]} = difference.missing
      const isTakenOver = tree.reusedFiles > 0 || (layout === 'mirror' && !this.#earlier.isEmpty)
      if (isRetry || !isTakenOver) {
        throw new PartialError(`backup ${backupId}: ${count} objects that were sent are not listed, such as "${name}"`, {
          hint: 'the backup is not recorded as complete; run again',
        })
      }
      progress.warn(`${count} objects are not listed as they should be, such as "${name}": everything is sent once more`)
      if (layout === 'mirror') this.#earlier.excludeAll()
      await removeJournal(this.#directory, backupId)
    }
  }

  /** Whether objects of earlier backups are gone that this one refers to: they are named, and what they hold is sent. */
  async #excludeGone(copied: CopiedBackup, isRetry: boolean): Promise<boolean> {
    const {backupId} = this.#request
    if (copied.summary.owners.length === 0) return false
    const gone = await findGoneReferences(this.#context, backupId, copied.objects)
    if (gone.count === 0) return false
    const text = `${gone.count} objects of earlier backups are gone from S3 or of another size, such as "${gone.keys[0]}"`
    if (isRetry) {
      throw new PartialError(`backup ${backupId}: ${text}`, {hint: 'something deletes in this bucket; the backup is not recorded as complete; run again'})
    }
    this.#context.progress.warn(`${text}: the backups they belong to cannot be restored; what this one needs of them is sent again`)
    this.#earlier.exclude(gone)
    return true
  }

  /** Copies until the tree on disk is what was copied. */
  async #copy(): Promise<{journal: JournalWriter; tree: CopiedTree}> {
    const context = this.#context
    const request = this.#request
    const {backupId, root} = request
    for (let round = 1; ; round++) {
      context.progress.phase(`base backup ${backupId}`)
      // Before the journal is open: who finds a manifest that is cut has nothing to close.
      const witness = await BackupManifest.read(join(root, 'data', 'backup_manifest'), {signal: context.signal})
      const journal = await JournalWriter.open(this.#directory, backupId, request.binding)
      const tree = await this.#copyOnce(journal, witness)
      if (tree.failureCount > 0) throw failedFilesError(backupId, tree)
      await request.onCopied()
      const {pool, hashes, partSizeBytes, signal} = context
      const added = await checkTreeUnchanged(root, journal.read(), {pool, hashes, partSizeBytes, signal})
      if (added.length === 0 && tree.impurePacks.length === 0) return {journal, tree}
      if (round === MAX_ROUNDS) {
        throw new LocalFileError('changed', formatBackupPath(added[0] ?? ('' as never)), {detail: 'files keep coming into a finished backup'})
      }
      if (added.length > 0) context.progress.event('files came meanwhile', {backup: backupId, count: added.length})
      await this.#dropPacks(journal, tree.impurePacks)
    }
  }

  async #copyOnce(journal: JournalWriter, witness: BackupManifest | undefined): Promise<CopiedTree> {
    const {backupId, root} = this.#request
    const {signal, progress} = this.#context
    const totals = new CopyTotals(progress)
    const ended = new AbortController()
    const counting = countTree(root, totals, AbortSignal.any([signal, ended.signal]))
    try {
      return await copyTree(this.#context, {
        backupId, root, journal, uploads: this.#uploads, earlier: this.#earlier, witness, guarded: this.#guarded, totals,
        areTimesKept: this.#request.areTimesKept,
      })
    } finally {
      ended.abort()
      await counting
    }
  }

  /** A pack holds what the manifest says and nothing else: one with a member the tree no longer has is made again. */
  async #dropPacks(journal: JournalWriter, numbers: readonly number[]): Promise<void> {
    if (numbers.length === 0) return
    await journal.packs.forget(numbers)
    for (const number of numbers) {
      await deleteObject(this.#context, this.#context.keys.pack(this.#request.backupId, number), 'the backup is not recorded as complete; run again')
    }
  }
}

/** A copy that ends sooner needs no total. */
const COUNT_AFTER_MS = 1500

/** Counts what there is to be copied, beside the copy; what goes wrong here shows there. */
async function countTree(root: string, totals: CopyTotals, signal: AbortSignal): Promise<void> {
  let items = 0
  let bytes = 0
  try {
    await delay(COUNT_AFTER_MS, undefined, {signal})
    for await (const entry of walkBackupTree(root, signal)) {
      if (entry.type !== 'file') continue
      items++
      bytes += entry.sizeBytes
    }
    totals.set({items, bytes})
  } catch {
    // Only the picture of the progress has less to show.
  }
}

function definedOnly(binding: JournalBinding): Record<string, string | number> {
  const defined: Record<string, string | number> = {}
  for (const [name, value] of Object.entries(binding)) if (value !== undefined) defined[name] = value
  return defined
}

/** The error of a backup some of whose files could not be copied, saying how many and which, and whose fault it is. */
export function failedFilesError(backupId: string, tree: CopiedTree): BarmanFilesError | StoreRefusedError {
  const names = tree.failures.slice(0, 3).map(({name}) => name).join(', ')
  const more = tree.failureCount > 3 ? ', …' : ''
  const text = `backup ${backupId}: ${tree.failureCount} of ${tree.files} files failed: ${names}${more}`
  const {refusal} = tree
  if (refusal) {
    return new StoreRefusedError(`${text}: ${messageOf(refusal)}`, {
      storeCode: refusal.storeCode, scope: 'request', cause: refusal,
      hint: `the backup is not recorded as complete; run again, only these will be sent${refusal.hint === undefined ? '' : `; ${refusal.hint}`}`,
    })
  }
  if (tree.damagedCount > 0) {
    return new BarmanFilesError(`${text}; ${tree.damagedCount} of them are damaged on Barman's disk: they are not what PostgreSQL's backup_manifest says`, {
      hint: `the backup is not recorded as complete, and cannot be; see \`barman verify-backup\` for ${backupId}, look at the disk, and take a new backup`,
    })
  }
  return new BarmanFilesError(text, {
    hint: 'the backup is not recorded as complete; mend the files named and run again, only these will be sent',
  })
}

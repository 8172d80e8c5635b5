import {lstatSync} from 'node:fs'
import {join} from 'node:path'
import type {BackupPath} from '../archive/backup-path.ts'
import type {BackupRecord} from '../archive/backup-record.ts'
import {ownerOfObject, type FileEntry, type ManifestEntry, type ManifestObject} from '../archive/manifest.ts'
import type {BackupId} from '../barman/backup-id.ts'
import {sameIdentity, type BackupIdentity} from '../barman/backup-info.ts'
import type {CatalogBackup} from '../barman/catalog.ts'
import {BarmanFilesError, ConflictError, messageOf} from '../errors.ts'
import {forEachConcurrently} from './concurrency.ts'
import {isPacked, type EarlierFile} from './file-plan.ts'
import {localStatOf, type LocalStat} from './local-stat.ts'
import {ManifestFile} from './manifest-file.ts'
import {isOfOneObject, readRecord, type RemoteFiles} from './remote-records.ts'
import type {ServerContext} from './server-context.ts'
import {localPath} from './tree-walk.ts'

/** So many backups before this one are compared with it: the one before, and one more should that have been a failure. */
const COMPARED_BACKUPS = 2

export interface EarlierOptions {
  readonly backupId: BackupId
  readonly identity: BackupIdentity
  readonly files: RemoteFiles
  /** Where manifests are put while they are read. */
  readonly directory: string
  /** The backup as Barman has it here, if it does. */
  readonly readLocal: (id: BackupId) => Promise<CatalogBackup | undefined>
  readonly identityOf: (backup: CatalogBackup) => BackupIdentity
}

/** Complete backups that are in S3 already, and what of them this one can use. */
export class EarlierBackups {
  readonly #context: ServerContext
  readonly #backups: readonly EarlierBackup[]
  /** When each owner's record was written, by backup id; owners without a record are not in it. */
  readonly #ownerTimes: ReadonlyMap<string, number>
  readonly #goneKeys = new Set<string>()
  readonly #goneOwners = new Set<string>()

  private constructor(context: ServerContext, backups: readonly EarlierBackup[], ownerTimes: ReadonlyMap<string, number>) {
    this.#context = context
    this.#backups = backups
    this.#ownerTimes = ownerTimes
  }

  /** For a backup whose content is compared with nothing. */
  static none(context: ServerContext): EarlierBackups {
    return new EarlierBackups(context, [], new Map())
  }

  /** Finds and fetches what can be compared. One that cannot be read is named, and nothing of it is used. */
  static async load(context: ServerContext, options: EarlierOptions): Promise<EarlierBackups> {
    if (context.base.maxReferenceAgeMs === 0) return EarlierBackups.none(context)
    const backups: EarlierBackup[] = []
    const owners = new Map<string, number>()
    // The nearest before it first; one after it may be there already, when what the hook missed is made up for.
    const known = [...options.files.recorded].filter((id) => id !== options.backupId && !options.files.tombstoned.has(id)).sort()
    const ids = [...known.filter((id) => id < options.backupId).reverse(), ...known.filter((id) => id > options.backupId)]
    for (const id of ids) {
      if (backups.length === COMPARED_BACKUPS) break
      const backup = await openEarlier(context, id as BackupId, options)
      if (!backup) continue
      backups.push(backup)
      owners.set(id, Date.parse(backup.record.completedAt))
    }
    const others = new Set(backups.flatMap(({record}) => [...record.owners]).filter((id) => !owners.has(id)))
    await forEachConcurrently(others, context.concurrency, async (id) => {
      const record = await readRecordIfAny(context, id)
      if (record) owners.set(id, Date.parse(record.completedAt))
    })
    return new EarlierBackups(context, backups, owners)
  }

  get isEmpty(): boolean {
    return this.#backups.length === 0
  }

  /** The same path in the earlier backups; none for a file that goes into a pack. Must be asked in the order of path bytes. */
  async find(path: BackupPath, local: LocalStat): Promise<EarlierFile[]> {
    if (isPacked(local.sizeBytes, this.#context.base.layout)) return []
    const found: EarlierFile[] = []
    for (const backup of this.#backups) {
      const file = await backup.find(path, local)
      if (file) found.push({...file, unusable: file.object && this.#whyUnusable(file.object)})
    }
    return found
  }

  /** Whether a line of the journal that refers to an earlier backup's object may still do so. */
  isUsable(object: ManifestObject, voucher: string | undefined): boolean {
    return voucher !== undefined && this.#backups.some(({record}) => record.backupId === voucher) && this.#whyUnusable(object) === undefined
  }

  /** Nothing refers to these objects any more; without names, to nothing of an owner. */
  exclude({keys, owners}: {keys: Iterable<string>; owners: Iterable<string>}): void {
    for (const key of keys) this.#goneKeys.add(key)
    for (const owner of owners) this.#goneOwners.add(owner)
  }

  /** Nothing of the earlier backups is used any more. */
  excludeAll(): void {
    this.exclude({keys: [], owners: this.#ownerTimes.keys()})
  }

  /** Begins again at the first path. */
  rewind(): void {
    for (const backup of this.#backups) backup.rewind()
  }

  async close(): Promise<void> {
    for (const backup of this.#backups) await backup.close()
  }

  #whyUnusable({key}: ManifestObject): string | undefined {
    const owner = ownerOfObject(key) ?? ''
    if (this.#goneKeys.has(key) || this.#goneOwners.has(owner)) return 'the earlier object is gone from S3'
    const time = this.#ownerTimes.get(owner)
    if (time === undefined) return `the record of backup ${owner}, which owns the earlier object, is gone`
    const {clock, base} = this.#context
    return clock.now().getTime() - time > base.maxReferenceAgeMs ? `the earlier object, of backup ${owner}, is older than base.maxReferenceAge` : undefined
  }
}

async function openEarlier(context: ServerContext, id: BackupId, options: EarlierOptions): Promise<EarlierBackup | undefined> {
  const record = await readRecordIfAny(context, id)
  // Another cluster's files may look the same and are none of ours.
  if (!record || record.identity.systemId !== options.identity.systemId) return undefined
  try {
    const manifest = await ManifestFile.fetch(context, record, join(options.directory, `${options.backupId}.earlier-${id}.gz`))
    return new EarlierBackup(context, record, manifest, await localRoot(context, record, options))
  } catch (error) {
    if (!isOfOneObject(error)) throw error
    context.progress.warn(`nothing is taken over from backup ${id}: ${messageOf(error)}`)
    return undefined
  }
}

async function readRecordIfAny(context: ServerContext, id: string): Promise<BackupRecord | undefined> {
  try {
    return await readRecord(context, id)
  } catch (error) {
    if (!isOfOneObject(error)) throw error
    context.progress.warn(`nothing is taken over from backup ${id}: ${messageOf(error)}`)
    return undefined
  }
}

/** Where the earlier backup's files lie here, if they are those of the record and this installation wrote it. */
async function localRoot(context: ServerContext, record: BackupRecord, {readLocal, identityOf}: EarlierOptions): Promise<string | undefined> {
  if (record.writer.id !== context.writer.id) return undefined
  try {
    const backup = await readLocal(record.backupId as BackupId)
    if (!backup?.info || !backup.hasDataDirectory || backup.deleteMarkerPath !== undefined) return undefined
    return sameIdentity(identityOf(backup), record.identity) ? join(context.server.basebackupsDirectory, record.backupId) : undefined
  } catch (error) {
    if (error instanceof BarmanFilesError || error instanceof ConflictError) return undefined
    throw error
  }
}

/** One earlier backup: its manifest read alongside the walk, and its files here. */
class EarlierBackup {
  readonly record: BackupRecord
  readonly #context: ServerContext
  readonly #manifest: ManifestFile
  readonly #root: string | undefined
  #entries: SortedReader<ManifestEntry>
  #objects: SortedReader<ManifestObject>

  constructor(context: ServerContext, record: BackupRecord, manifest: ManifestFile, root: string | undefined) {
    this.record = record
    this.#context = context
    this.#manifest = manifest
    this.#root = root
    this.#entries = new SortedReader(manifest.entries())
    this.#objects = new SortedReader(manifest.objects())
  }

  async find(path: BackupPath, local: LocalStat): Promise<Omit<EarlierFile, 'unusable'> | undefined> {
    try {
      const entry = await this.#entries.seek((candidate) => (candidate.path === path ? 'found' : candidate.path > path ? 'passed' : 'before'))
      if (entry?.type !== 'file') return undefined
      const object = entry.offset === undefined ? await this.#objects.seek(({key}) => (key === entry.object ? 'found' : 'before')) : undefined
      return {backupId: this.record.backupId, entry, object, isHardLink: this.#isHardLink(path, local, entry)}
    } catch (error) {
      if (!(error instanceof BarmanFilesError)) throw error
      this.#context.progress.warn(`nothing more is taken over from backup ${this.record.backupId}: ${messageOf(error)}`)
      this.#entries = this.#objects = new SortedReader<never>(nothing())
      return undefined
    }
  }

  rewind(): void {
    void this.#entries.close()
    void this.#objects.close()
    this.#entries = new SortedReader(this.#manifest.entries())
    this.#objects = new SortedReader(this.#manifest.objects())
  }

  async close(): Promise<void> {
    await this.#entries.close()
    await this.#objects.close()
    await this.#manifest.remove()
  }

  /** Both ends are looked at now: an inode number noted earlier proves nothing, they are used again. */
  #isHardLink(path: BackupPath, local: LocalStat, entry: FileEntry): boolean {
    if (this.#root === undefined || local.linkCount < 2) return false
    try {
      const stats = lstatSync(localPath(this.#root, path), {bigint: true})
      const earlier = localStatOf(stats)
      return stats.isFile() && earlier.device === local.device && earlier.inode === local.inode
        && earlier.sizeBytes === local.sizeBytes && earlier.mtimeNs === local.mtimeNs
        && entry.sizeBytes === earlier.sizeBytes && entry.mtimeNs === earlier.mtimeNs
    } catch {
      return false
    }
  }
}

async function* nothing(): AsyncGenerator<never, void, undefined> {}

/** Reads ahead in lines that are asked for in their own order. */
class SortedReader<Line> {
  readonly #lines: AsyncIterator<Line>
  #next: Line | undefined
  #isDone = false

  constructor(lines: AsyncGenerator<Line, void, undefined>) {
    this.#lines = lines
  }

  /** The next line that `place` calls found; undefined when one that comes behind it is met first, or there is none. */
  async seek(place: (line: Line) => 'before' | 'found' | 'passed'): Promise<Line | undefined> {
    while (!this.#isDone) {
      if (this.#next === undefined) {
        const result = await this.#lines.next()
        if (result.done) {
          this.#isDone = true
          return undefined
        }
        this.#next = result.value
      }
      const where = place(this.#next)
      if (where === 'passed') return undefined
      const line = this.#next
      this.#next = undefined
      if (where === 'found') return line
    }
    return undefined
  }

  async close(): Promise<void> {
    this.#isDone = true
    await this.#lines.return?.()
  }
}

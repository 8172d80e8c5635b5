import {createHash} from 'node:crypto'
import {
  countEntry, countObject, EMPTY_COUNTS, ownerOfObject, type BackupLayout, type ManifestCounts, type ManifestObject,
} from '../archive/manifest.ts'
import {objectOfLine, type JournalLine} from './journal-line.ts'

/** Keys and sizes of any number of objects as one number that does not depend on their order. */
export class ObjectFold {
  count = 0
  #sum = 0n

  /** @param key relative to the server's prefix */
  add({key, sizeBytes}: {readonly key: string; readonly sizeBytes: number}): void {
    this.count++
    // Another key or size has another number, except by a chance of 2^-128.
    const bytes = createHash('sha256').update(`${key}\0${sizeBytes}`).digest()
    this.#sum = BigInt.asUintN(128, this.#sum + ((bytes.readBigUInt64BE(0) << 64n) | bytes.readBigUInt64BE(8)))
  }

  equals(other: ObjectFold): boolean {
    return this.count === other.count && this.#sum === other.#sum
  }
}

/** What one copy of a backup comes to, added up while its lines are noted. */
export class CopySummary {
  counts: ManifestCounts = EMPTY_COUNTS
  /** The backup's own objects. */
  readonly objects = new ObjectFold()
  readonly #backupId: string
  readonly #features: Set<string>
  readonly #owners = new Set<string>()
  readonly #vouchers = new Set<string>()

  constructor(backupId: string, layout: BackupLayout) {
    this.#backupId = backupId
    this.#features = new Set(layout === 'mirror' ? ['mirror'] : [])
  }

  addLine(line: JournalLine): void {
    this.counts = countEntry(this.counts, line.entry)
    const object = objectOfLine(line)
    if (object) this.#addObject(object)
    if (line.stored?.voucher !== undefined) this.#vouchers.add(line.stored.voucher)
  }

  addPack(object: ManifestObject): void {
    this.#features.add('packs')
    this.#addObject(object)
  }

  /** Entries of the manifest. */
  get entryCount(): number {
    const {directories, symlinks, files, special} = this.counts
    return directories + symlinks + files + special
  }

  /** What a reader of the backup must know. */
  get features(): string[] {
    return [...this.#features].sort()
  }

  /** Backups whose objects this one refers to. */
  get owners(): string[] {
    return [...this.#owners].sort()
  }

  /** Backups through whose manifests it does. */
  get vouchers(): string[] {
    return [...this.#vouchers].sort()
  }

  #addObject(object: ManifestObject): void {
    this.counts = countObject(this.counts, object, this.#backupId)
    if (object.zstd) this.#features.add('zstd')
    const owner = ownerOfObject(object.key)
    if (owner === this.#backupId || owner === undefined) {
      this.objects.add(object)
      return
    }
    this.#owners.add(owner)
    this.#features.add('references')
  }
}

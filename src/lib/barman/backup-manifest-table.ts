/** The kinds of checksum a table can hold; `none` stands for those that nobody computes while copying, too. */
const CHECKSUM_KINDS = ['none', 'CRC32C', 'SHA256'] as const

export type ChecksumKind = (typeof CHECKSUM_KINDS)[number]

const BLOCK_ENTRIES = 16 * 1024
const FIRST_SLOTS = 4096
const SEEN = 0x80

/**
 * The files of a backup_manifest in little memory: about 50 bytes for each, in typed arrays, where an object and its
 * strings would take 300. Entries are numbered from 0 in the order they were added. Names are kept whole, so that nothing
 * is found by chance and what is missing can be named.
 */
export class ManifestTable {
  readonly #blocks: Block[] = []
  #count = 0
  #seenCount = 0
  /** Open addressing: number of the entry plus one, 0 for none. A power of two, at least a third of them free. */
  #slots = new Uint32Array(FIRST_SLOTS)
  /** Paths are kept in two parts: a cluster has few directories, with hundreds of files each. */
  readonly #directories: string[] = []
  readonly #directoryNumbers = new Map<string, number>()

  get count(): number {
    return this.#count
  }

  /** Entries that were never marked as seen. */
  get unseenCount(): number {
    return this.#count - this.#seenCount
  }

  /**
   * Adds a file; false when there is one of this path. `path` has one character per byte. Of a checksum 8 bytes are kept:
   * chance hides damage from them once in 2^64 times.
   */
  add(path: string, sizeBytes: number, kind: ChecksumKind, checksumHex: string): boolean {
    const {directory, name} = splitPath(path)
    const number = this.#directoryNumber(directory)
    const hash = hashName(number, name)
    if (this.#count * 3 >= this.#slots.length * 2) this.#growSlots()
    const slot = this.#slotOf(hash, number, name)
    if (this.#slots[slot] !== 0) return false
    const entry = this.#count++
    if (entry % BLOCK_ENTRIES === 0) {
      this.#blocks.at(-1)?.close()
      this.#blocks.push(new Block())
    }
    const block = this.#blockOf(entry)
    const index = entry % BLOCK_ENTRIES
    block.hashes[index] = hash
    block.sizes[index] = sizeBytes
    block.flags[index] = CHECKSUM_KINDS.indexOf(kind)
    block.checksums[2 * index] = hexNumber(checksumHex, 0)
    block.checksums[2 * index + 1] = hexNumber(checksumHex, 8)
    block.directories[index] = number
    block.putName(index, name)
    this.#slots[slot] = entry + 1
    return true
  }

  /** The number of the entry of this path. */
  find(path: string): number | undefined {
    const {directory, name} = splitPath(path)
    const number = this.#directoryNumbers.get(directory)
    if (number === undefined) return undefined
    const slot = this.#slotOf(hashName(number, name), number, name)
    const found = this.#slots[slot] ?? 0
    return found === 0 ? undefined : found - 1
  }

  sizeOf(entry: number): number {
    return this.#blockOf(entry).sizes[entry % BLOCK_ENTRIES] ?? 0
  }

  kindOf(entry: number): ChecksumKind {
    return CHECKSUM_KINDS[(this.#blockOf(entry).flags[entry % BLOCK_ENTRIES] ?? 0) & ~SEEN] ?? 'none'
  }

  /** Whether the kept bytes of the entry's checksum are those of this one. */
  hasChecksum(entry: number, checksumHex: string): boolean {
    const [first, second] = this.#checksumOf(entry)
    return first === hexNumber(checksumHex, 0) && second === hexNumber(checksumHex, 8)
  }

  /** The kept bytes of the checksum as hex digits: 8 of a CRC32C, 16 of the others. */
  formatChecksum(entry: number): string {
    const [first, second] = this.#checksumOf(entry).map((part) => part.toString(16).padStart(8, '0'))
    return this.kindOf(entry) === 'CRC32C' ? `${first}` : `${first}${second}`
  }

  pathOf(entry: number): string {
    const block = this.#blockOf(entry)
    const index = entry % BLOCK_ENTRIES
    return `${this.#directories[block.directories[index] ?? 0]}${block.nameOf(index)}`
  }

  markSeen(entry: number): void {
    const {flags} = this.#blockOf(entry)
    const index = entry % BLOCK_ENTRIES
    if (((flags[index] ?? 0) & SEEN) !== 0) return
    flags[index] = (flags[index] ?? 0) | SEEN
    this.#seenCount++
  }

  /** Numbers of the entries that were never marked as seen, in order. */
  *unseen(): Generator<number> {
    for (let entry = 0; entry < this.#count; entry++) {
      if (((this.#blockOf(entry).flags[entry % BLOCK_ENTRIES] ?? 0) & SEEN) === 0) yield entry
    }
  }

  #blockOf(entry: number): Block {
    const block = this.#blocks[Math.floor(entry / BLOCK_ENTRIES)]
    if (block === undefined) throw new RangeError(`no entry ${entry}`)
    return block
  }

  #checksumOf(entry: number): readonly [number, number] {
    const {checksums} = this.#blockOf(entry)
    const index = 2 * (entry % BLOCK_ENTRIES)
    return [checksums[index] ?? 0, checksums[index + 1] ?? 0]
  }

  #directoryNumber(directory: string): number {
    const known = this.#directoryNumbers.get(directory)
    if (known !== undefined) return known
    this.#directoryNumbers.set(directory, this.#directories.length)
    return this.#directories.push(directory) - 1
  }

  /** The slot of the entry, or the free one where it would go. */
  #slotOf(hash: number, directory: number, name: string): number {
    const mask = this.#slots.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = (this.#slots[slot] ?? 0) - 1
      if (entry < 0) return slot
      const block = this.#blockOf(entry)
      const index = entry % BLOCK_ENTRIES
      if (block.hashes[index] === hash && block.directories[index] === directory && block.nameOf(index) === name) return slot
    }
  }

  #growSlots(): void {
    this.#slots = new Uint32Array(2 * this.#slots.length)
    const mask = this.#slots.length - 1
    for (let entry = 0; entry < this.#count; entry++) {
      let slot = (this.#blockOf(entry).hashes[entry % BLOCK_ENTRIES] ?? 0) & mask
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask
      this.#slots[slot] = entry + 1
    }
  }
}

/** A fixed number of entries: a table grows by whole blocks, so that nothing large is ever copied. */
class Block {
  readonly hashes = new Uint32Array(BLOCK_ENTRIES)
  readonly sizes = new Float64Array(BLOCK_ENTRIES)
  readonly checksums = new Uint32Array(2 * BLOCK_ENTRIES)
  /** Kind of the checksum, and whether the file was seen. */
  readonly flags = new Uint8Array(BLOCK_ENTRIES)
  readonly directories = new Uint32Array(BLOCK_ENTRIES)
  /** Where each name ends in `#names`; it begins where the one before ends. */
  readonly #nameEnds = new Uint32Array(BLOCK_ENTRIES)
  #names = Buffer.alloc(8 * BLOCK_ENTRIES)

  nameOf(index: number): string {
    return this.#names.toString('latin1', this.#nameEnds[index - 1] ?? 0, this.#nameEnds[index])
  }

  /** Names come in the order of their entries. */
  putName(index: number, name: string): void {
    const begin = this.#nameEnds[index - 1] ?? 0
    const end = begin + name.length
    if (end > this.#names.length) this.#resizeNames(2 * end, begin)
    this.#names.write(name, begin, 'latin1')
    this.#nameEnds[index] = end
  }

  /** Gives back the room that no name needs; to be called when the block is full. */
  close(): void {
    const end = this.#nameEnds[BLOCK_ENTRIES - 1] ?? 0
    this.#resizeNames(end, end)
  }

  #resizeNames(length: number, usedLength: number): void {
    const names = Buffer.alloc(length)
    this.#names.copy(names, 0, 0, usedLength)
    this.#names = names
  }
}

/** A path's directory with its closing slash, empty for none, and the name in it. */
function splitPath(path: string): {readonly directory: string; readonly name: string} {
  const end = path.lastIndexOf('/') + 1
  return {directory: path.slice(0, end), name: path.slice(end)}
}

/** The eight hex digits from `begin` on; 0 when there are none. */
function hexNumber(hex: string, begin: number): number {
  return hex.length <= begin ? 0 : Number.parseInt(hex.slice(begin, begin + 8), 16)
}

/** 32 bits that depend on every character (the finish is MurmurHash3's). */
function hashName(directory: number, name: string): number {
  let hash = Math.imul(directory + 1, 0x9e37_79b1)
  for (let index = 0; index < name.length; index++) {
    hash = Math.imul(hash ^ name.charCodeAt(index), 0x85eb_ca77)
    hash ^= hash >>> 15
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

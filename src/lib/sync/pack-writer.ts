import type {ArchiveKeys} from '../archive/keys.ts'
import type {BackupPath} from '../archive/backup-path.ts'
import type {ManifestObject} from '../archive/manifest.ts'
import {PACK_BYTES, PACK_END_BYTES, packMemberBytes, writePackHeader, type PackMember} from '../archive/pack.ts'
import type {ObjectStore} from '../store/object-store.ts'
import type {BodyPool} from './body-pool.ts'
import type {HashPool} from './hash-pool.ts'

/** Members of one pack at most: their lines wait in memory until it is stored. */
const MAX_MEMBERS = 4096

export interface PackWriterDeps {
  readonly store: ObjectStore
  readonly keys: ArchiveKeys
  readonly pool: BodyPool
  readonly hashes: HashPool
  readonly signal: AbortSignal
  /** Told when a pack is stored, before its members are: what it says must be kept first. */
  readonly onStored: (pack: StoredPack) => Promise<void>
}

export interface StoredPack {
  readonly number: number
  /** Its key relative to the server's prefix. */
  readonly object: ManifestObject
  readonly members: number
}

/** Where a member came to lie. */
export interface PackedAt {
  readonly number: number
  /** Key of the pack, relative to the server's prefix. */
  readonly object: string
  /** Where its content begins. */
  readonly offset: number
}

/** Puts small files, directories and links into packs and sends each when it is full, while the next one is filled. */
export class PackWriter {
  readonly #deps: PackWriterDeps
  readonly #backupId: string
  readonly #isTaken: (number: number) => boolean
  #lastNumber = 0
  #pack: OpenPack | undefined
  #opening: Promise<void> | undefined
  readonly #sending = new Set<Promise<void>>()

  /** @param isTaken whether a pack of that number is there already and stays */
  constructor(deps: PackWriterDeps, backupId: string, isTaken: (number: number) => boolean) {
    this.#deps = deps
    this.#backupId = backupId
    this.#isTaken = isTaken
  }

  /**
   * Adds a member.
   * @param fill puts its whole content into the memory it gets; what it throws is thrown here, and nothing was added
   * @returns once it is in a pack; `stored` resolves when that pack is in S3. The pack is sent when it is full or flushed
   */
  async add(member: PackMember, fill?: (content: Buffer) => void): Promise<{stored: Promise<PackedAt>}> {
    const sizeBytes = packMemberBytes(member)
    while (!this.#pack?.hasRoomFor(sizeBytes)) {
      this.flush()
      this.#opening ??= this.#open()
      await this.#opening
    }
    const stored = this.#pack.add(member, sizeBytes, fill)
    // Who asks for it may come later than a failure.
    stored.catch(() => undefined)
    return {stored}
  }

  /** Sends the pack that is being filled, if it holds this member. */
  flushIfHolds(path: BackupPath): void {
    if (this.#pack?.holds(path)) this.flush()
  }

  /** Sends the pack that is being filled, unless it is empty. */
  flush(): void {
    const pack = this.#pack
    if (!pack || pack.memberCount === 0) return
    this.#pack = undefined
    const sending: Promise<void> = this.#send(pack).finally(() => this.#sending.delete(sending))
    this.#sending.add(sending)
  }

  /** Gives back what is not sent, and waits for what is on its way. */
  async close(): Promise<void> {
    await this.#opening?.catch(() => undefined)
    const pack = this.#pack
    this.#pack = undefined
    if (pack) {
      this.#deps.pool.give(pack.memory)
      pack.reject(new Error('the pack was not sent'))
    }
    await Promise.allSettled(this.#sending)
  }

  async #open(): Promise<void> {
    try {
      const memory = await this.#deps.pool.take(PACK_BYTES, this.#deps.signal)
      do this.#lastNumber++
      while (this.#isTaken(this.#lastNumber))
      this.#pack = new OpenPack(memory, this.#lastNumber, this.#deps.keys.relative(this.#deps.keys.pack(this.#backupId, this.#lastNumber)))
    } finally {
      this.#opening = undefined
    }
  }

  async #send(pack: OpenPack): Promise<void> {
    const {store, keys, pool, hashes, signal, onStored} = this.#deps
    let isReusable = true
    try {
      const body = pack.seal()
      const {sha256, crc32c} = await hashes.digest(body)
      isReusable = false
      await store.put(keys.pack(this.#backupId, pack.number), body, {kind: 'base', crc32c, contentType: 'application/x-tar', signal})
      isReusable = true
      await onStored({number: pack.number, object: {key: pack.key, sizeBytes: body.length, crc32c, sha256}, members: pack.memberCount})
      pack.resolve()
    } catch (error) {
      pack.reject(error)
    } finally {
      // After a failure the SDK's socket may still be reading from the body.
      pool.give(pack.memory, {isReusable})
    }
  }
}

class OpenPack {
  readonly memory: Buffer
  readonly number: number
  readonly key: string
  #position = 0
  readonly #paths = new Set<BackupPath>()
  readonly #members: {at: PackedAt; resolve: (at: PackedAt) => void; reject: (error: unknown) => void}[] = []

  constructor(memory: Buffer, number: number, key: string) {
    this.memory = memory
    this.number = number
    this.key = key
  }

  get memberCount(): number {
    return this.#members.length
  }

  holds(path: BackupPath): boolean {
    return this.#paths.has(path)
  }

  hasRoomFor(sizeBytes: number): boolean {
    return this.#members.length < MAX_MEMBERS && this.#position + sizeBytes + PACK_END_BYTES <= this.memory.length
  }

  add(member: PackMember, sizeBytes: number, fill: ((content: Buffer) => void) | undefined): Promise<PackedAt> {
    const offset = writePackHeader(this.memory, this.#position, member)
    fill?.(this.memory.subarray(offset, offset + member.sizeBytes))
    this.#position += sizeBytes
    this.memory.fill(0, offset + member.sizeBytes, this.#position)
    const at = {number: this.number, object: this.key, offset}
    this.#paths.add(member.path)
    return new Promise((resolve, reject) => {
      this.#members.push({at, resolve, reject})
    })
  }

  /** The bytes of the tar file. */
  seal(): Buffer {
    const end = this.#position + PACK_END_BYTES
    this.memory.fill(0, this.#position, end)
    return this.memory.subarray(0, end)
  }

  resolve(): void {
    for (const {at, resolve} of this.#members) resolve(at)
  }

  reject(error: unknown): void {
    for (const {reject} of this.#members) reject(error)
  }
}

import {crc32c} from './checksum.ts'
import {compareKeys} from './key-order.ts'
import {etagOf, etagOfParts, joinParts, readChunks, refused, type MemoryUpload} from './memory-content.ts'
import type {
  DeleteFailure,
  ListedObject,
  ObjectKey,
  ObjectKind,
  ObjectStat,
  ObjectStore,
  PutOptions,
  PutOutcome,
  RequestCounts,
  StoreLimits,
  UploadedPart,
  UploadOptions,
} from './object-store.ts'
import {assertKey, assertMetadata, rangeOf} from './request-rules.ts'

/** One object of the memory store, with what tests want to look at. */
export interface MemoryObject {
  readonly key: ObjectKey
  readonly body: Buffer
  readonly kind: ObjectKind
  readonly etag: string
  readonly crc32c: number | undefined
  readonly metadata: Readonly<Record<string, string>>
  readonly contentType: string | undefined
  readonly storageClass: string
  readonly tags: Readonly<Record<string, string>>
  readonly lastModified: Date
}

export interface MemoryStoreOptions {
  /** Defaults: parts of 5 MiB to 5 GiB, at most 10,000. Tests set `minPartBytes` to 1 to upload small parts. */
  readonly limits?: Partial<StoreLimits>
  /** Keys in one LIST answer; default 1000. */
  readonly pageSize?: number
  /** False for a store that keeps no checksums: `head` then answers `crc32c: undefined`. Default true. */
  readonly keepChecksums?: boolean
  /** As in the S3 store; `meta` is always STANDARD. */
  readonly storageClass?: {readonly base?: string; readonly wal?: string}
  readonly tags?: Readonly<Record<string, string>>
  /** The store's clock, for `lastModified`. */
  readonly now?: () => Date
}

/** An object store whose content can be looked at (and changed, to play another writer or rot). */
export interface MemoryStore extends ObjectStore {
  readonly objects: Map<string, MemoryObject>
  readonly uploads: Map<string, MemoryUpload>
}

/** An object store in memory that keeps the contract: for tests. */
export function createMemoryStore(options: MemoryStoreOptions = {}): MemoryStore {
  return new ObjectsInMemory(options)
}

class ObjectsInMemory implements MemoryStore {
  readonly limits: StoreLimits
  readonly objects = new Map<string, MemoryObject>()
  readonly uploads = new Map<string, MemoryUpload>()
  readonly #options: MemoryStoreOptions
  readonly #counts: Record<string, number> = {}
  #lastUpload = 0

  constructor(options: MemoryStoreOptions) {
    this.#options = options
    this.limits = {minPartBytes: 5 * 1024 ** 2, maxPartBytes: 5 * 1024 ** 3, maxParts: 10_000, ...options.limits}
  }

  async *list(prefix: string, options: {startAfter?: string; signal?: AbortSignal} = {}): AsyncIterable<ListedObject> {
    const {startAfter, signal} = options
    const pageSize = this.#options.pageSize ?? 1000
    await this.#answer('ListObjectsV2', signal)
    const keys = [...this.objects.keys()]
      .filter((key) => key.startsWith(prefix) && (startAfter === undefined || compareKeys(key, startAfter) > 0))
      .sort(compareKeys)
    for (const [index, key] of keys.entries()) {
      if (index > 0 && index % pageSize === 0) await this.#answer('ListObjectsV2', signal)
      signal?.throwIfAborted()
      const object = this.objects.get(key)
      if (object) yield {key: object.key, sizeBytes: object.body.length, lastModified: object.lastModified}
    }
  }

  async listDirectories(prefix: string, options: {signal?: AbortSignal} = {}): Promise<string[]> {
    await this.#answer('ListObjectsV2', options.signal)
    const names = new Set<string>()
    for (const key of this.objects.keys()) {
      const end = key.startsWith(prefix) ? key.indexOf('/', prefix.length) : -1
      if (end > prefix.length) names.add(key.slice(prefix.length, end))
    }

    return [...names].sort(compareKeys)
  }

  async head(key: ObjectKey, options: {signal?: AbortSignal} = {}): Promise<ObjectStat | undefined> {
    assertKey(key)
    await this.#answer('HeadObject', options.signal)
    const object = this.objects.get(key)
    if (!object) return undefined
    const {etag, metadata, storageClass, lastModified} = object
    return {key: object.key, sizeBytes: object.body.length, lastModified, etag, crc32c: object.crc32c, metadata, storageClass}
  }

  async get(key: ObjectKey, options: {maxBytes: number; signal?: AbortSignal}): Promise<Buffer | undefined> {
    assertKey(key)
    await this.#answer('GetObject', options.signal)
    const object = this.objects.get(key)
    if (!object) return undefined
    if (object.body.length > options.maxBytes) {
      throw refused('ObjectTooLarge', `${key} has ${object.body.length} bytes; at most ${options.maxBytes} were expected`)
    }

    return Buffer.from(object.body)
  }

  async getStream(
    key: ObjectKey,
    options: {begin?: number; end?: number; signal?: AbortSignal} = {},
  ): Promise<AsyncIterable<Uint8Array> | undefined> {
    assertKey(key)
    const range = rangeOf(options)
    await this.#answer('GetObject', options.signal)
    const object = this.objects.get(key)
    if (!object) return undefined
    if (range && range.begin >= object.body.length) throw refused('InvalidRange', `${key} has no byte ${range.begin}`)
    const end = range?.end === undefined ? object.body.length : range.end + 1
    return readChunks(object.body.subarray(range?.begin ?? 0, end), options.signal)
  }

  async put(key: ObjectKey, body: Uint8Array, options: PutOptions): Promise<PutOutcome> {
    assertKey(key)
    assertMetadata(options.metadata)
    await this.#answer('PutObject', options.signal)
    // Copied only now: a caller that reuses the buffer before the answer stores other bytes, as with a real store.
    const content = Buffer.from(body)
    this.#verify(key, content, options.crc32c)
    const existing = this.objects.get(key)
    if (options.ifAbsent && existing) return existing.body.equals(content) ? 'stored' : 'exists'
    this.#store(key, content, etagOf(content), options)
    return 'stored'
  }

  async putStream(
    key: ObjectKey,
    body: AsyncIterable<Uint8Array>,
    options: Omit<PutOptions, 'ifAbsent' | 'crc32c'>,
  ): Promise<void> {
    assertKey(key)
    assertMetadata(options.metadata)
    const chunks: Buffer[] = []
    for await (const chunk of body) {
      options.signal?.throwIfAborted()
      chunks.push(Buffer.from(chunk))
    }

    await this.put(key, Buffer.concat(chunks), options)
  }

  async copy(source: ObjectKey, key: ObjectKey, options: UploadOptions): Promise<boolean> {
    assertKey(source)
    assertKey(key)
    assertMetadata(options.metadata)
    await this.#answer('CopyObject', options.signal)
    const object = this.objects.get(source)
    if (!object) return false
    this.#store(key, object.body, etagOf(object.body), options)
    return true
  }

  async createUpload(key: ObjectKey, options: UploadOptions): Promise<string> {
    assertKey(key)
    assertMetadata(options.metadata)
    await this.#answer('CreateMultipartUpload', options.signal)
    const uploadId = `upload-${++this.#lastUpload}`
    this.uploads.set(uploadId, {key, options, parts: new Map()})
    return uploadId
  }

  async uploadPart(
    key: ObjectKey,
    uploadId: string,
    partNumber: number,
    body: Uint8Array,
    options: {crc32c?: number; signal?: AbortSignal} = {},
  ): Promise<UploadedPart> {
    await this.#answer('UploadPart', options.signal)
    const upload = this.#upload(key, uploadId)
    if (!upload) throw refused('NoSuchUpload', `the upload of ${key} is not open any more`)
    if (!Number.isInteger(partNumber) || partNumber < 1 || partNumber > this.limits.maxParts) {
      throw refused('InvalidArgument', `part number ${partNumber} of ${key} is not between 1 and ${this.limits.maxParts}`)
    }

    const content = Buffer.from(body)
    if (content.length > this.limits.maxPartBytes) throw refused('EntityTooLarge', `part ${partNumber} of ${key} is too large`)
    const sum = this.#verify(key, content, options.crc32c)
    const part = {body: content, etag: etagOf(content), crc32c: sum}
    upload.parts.set(partNumber, part)
    return {partNumber, sizeBytes: content.length, etag: part.etag, crc32c: sum}
  }

  async completeUpload(
    key: ObjectKey,
    uploadId: string,
    parts: readonly UploadedPart[],
    whole: {crc32c: number; sizeBytes: number},
    options: {signal?: AbortSignal} = {},
  ): Promise<void> {
    await this.#answer('CompleteMultipartUpload', options.signal)
    const upload = this.#upload(key, uploadId)
    if (!upload) {
      const object = this.objects.get(key)
      if (object && object.body.length === whole.sizeBytes && crc32c(object.body) === whole.crc32c) return
      throw refused('NoSuchUpload', `the upload of ${key} is not open any more`)
    }

    const content = joinParts(upload, parts, this.limits.minPartBytes)
    this.#verify(key, content, whole.crc32c)
    if (content.length !== whole.sizeBytes)
      throw refused('InvalidRequest', `${key} has ${content.length} bytes, not ${whole.sizeBytes}`)
    this.#store(key, content, etagOfParts(parts), upload.options)
    this.uploads.delete(uploadId)
  }

  async abortUpload(key: ObjectKey, uploadId: string): Promise<void> {
    await this.#answer('AbortMultipartUpload')
    if (this.#upload(key, uploadId)) this.uploads.delete(uploadId)
  }

  async listUploads(key: ObjectKey, options: {signal?: AbortSignal} = {}): Promise<string[]> {
    await this.#answer('ListMultipartUploads', options.signal)
    return [...this.uploads].filter(([, upload]) => upload.key === key).map(([uploadId]) => uploadId)
  }

  async delete(keys: readonly ObjectKey[], options: {signal?: AbortSignal} = {}): Promise<DeleteFailure[]> {
    for (const key of keys) assertKey(key)
    for (let begin = 0; begin < keys.length; begin += 1000) {
      await this.#answer('DeleteObjects', options.signal)
      for (const key of keys.slice(begin, begin + 1000)) this.objects.delete(key)
    }

    return []
  }

  requestCounts(): RequestCounts {
    return {...this.#counts}
  }

  close(): void {}

  /** Counts a request and lets other work run first, as a network would. */
  async #answer(operation: string, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    this.#counts[operation] = (this.#counts[operation] ?? 0) + 1
    await new Promise((resolve) => setImmediate(resolve))
    signal?.throwIfAborted()
  }

  #upload(key: ObjectKey, uploadId: string): MemoryUpload | undefined {
    const upload = this.uploads.get(uploadId)
    return upload?.key === key ? upload : undefined
  }

  #verify(key: ObjectKey, content: Buffer, expected: number | undefined): number {
    const sum = crc32c(content)
    if (expected !== undefined && expected !== sum)
      throw refused('BadDigest', `the CRC32C of ${key} is not the one that was sent with it`)
    return sum
  }

  #store(key: ObjectKey, body: Buffer, etag: string, {kind, metadata, contentType}: UploadOptions): void {
    const {storageClass, tags = {}, keepChecksums = true, now} = this.#options
    this.objects.set(key, {
      key,
      body,
      kind,
      etag,
      crc32c: keepChecksums ? crc32c(body) : undefined,
      metadata: {...metadata},
      contentType,
      storageClass: (kind === 'meta' ? undefined : storageClass?.[kind]) ?? 'STANDARD',
      tags,
      lastModified: now?.() ?? new Date(),
    })
  }
}

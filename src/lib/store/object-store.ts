/**
 * The contract between barmans3 and a store of objects. Everything above `store/` sees only this file; the S3
 * implementation, the memory store of the tests and the decorators all pass `test/contract/object-store-suite.ts`.
 *
 * Errors: every method throws `StoreRefusedError` or `StoreUnreachableError` from `lib/errors.ts` and nothing else on a
 * failure of the store; when `signal` is aborted it rejects with the signal's reason. Missing or impossible credentials
 * show at the first request as `UsageError`. A breach of this contract (metadata a store would spoil, an empty key) is a
 * `TypeError`: a bug. Retries, pauses on 503 and re-signing happen inside. A missing key is a value (`undefined`), not an
 * error; a missing bucket is an error with `scope: 'run'`.
 */

/** A key inside the bucket, prefix included, never with a leading `/`. Made only by `lib/archive/keys.ts` and by stores. */
export type ObjectKey = string & {readonly __brand: 'ObjectKey'}

/** What an object is for: decides storage class and tags. `meta` (records, markers, metadata) is always STANDARD. */
export type ObjectKind = 'base' | 'wal' | 'meta'

export interface ListedObject {
  readonly key: ObjectKey
  readonly sizeBytes: number
  readonly lastModified: Date
}

export interface ObjectStat extends ListedObject {
  readonly etag: string | undefined
  /** CRC32C of the whole object as the store checked and keeps it; undefined where it keeps none or only a composite one. */
  readonly crc32c: number | undefined
  /** User metadata, lower-case keys. */
  readonly metadata: Readonly<Record<string, string>>
  readonly storageClass: string | undefined
}

export interface PutOptions {
  readonly kind: ObjectKind
  /** CRC32C of the body, as an unsigned 32-bit number; computed here when left out. */
  readonly crc32c?: number
  /** User metadata: keys `[a-z0-9-]`, values printable ASCII and not empty. */
  readonly metadata?: Readonly<Record<string, string>>
  readonly contentType?: string
  /** Write only if no object has this key. The answer then says whether it was written. */
  readonly ifAbsent?: boolean
  readonly signal?: AbortSignal
}

/**
 * `stored`: the object is there with this body. `exists`: only with `ifAbsent`, an object with another body was there
 * before and is unchanged. Who wrote an equal body does not matter, and cannot be known after a lost answer (reset, or
 * 412 after a retry): both 412 and silence are settled inside by looking. Size and CRC32C must agree, and the bytes of
 * bodies up to 1 MiB too, because files that contain their own CRC (`pg_control`) all have the same CRC32C.
 */
export type PutOutcome = 'stored' | 'exists'

export interface UploadedPart {
  /** From 1. */
  readonly partNumber: number
  readonly sizeBytes: number
  readonly etag: string
  readonly crc32c: number
}

export interface UploadOptions {
  readonly kind: ObjectKind
  readonly metadata?: Readonly<Record<string, string>>
  readonly contentType?: string
  readonly signal?: AbortSignal
}

export interface DeleteFailure {
  readonly key: ObjectKey
  readonly storeCode: string
  readonly message: string
}

export interface StoreLimits {
  /** Smallest size of a part that is not the last. */
  readonly minPartBytes: number
  readonly maxPartBytes: number
  readonly maxParts: number
}

/** Counts of requests by S3 operation name (`PutObject`, `ListObjectsV2`, …), retries included, since the store was made. */
export type RequestCounts = Readonly<Record<string, number>>

export interface ObjectStore {
  readonly limits: StoreLimits

  /**
   * All objects whose key begins with `prefix` and, with `startAfter`, sorts after it (byte order), one at a time.
   * Sorted within a page only: stores that list in folder order exist, so callers that merge must not rely on more.
   * A cut or foreign page, a repeated or missing continuation token is an error, never a shorter list.
   */
  list(prefix: string, options?: {startAfter?: string; signal?: AbortSignal}): AsyncIterable<ListedObject>

  /**
   * Names directly below `prefix` (which ends in `/`) that have keys below them, without the closing `/`, sorted by
   * bytes. A store may still name a folder whose last object is gone: a name alone is no proof that something is there.
   */
  listDirectories(prefix: string, options?: {signal?: AbortSignal}): Promise<string[]>

  /** Metadata of one object, undefined if there is none. */
  head(key: ObjectKey, options?: {signal?: AbortSignal}): Promise<ObjectStat | undefined>

  /**
   * The whole object in memory, undefined if there is none. Refused (StoreRefusedError, scope request) when it is larger
   * than `maxBytes`. A body that ends early is retried, then an error: never a short buffer.
   */
  get(key: ObjectKey, options: {maxBytes: number; signal?: AbortSignal}): Promise<Buffer | undefined>

  /** The object, or bytes `begin` to `end` (both inclusive) of it, as a stream of chunks. Throws at the end if it was cut. */
  getStream(
    key: ObjectKey,
    options?: {begin?: number; end?: number; signal?: AbortSignal},
  ): Promise<AsyncIterable<Uint8Array> | undefined>

  /** One PUT. Safe to call again with the same body. With `ifAbsent` never replaces anything. */
  put(key: ObjectKey, body: Uint8Array, options: PutOptions): Promise<PutOutcome>

  /** Stores a stream of unknown length (the manifest). Replaces what is there. Nothing is left open on failure. */
  putStream(key: ObjectKey, body: AsyncIterable<Uint8Array>, options: Omit<PutOptions, 'ifAbsent' | 'crc32c'>): Promise<void>

  /**
   * Copies inside the store; the object keeps content and gets the given metadata. False if the source is not there, or
   * cannot be copied as it is (archived, or the store has no such request): then the content must be sent.
   */
  copy(source: ObjectKey, key: ObjectKey, options: UploadOptions): Promise<boolean>

  /** Begins a multipart upload and returns its upload id. The caller must complete or abort it. */
  createUpload(key: ObjectKey, options: UploadOptions): Promise<string>
  /** May be repeated with the same bytes. */
  uploadPart(
    key: ObjectKey,
    uploadId: string,
    partNumber: number,
    body: Uint8Array,
    options?: {crc32c?: number; signal?: AbortSignal},
  ): Promise<UploadedPart>
  /**
   * Puts the parts together. The store checks `crc32c`, the value of the whole object; where it cannot, size is checked
   * by HEAD. An answer that is lost, or NoSuchUpload after a retry, is settled by HEAD (size and CRC32C).
   */
  completeUpload(
    key: ObjectKey,
    uploadId: string,
    parts: readonly UploadedPart[],
    whole: {crc32c: number; sizeBytes: number},
    options?: {signal?: AbortSignal},
  ): Promise<void>
  /** Resolves also when the upload is already gone. Takes no signal: it is what cleans up after one. */
  abortUpload(key: ObjectKey, uploadId: string): Promise<void>
  /** Upload ids that are open for exactly this key. */
  listUploads(key: ObjectKey, options?: {signal?: AbortSignal}): Promise<string[]>

  /** Deletes keys in batches; a key that is not there counts as deleted. Returns what the store did not delete. */
  delete(keys: readonly ObjectKey[], options?: {signal?: AbortSignal}): Promise<DeleteFailure[]>

  requestCounts(): RequestCounts

  /** Closes connections. */
  close(): void
}

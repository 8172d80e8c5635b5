import type {
  DeleteFailure,
  ListedObject,
  ObjectKey,
  ObjectStat,
  ObjectStore,
  PutOptions,
  PutOutcome,
  RequestCounts,
  StoreLimits,
  UploadedPart,
  UploadOptions,
} from '../object-store.ts'
import {assertKey, rangeOf} from '../request-rules.ts'
import {createConnection, type Connection} from './client.ts'
import {copyObject} from './copying.ts'
import {deleteObjects} from './deleting.ts'
import {toStoreError} from './errors.ts'
import {listDirectoryNames, listObjects, listUploadIds} from './listing.ts'
import {abortUpload, completeUpload, createUpload, uploadPart, type WholeObject} from './multipart.ts'
import {DEFAULTS, type ConditionalPut, type S3StoreOptions} from './options.ts'
import {getObject, getObjectStream, headObject} from './reading.ts'
import {putStream} from './stream-upload.ts'
import {probeConditionalPut, putObject} from './writing.ts'

/** The S3 store, with what only `doctor` and the wiring ask. */
export interface S3Store extends ObjectStore {
  /**
   * What the store does with a conditional PUT. `key` must hold exactly `body`, or nothing: then it is written. Where the
   * condition is ignored the object is written again, so `put` must be what it was (or will be) written with.
   */
  probeConditionalPut(key: ObjectKey, body: Uint8Array, put: PutOptions): Promise<ConditionalPut>
  /** The store's clock minus this host's, in ms, as of the latest answer (whole seconds); undefined before the first. */
  clockOffsetMs(): number | undefined
}

interface Signalled {
  readonly signal?: AbortSignal
}

/**
 * The object store of one bucket. Nothing is sent before the first call; missing credentials show then, as UsageError.
 * A request is given up after `maxAttempts` attempts: with the defaults about half a minute of pauses between them, a
 * minute when the store says 503, plus up to `idleTimeoutMs` for each attempt that is not answered at all.
 * @throws UsageError for options and environment that cannot be used.
 */
export function createS3Store(options: S3StoreOptions): S3Store {
  return new BucketStore(options, createConnection(options))
}

class BucketStore implements S3Store {
  readonly limits: StoreLimits
  readonly #options: S3StoreOptions
  readonly #connection: Connection

  constructor(options: S3StoreOptions, connection: Connection) {
    this.#options = options
    this.#connection = connection
    this.limits = {minPartBytes: 5 * 1024 ** 2, maxPartBytes: 5 * 1024 ** 3, maxParts: options.maxParts ?? DEFAULTS.maxParts}
  }

  async *list(prefix: string, options: Signalled & {startAfter?: string} = {}): AsyncIterable<ListedObject> {
    try {
      options.signal?.throwIfAborted()
      for await (const object of listObjects(this.#connection, prefix, options)) {
        options.signal?.throwIfAborted()
        this.#connection.isBucketSeen = true
        yield object
      }
    } catch (error) {
      throw this.#translate(error, 'list', prefix, options.signal)
    }
  }

  listDirectories(prefix: string, options: Signalled = {}): Promise<string[]> {
    return this.#run('list', prefix, options.signal, () => listDirectoryNames(this.#connection, prefix, options))
  }

  head(key: ObjectKey, {signal}: Signalled = {}): Promise<ObjectStat | undefined> {
    return this.#run('look at', key, signal, async () => {
      const {isSumOfWhole: _, ...stat} = (await headObject(this.#connection, key, signal)) ?? {}
      return 'key' in stat ? stat : undefined
    })
  }

  get(key: ObjectKey, {maxBytes, signal}: Signalled & {maxBytes: number}): Promise<Buffer | undefined> {
    return this.#run('read', key, signal, () => getObject(this.#connection, key, maxBytes, signal))
  }

  async getStream(
    key: ObjectKey,
    options: Signalled & {begin?: number; end?: number} = {},
  ): Promise<AsyncIterable<Uint8Array> | undefined> {
    const range = rangeOf(options)
    const {signal} = options
    const stream = await this.#run('read', key, signal, () => getObjectStream(this.#connection, key, range, signal))
    return stream && this.#translated(stream, key, signal)
  }

  put(key: ObjectKey, body: Uint8Array, options: PutOptions): Promise<PutOutcome> {
    return this.#run('write', key, options.signal, () => putObject(this.#connection, this.#options, key, body, options))
  }

  putStream(key: ObjectKey, body: AsyncIterable<Uint8Array>, options: UploadOptions): Promise<void> {
    return this.#run('write', key, options.signal, () => putStream(this.#connection, this.#options, key, body, options))
  }

  copy(source: ObjectKey, key: ObjectKey, options: UploadOptions): Promise<boolean> {
    return this.#run('copy to', key, options.signal, () => copyObject(this.#connection, this.#options, source, key, options))
  }

  createUpload(key: ObjectKey, options: UploadOptions): Promise<string> {
    return this.#run('begin the upload of', key, options.signal, () =>
      createUpload(this.#connection, this.#options, key, options),
    )
  }

  uploadPart(
    key: ObjectKey,
    uploadId: string,
    partNumber: number,
    body: Uint8Array,
    options: Signalled & {crc32c?: number} = {},
  ): Promise<UploadedPart> {
    return this.#run(`write part ${partNumber} of`, key, options.signal, () =>
      uploadPart(this.#connection, {key, uploadId, partNumber}, body, options),
    )
  }

  completeUpload(
    key: ObjectKey,
    uploadId: string,
    parts: readonly UploadedPart[],
    whole: WholeObject,
    {signal}: Signalled = {},
  ): Promise<void> {
    return this.#run('complete the upload of', key, signal, () =>
      completeUpload(this.#connection, {key, uploadId}, parts, whole, signal),
    )
  }

  abortUpload(key: ObjectKey, uploadId: string): Promise<void> {
    return this.#run('abort the upload of', key, undefined, () => abortUpload(this.#connection, key, uploadId))
  }

  listUploads(key: ObjectKey, options: Signalled = {}): Promise<string[]> {
    return this.#run('list the uploads of', key, options.signal, () => listUploadIds(this.#connection, key, options))
  }

  delete(keys: readonly ObjectKey[], {signal}: Signalled = {}): Promise<DeleteFailure[]> {
    return this.#run('delete from', undefined, signal, () => deleteObjects(this.#connection, keys, signal))
  }

  probeConditionalPut(key: ObjectKey, body: Uint8Array, put: PutOptions): Promise<ConditionalPut> {
    return this.#run('write', key, put.signal, () => probeConditionalPut(this.#connection, this.#options, key, body, put))
  }

  requestCounts(): RequestCounts {
    return {...this.#connection.counts}
  }

  clockOffsetMs(): number | undefined {
    return this.#connection.clockOffsetMs()
  }

  close(): void {
    this.#connection.sdk.destroy()
  }

  /** The edge: everything thrown inside leaves as an error of the contract, or as the signal's reason. */
  async #run<T>(action: string, key: string | undefined, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    try {
      if (key !== undefined && action !== 'list') assertKey(key)
      signal?.throwIfAborted()
      return await work()
    } catch (error) {
      throw this.#translate(error, action, key, signal)
    }
  }

  async *#translated(
    stream: AsyncIterable<Uint8Array>,
    key: string,
    signal: AbortSignal | undefined,
  ): AsyncIterable<Uint8Array> {
    try {
      yield* stream
    } catch (error) {
      throw this.#translate(error, 'read', key, signal)
    }
  }

  #translate(error: unknown, action: string, key: string | undefined, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted) return signal.reason
    const {place, policy} = this.#connection
    return toStoreError(error, {action, key, place, isOutOfService: policy.isOutOfService})
  }
}

import {crc32c} from '@node-rs/crc32'
import {InterruptedError, StoreRefusedError, StoreUnreachableError} from '../errors.ts'
import {combineCrc32c} from '../store/checksum.ts'
import type {ObjectKey, ObjectKind, ObjectStore, UploadedPart} from '../store/object-store.ts'
import type {BodyPool} from './body-pool.ts'
import type {UploadJournal} from './upload-journal.ts'

const MEBIBYTE = 1024 * 1024

export interface PartSenderDeps {
  readonly store: ObjectStore
  readonly pool: BodyPool
  readonly signal: AbortSignal
  /** Told the bytes of every part that the store has. */
  readonly onBytes?: (bytes: number) => void
}

export interface PartTarget {
  readonly key: ObjectKey
  readonly kind: ObjectKind
  readonly metadata: Readonly<Record<string, string>>
  /** Where the upload is noted so that another run can go on with it; without one it is aborted when it fails. */
  readonly journal?: UploadJournal | undefined
}

/** What was sent before is not what would be sent now: the upload has to begin anew. */
export class StaleUploadError extends Error {}

/**
 * Sends one object in parts, several at a time, and never one that an earlier run has sent. The parts come in order; each
 * body is a buffer of the pool and is given back when nothing reads it any more.
 */
export class PartSender {
  readonly #deps: PartSenderDeps
  readonly #target: PartTarget
  readonly #uploadId: string
  readonly #failed = new AbortController()
  readonly #signal: AbortSignal
  readonly #parts: Promise<UploadedPart>[] = []

  private constructor(deps: PartSenderDeps, target: PartTarget, uploadId: string) {
    this.#deps = deps
    this.#target = target
    this.#uploadId = uploadId
    this.#signal = AbortSignal.any([deps.signal, this.#failed.signal])
  }

  /** Begins an upload, or goes on with the one in the journal. */
  static async open(deps: PartSenderDeps, target: PartTarget): Promise<PartSender> {
    const {store, signal} = deps
    const {key, kind, metadata, journal} = target
    if (journal?.uploadId !== undefined) return new PartSender(deps, target, journal.uploadId)
    let uploadId: string | undefined
    try {
      await journal?.begin()
      uploadId = await store.createUpload(key, {kind, metadata, signal})
      await journal?.noteUpload(uploadId)
      return new PartSender(deps, target, uploadId)
    } catch (error) {
      if (uploadId !== undefined) await giveUp(store, target, uploadId)
      // The store may have begun one all the same: it stays announced.
      else if (isPassing(error)) await quietly(journal?.close())
      else await quietly(journal?.remove())
      throw error
    }
  }

  /** Aborted when the run is, or when a part of this upload failed. */
  get signal(): AbortSignal {
    return this.#signal
  }

  /**
   * Takes over `body` as the next part and sends it in the background.
   * @param summing its CRC32C, when somebody who reads it all the same finds that out
   */
  add(body: Buffer, summing: Promise<number> = Promise.resolve(crc32c(body))): void {
    const part = this.#send(this.#parts.length + 1, body, summing)
    part.catch((error: unknown) => this.#failed.abort(error))
    this.#parts.push(part)
  }

  async #send(partNumber: number, body: Buffer, summing: Promise<number>): Promise<UploadedPart> {
    const {store, pool} = this.#deps
    const {key, journal} = this.#target
    let isReusable = false
    try {
      const sum = await summing
      const earlier = journal?.part(partNumber)
      if (earlier && (earlier.sizeBytes !== body.length || earlier.crc32c !== sum)) throw new StaleUploadError(`part ${partNumber} of "${key}"`)
      const part = earlier ?? (await store.uploadPart(key, this.#uploadId, partNumber, body, {crc32c: sum, signal: this.#signal}))
      if (!earlier) await journal?.notePart(part)
      this.#deps.onBytes?.(body.length)
      isReusable = true
      return part
    } finally {
      // After a failure the SDK's socket may still be reading from the body.
      pool.give(body, {isReusable})
    }
  }

  /** Waits for all parts. @throws what the first failed part threw */
  async settle(): Promise<void> {
    await Promise.all(this.#parts)
  }

  /** Puts the parts together, after `settle`. */
  async complete(): Promise<{sizeBytes: number; crc32c: number}> {
    const {store, signal} = this.#deps
    const parts = await Promise.all(this.#parts)
    const whole = parts.reduce(
      (before, part) => ({sizeBytes: before.sizeBytes + part.sizeBytes, crc32c: combineCrc32c(before.crc32c, part.crc32c, part.sizeBytes)}),
      {sizeBytes: 0, crc32c: 0},
    )
    await store.completeUpload(this.#target.key, this.#uploadId, parts, whole, {signal})
    await this.#target.journal?.remove()
    return whole
  }

  /**
   * Ends an upload that failed by `error`: parts under way end first, or they would outlive it. What another run can go
   * on with is left open, everything else is aborted in the store.
   * @returns the error that stands behind it all
   */
  async fail(error: unknown): Promise<unknown> {
    const {journal} = this.#target
    const cause: unknown = this.#failed.signal.aborted ? this.#failed.signal.reason : error
    this.#failed.abort(error)
    await Promise.allSettled(this.#parts)
    if (journal && isPassing(cause) && (await quietly(journal.close()))) return cause
    await giveUp(this.#deps.store, this.#target, this.#uploadId)
    return cause
  }
}

/** Whether the next run can expect to go on where this one was stopped (design: a signal or passing fault). */
function isPassing(error: unknown): boolean {
  if (error instanceof InterruptedError || error instanceof StoreUnreachableError) return true
  return error instanceof StoreRefusedError && (error.scope === 'run' || error.isPassing)
}

/**
 * Aborts an upload and forgets it. The error that made us do so matters more than one of the abort itself: where the store
 * does not answer the next run aborts it, and the bucket's lifecycle rule is the net below.
 */
async function giveUp(store: ObjectStore, {key, journal}: PartTarget, uploadId: string): Promise<void> {
  try {
    await store.abortUpload(key, uploadId)
  } catch (error) {
    const isWorthAnother = error instanceof StoreUnreachableError || (error instanceof StoreRefusedError && error.isPassing)
    if (isWorthAnother && (await quietly(journal?.noteGivenUp())) && (await quietly(journal?.close()))) return
  }
  await quietly(journal?.remove())
}

/** Whether it worked: the error under way says what is wrong. */
async function quietly(work: Promise<void> | undefined): Promise<boolean> {
  try {
    await work
    return true
  } catch {
    return false
  }
}

/**
 * Size of the parts of an object: as configured, but large enough for the store's limit of parts, in whole MiB.
 * @param sizeBytes of the whole object, or the most it can become
 * @throws StoreRefusedError before anything is sent, when the store cannot hold an object of that size
 */
export function planPartSize(sizeBytes: number, configuredBytes: number, limits: ObjectStore['limits']): number {
  const needed = Math.ceil(sizeBytes / limits.maxParts / MEBIBYTE) * MEBIBYTE
  if (needed > limits.maxPartBytes) {
    throw new StoreRefusedError(`${sizeBytes} bytes do not go into ${limits.maxParts} parts of at most ${limits.maxPartBytes} bytes`, {
      storeCode: 'EntityTooLarge', scope: 'request', hint: 'see whether the store takes more parts (s3.maxParts), or keep this backup elsewhere',
    })
  }
  return Math.min(Math.max(configuredBytes, needed, limits.minPartBytes), limits.maxPartBytes)
}

/** Modification time as rclone writes it: seconds with nanoseconds. */
export function mtimeMetadata(mtimeNs: bigint): Record<string, string> {
  const sign = mtimeNs < 0n ? '-' : ''
  const text = (mtimeNs < 0n ? -mtimeNs : mtimeNs).toString().padStart(10, '0')
  return {mtime: `${sign}${text.slice(0, -9)}.${text.slice(-9)}`}
}

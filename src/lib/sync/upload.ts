import {constants, type BigIntStats} from 'node:fs'
import {open, type FileHandle} from 'node:fs/promises'
import {createHash, hash, webcrypto} from 'node:crypto'
import {crc32c} from '@node-rs/crc32'
import type {ObjectKey, ObjectKind, ObjectStore, UploadedPart} from '../store/object-store.ts'
import type {BodyPool} from './body-pool.ts'
import {LocalFileError, localFileError} from './file-errors.ts'
import {compareLocalStat, localStatOf, type LocalStat} from './local-stat.ts'

const MEBIBYTE = 1024 * 1024
/** Above this a digest goes to the thread pool; below, handing it over costs more than computing it. */
const POOL_DIGEST_BYTES = 256 * 1024

export interface UploadDeps {
  readonly store: ObjectStore
  readonly pool: BodyPool
  /** Part size as configured; grows with the file so that the store's limit of parts holds. */
  readonly partSizeBytes: number
  readonly signal: AbortSignal
  /** Told the bytes of every request that was stored. */
  readonly onBytes?: (bytes: number) => void
}

export interface UploadRequest {
  readonly path: string | Buffer
  /** The path as people see it. */
  readonly shownPath: string
  readonly key: ObjectKey
  readonly kind: ObjectKind
  /** A file up to this size is one PUT. */
  readonly singlePutBytes: number
  /** Never replace an object of that key; asked by HEAD first where the file needs a multipart upload. */
  readonly ifAbsent?: boolean
  /** SHA-256 of the content is wanted (base backups). */
  readonly digest?: boolean
  /** What an earlier look at the file said; anything else now is `changed`. */
  readonly expected?: LocalStat
  /** Called with the first bytes before anything is sent; may throw to refuse the file. */
  readonly inspect?: (head: Buffer, sizeBytes: number) => void
  readonly metadata?: Readonly<Record<string, string>>
}

export interface UploadedFile {
  /** `exists`: only with `ifAbsent`: another object has the key; `crc32c` tells what the file holds. */
  readonly outcome: 'stored' | 'exists'
  readonly sizeBytes: number
  readonly crc32c: number
  /** 64 hex digits; empty without `digest`. */
  readonly sha256: string
  readonly local: LocalStat
}

/**
 * Sends one local file. It is opened without following links and without waiting (a FIFO cannot hang it), looked at
 * before and after reading, and what changed meanwhile is never taken for stored.
 * @throws LocalFileError when the file vanished, changed or cannot be read; errors of the store as they are. An upload
 *   in parts is aborted in the store before anything is thrown.
 */
export async function uploadFile(deps: UploadDeps, request: UploadRequest): Promise<UploadedFile> {
  return await withOpenFile(request, async (file, before) => {
    const sizeBytes = Number(before.size)
    return sizeBytes <= request.singlePutBytes
      ? await uploadWhole(deps, request, file, before)
      : await uploadInParts(deps, request, file, before)
  })
}

/**
 * Reads one local file and returns size, CRC32C and SHA-256 of its content without sending it.
 * @throws LocalFileError
 */
export async function digestFile(
  deps: Pick<UploadDeps, 'pool' | 'partSizeBytes' | 'signal'>,
  request: Pick<UploadRequest, 'path' | 'shownPath' | 'expected'>,
): Promise<{sizeBytes: number; crc32c: number; sha256: string; local: LocalStat}> {
  return await withOpenFile(request, async (file, before) => {
    const sha = createHash('sha256')
    const sizeBytes = Number(before.size)
    let sum = 0
    const buffer = await deps.pool.take(Math.max(1, Math.min(sizeBytes, deps.partSizeBytes)), deps.signal)
    try {
      for (let position = 0; position < sizeBytes; position += buffer.length) {
        deps.signal.throwIfAborted()
        const chunk = buffer.subarray(0, Math.min(buffer.length, sizeBytes - position))
        await readExactly(file, chunk, position, request.shownPath)
        sum = crc32c(chunk, sum)
        sha.update(chunk)
      }
    } finally {
      deps.pool.give(buffer)
    }
    await checkUnchanged(file, before, request.shownPath)
    return {sizeBytes, crc32c: sum, sha256: sha.digest('hex'), local: localStatOf(before)}
  })
}

async function withOpenFile<Result>(
  request: Pick<UploadRequest, 'path' | 'shownPath' | 'expected'>,
  work: (file: FileHandle, before: BigIntStats) => Promise<Result>,
): Promise<Result> {
  let file: FileHandle
  try {
    file = await open(request.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    throw localFileError(error, request.shownPath)
  }
  try {
    const before = await file.stat({bigint: true})
    if (!before.isFile()) throw new LocalFileError('changed', request.shownPath, {detail: 'it is no regular file'})
    if (request.expected && compareLocalStat(request.expected, localStatOf(before)) === 'changed') {
      throw new LocalFileError('changed', request.shownPath)
    }
    return await work(file, before)
  } finally {
    await file.close()
  }
}

async function uploadWhole(deps: UploadDeps, request: UploadRequest, file: FileHandle, before: BigIntStats): Promise<UploadedFile> {
  const sizeBytes = Number(before.size)
  const body = await deps.pool.take(sizeBytes, deps.signal)
  let isReusable = false
  try {
    await readExactly(file, body, 0, request.shownPath)
    await checkUnchanged(file, before, request.shownPath)
    request.inspect?.(body.subarray(0, 64), sizeBytes)
    const sum = crc32c(body)
    const sha256 = request.digest ? await digestBody(body) : ''
    const outcome = await deps.store.put(request.key, body, {
      kind: request.kind,
      crc32c: sum,
      metadata: {...mtimeMetadata(before.mtimeNs), ...request.metadata},
      ...(request.ifAbsent ? {ifAbsent: true} : {}),
      signal: deps.signal,
    })
    isReusable = true
    if (outcome === 'stored') deps.onBytes?.(sizeBytes)
    return {outcome, sizeBytes, crc32c: sum, sha256, local: localStatOf(before)}
  } finally {
    // After a failure the SDK's socket may still be reading from the body.
    deps.pool.give(body, {isReusable})
  }
}

async function uploadInParts(deps: UploadDeps, request: UploadRequest, file: FileHandle, before: BigIntStats): Promise<UploadedFile> {
  const {store, pool, signal} = deps
  const sizeBytes = Number(before.size)
  const partSizeBytes = planPartSize(sizeBytes, deps.partSizeBytes, store.limits)
  const sha = request.digest ? createHash('sha256') : undefined
  if (request.inspect) {
    const head = Buffer.alloc(64)
    await readExactly(file, head, 0, request.shownPath)
    request.inspect(head, sizeBytes)
  }
  if (request.ifAbsent && (await store.head(request.key, {signal}))) {
    const {crc32c: sum, sha256} = await digestFile(deps, request)
    return {outcome: 'exists', sizeBytes, crc32c: sum, sha256: request.digest ? sha256 : '', local: localStatOf(before)}
  }
  const uploadId = await store.createUpload(request.key, {
    kind: request.kind, metadata: {...mtimeMetadata(before.mtimeNs), ...request.metadata}, signal,
  })
  // Parts of this file under way when one fails must end before the upload is aborted, or they would outlive it.
  const failed = new AbortController()
  const partSignal = AbortSignal.any([signal, failed.signal])
  const parts: Promise<UploadedPart>[] = []
  let sum = 0
  try {
    for (let position = 0, partNumber = 1; position < sizeBytes; position += partSizeBytes, partNumber++) {
      partSignal.throwIfAborted()
      const body = await pool.take(Math.min(partSizeBytes, sizeBytes - position), partSignal)
      try {
        await readExactly(file, body, position, request.shownPath)
      } catch (error) {
        pool.give(body)
        throw error
      }
      const partSum = crc32c(body)
      sum = crc32c(body, sum)
      sha?.update(body)
      const part = sendPart(deps, request.key, uploadId, partNumber, body, partSum, partSignal)
      part.catch((error: unknown) => failed.abort(error))
      parts.push(part)
    }
    const uploaded = await Promise.all(parts)
    await checkUnchanged(file, before, request.shownPath)
    await store.completeUpload(request.key, uploadId, uploaded, {crc32c: sum, sizeBytes}, {signal})
    return {outcome: 'stored', sizeBytes, crc32c: sum, sha256: sha?.digest('hex') ?? '', local: localStatOf(before)}
  } catch (error) {
    failed.abort(error)
    await Promise.allSettled(parts)
    await abortQuietly(store, request.key, uploadId)
    throw error
  }
}

async function sendPart(
  deps: UploadDeps, key: ObjectKey, uploadId: string, partNumber: number, body: Buffer, sum: number, signal: AbortSignal,
): Promise<UploadedPart> {
  let isReusable = false
  try {
    const part = await deps.store.uploadPart(key, uploadId, partNumber, body, {crc32c: sum, signal})
    isReusable = true
    deps.onBytes?.(body.length)
    return part
  } finally {
    deps.pool.give(body, {isReusable})
  }
}

/** The error that made us abort matters more than one of the abort itself; the bucket's lifecycle rule is the net below. */
async function abortQuietly(store: ObjectStore, key: ObjectKey, uploadId: string): Promise<void> {
  try {
    await store.abortUpload(key, uploadId)
  } catch {
    // Reported by the error under way: the store does not answer or refuses.
  }
}

/**
 * Size of the parts of a file: as configured, but large enough for the store's limit of parts, in whole MiB.
 * @param limits of the store
 */
export function planPartSize(sizeBytes: number, configuredBytes: number, limits: ObjectStore['limits']): number {
  const needed = Math.ceil(sizeBytes / limits.maxParts / MEBIBYTE) * MEBIBYTE
  return Math.min(Math.max(configuredBytes, needed, limits.minPartBytes), limits.maxPartBytes)
}

async function readExactly(file: FileHandle, buffer: Buffer, position: number, shownPath: string): Promise<void> {
  let filled = 0
  try {
    while (filled < buffer.length) {
      const {bytesRead} = await file.read(buffer, filled, buffer.length - filled, position + filled)
      if (bytesRead === 0) throw new LocalFileError('changed', shownPath, {detail: 'it became shorter'})
      filled += bytesRead
    }
  } catch (error) {
    throw localFileError(error, shownPath)
  }
}

async function checkUnchanged(file: FileHandle, before: BigIntStats, shownPath: string): Promise<void> {
  const after = await file.stat({bigint: true})
  if (compareLocalStat(localStatOf(before), localStatOf(after)) === 'changed') throw new LocalFileError('changed', shownPath)
}

async function digestBody(body: Buffer): Promise<string> {
  if (body.length < POOL_DIGEST_BYTES) return hash('sha256', body, 'hex')
  return Buffer.from(await webcrypto.subtle.digest('SHA-256', body as Uint8Array<ArrayBuffer>)).toString('hex')
}

/** Modification time as rclone writes it: seconds with nanoseconds. */
function mtimeMetadata(mtimeNs: bigint): Record<string, string> {
  const sign = mtimeNs < 0n ? '-' : ''
  const text = (mtimeNs < 0n ? -mtimeNs : mtimeNs).toString().padStart(10, '0')
  return {mtime: `${sign}${text.slice(0, -9)}.${text.slice(-9)}`}
}

import {crc32c} from '@node-rs/crc32'
import type {ObjectKey, ObjectKind, ObjectStore} from '../store/object-store.ts'
import {sendFileParts} from './file-parts.ts'
import {checkUnchanged, digestOpenFile, readExactly, withOpenFile, type FileRequest, type OpenFile, type ReadDeps} from './open-file.ts'
import type {LocalStat} from './local-stat.ts'
import {mtimeMetadata, PartSender, planPartSize} from './part-sender.ts'

const HEAD_BYTES = 64

export interface UploadDeps extends ReadDeps {
  readonly store: ObjectStore
  /** Told the bytes of every request that was stored. */
  readonly onBytes?: (bytes: number) => void
}

export interface UploadRequest extends FileRequest {
  readonly key: ObjectKey
  readonly kind: ObjectKind
  /** A file up to this size is one PUT. */
  readonly singlePutBytes: number
  /** Never replace an object of that key; asked by HEAD first where the file needs a multipart upload. */
  readonly ifAbsent?: boolean
  /** Called with the first bytes before anything is sent; may throw to refuse the file. */
  readonly inspect?: (head: Buffer, sizeBytes: number) => void
}

export interface UploadedFile {
  /** `exists`: only with `ifAbsent`: another object has the key; `crc32c` tells what the file holds. */
  readonly outcome: 'stored' | 'exists'
  readonly sizeBytes: number
  readonly crc32c: number
  readonly local: LocalStat
}

/**
 * Sends one WAL file as it is. It is looked at before and after reading, and what changed meanwhile is never taken for
 * stored.
 * @throws LocalFileError when the file vanished, changed or cannot be read; errors of the store as they are. An upload
 *   in parts is aborted in the store before anything is thrown.
 */
export async function uploadFile(deps: UploadDeps, request: UploadRequest): Promise<UploadedFile> {
  return await withOpenFile(request, async (file) => file.sizeBytes <= request.singlePutBytes
    ? await uploadWhole(deps, request, file)
    : await uploadInParts(deps, request, file))
}

async function uploadWhole(deps: UploadDeps, request: UploadRequest, file: OpenFile): Promise<UploadedFile> {
  const {pool, store, signal} = deps
  const {sizeBytes, local} = file
  const body = await pool.take(sizeBytes, signal)
  let isReusable = false
  try {
    await readExactly(file, body, 0)
    await checkUnchanged(file)
    request.inspect?.(body.subarray(0, HEAD_BYTES), sizeBytes)
    const sum = crc32c(body)
    const outcome = await store.put(request.key, body, {
      kind: request.kind, crc32c: sum, metadata: mtimeMetadata(local.mtimeNs), ...(request.ifAbsent ? {ifAbsent: true} : {}), signal,
    })
    isReusable = true
    if (outcome === 'stored') deps.onBytes?.(sizeBytes)
    return {outcome, sizeBytes, crc32c: sum, local}
  } finally {
    // After a failure the SDK's socket may still be reading from the body.
    pool.give(body, {isReusable})
  }
}

async function uploadInParts(deps: UploadDeps, request: UploadRequest, file: OpenFile): Promise<UploadedFile> {
  const {store, pool, signal} = deps
  const {sizeBytes, local} = file
  const partSizeBytes = planPartSize(sizeBytes, deps.partSizeBytes, store.limits)
  if (request.inspect) {
    const head = Buffer.alloc(HEAD_BYTES)
    await readExactly(file, head, 0)
    request.inspect(head, sizeBytes)
  }
  if (request.ifAbsent && (await store.head(request.key, {signal}))) {
    return {outcome: 'exists', sizeBytes, crc32c: (await digestOpenFile(deps, file)).crc32c, local}
  }
  const sender = await PartSender.open(deps, {key: request.key, kind: request.kind, metadata: mtimeMetadata(local.mtimeNs)})
  try {
    return {outcome: 'stored', ...(await sendFileParts(sender, file, {pool, partSizeBytes})), local}
  } catch (error) {
    throw await sender.fail(error)
  }
}

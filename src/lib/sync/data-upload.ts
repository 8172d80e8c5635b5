/** Sends one file of a base backup as an object of its own: plain or as zstd frames, whole or in parts, and resumable. */
import {StoreRefusedError} from '../errors.ts'
import type {ObjectKey} from '../store/object-store.ts'
import {openSender, type DataRequest, type DataUploadDeps, type SentData} from './data-request.ts'
import {sendFileParts} from './file-parts.ts'
import {decideEncoding, sendFrames} from './frame-upload.ts'
import {checkUnchanged, readExactly, withOpenFile, type FileContent, type OpenFile} from './open-file.ts'
import {mtimeMetadata, planPartSize, StaleUploadError} from './part-sender.ts'
import {compressFrame, FRAME_BYTES, isNeverCompressed, isWorthIt, release} from './zstd.ts'

/**
 * Sends one file. It is looked at before and after reading, and what changed meanwhile is never taken for stored.
 * @throws LocalFileError when it vanished, changed or cannot be read; errors of the store as they are. An upload in parts
 *   is left for another run to go on with after a signal or a passing fault, and aborted after anything else
 */
export async function sendData(deps: DataUploadDeps, request: DataRequest): Promise<SentData> {
  return await withOpenFile(request, async (file) => {
    const isOneFrame = request.compressed === undefined || file.sizeBytes <= FRAME_BYTES
    if (isOneFrame && file.sizeBytes <= deps.partSizeBytes) return await sendWhole(deps, request, file)
    return await sendLarge(deps, request, file)
  })
}

async function sendWhole(deps: DataUploadDeps, request: DataRequest, file: OpenFile): Promise<SentData> {
  const {pool, signal} = deps
  // The body first, then the frame: whoever holds a frame waits for nothing but the processor.
  const body = await pool.take(file.sizeBytes, signal)
  let isReusable = true
  try {
    const prepared = await prepareWhole(deps, request, file, body)
    if (!prepared.stored) return {content: prepared.content, object: undefined, local: file.local}
    const {key, bytes, zstd} = prepared.stored
    const {crc32c, sha256} = zstd ? await deps.hashes.digest(bytes) : prepared.content
    isReusable = false
    await deps.store.put(key, bytes, {kind: 'base', crc32c, metadata: mtimeMetadata(file.local.mtimeNs), signal})
    isReusable = true
    deps.onBytes?.(file.sizeBytes)
    return {
      content: prepared.content,
      object: {key, sizeBytes: bytes.length, crc32c, sha256, ...(zstd ? {zstd: {frameBytes: FRAME_BYTES, offsets: [0]}} : {})},
      local: file.local,
    }
  } finally {
    // After a failure the SDK's socket may still be reading from the body.
    pool.give(body, {isReusable})
  }
}

interface PreparedWhole {
  readonly content: FileContent
  readonly stored: {readonly key: ObjectKey; readonly bytes: Buffer; readonly zstd: boolean} | undefined
}

/** Reads a file that fits into `body`, and puts into it what is to be stored. */
async function prepareWhole(deps: DataUploadDeps, request: DataRequest, file: OpenFile, body: Buffer): Promise<PreparedWhole> {
  const {compressed, plainKey, shownPath} = request
  const {sizeBytes} = file
  const isTried = compressed !== undefined && sizeBytes > 0 && !isNeverCompressed(shownPath)
  const source = isTried ? await deps.frames.take(sizeBytes, deps.signal) : body
  try {
    await readExactly(file, source, 0)
    await checkUnchanged(file)
    const hashing = deps.hashes.digest(source)
    // A known content need not be compressed; an unknown one is, while it is hashed.
    const compressing = isTried && !request.isKnown ? compressFrame(source, compressed.level) : undefined
    const [sums] = await Promise.all([hashing, compressing])
    const content = {sizeBytes, ...sums}
    if (request.isKnown?.(content)) return {content, stored: undefined}
    if (!isTried) return {content, stored: {key: plainKey, bytes: body, zstd: false}}
    const frame = (await compressing) ?? (await compressFrame(source, compressed.level))
    const frameBytes = frame.length
    frame.copy(body)
    release(frame)
    if (isWorthIt(sizeBytes, frameBytes)) return {content, stored: {key: compressed.key, bytes: body.subarray(0, frameBytes), zstd: true}}
    source.copy(body)
    return {content, stored: {key: plainKey, bytes: body, zstd: false}}
  } finally {
    if (isTried) deps.frames.give(source)
  }
}

/** A file that is more than one frame or part. Begun anew once when what an earlier run has sent is of no use. */
async function sendLarge(deps: DataUploadDeps, request: DataRequest, file: OpenFile): Promise<SentData> {
  const {compressed} = request
  const encoding = compressed && (await decideEncoding(deps, file, compressed.level))
  const send = async () => encoding === 'zstd' && compressed
    ? await sendFrames(deps, {...request, compressed}, file)
    : await sendPlainParts(deps, request, file)
  try {
    return await send()
  } catch (error) {
    const isLost = error instanceof StoreRefusedError && error.storeCode === 'NoSuchUpload'
    if (!isLost && !(error instanceof StaleUploadError)) throw error
    return await send()
  }
}

async function sendPlainParts(deps: DataUploadDeps, request: DataRequest, file: OpenFile): Promise<SentData> {
  const {pool, store, hashes} = deps
  const {sizeBytes, local} = file
  const key = request.plainKey
  const partSizeBytes = planPartSize(sizeBytes, deps.partSizeBytes, store.limits)
  const sender = await openSender(deps, request, key, local, {partSizeBytes})
  const sha = hashes.begin(sizeBytes)
  try {
    const whole = await sendFileParts(sender, file, {pool, partSizeBytes, hash: sha})
    const content = {...whole, sha256: await sha.digest()}
    return {content, object: {key, ...content}, local}
  } catch (error) {
    sha.drop()
    throw await sender.fail(error)
  }
}

import {isMarkedAsUntransferable} from 'node:worker_threads'
import {constants, zstdCompress} from 'node:zlib'

/** Content of one frame: independent of the others, so that ranges can be fetched and unpacked in parallel. */
export const FRAME_BYTES = 16 * 1024 * 1024
/**
 * One piece of output, so that nothing has to be joined. So large because the C library gives blocks above 32 MiB back to
 * the system as soon as they are freed, and keeps smaller ones; what is not written of it takes no memory.
 */
const OUTPUT_BYTES = 33 * 1024 * 1024
const SMALL_BYTES = 1024 * 1024
/** What does not shrink by a sixteenth is not worth the unpacking. */
const LEAST_GAIN = 1 / 16

/** The library's version: two may compress the same bytes to different ones. */
export const ZSTD_VERSION: string = process.versions.zstd ?? ''

/**
 * One standard zstd frame of `content`, with its size and checksum in it, made on the thread pool.
 * @param level 1 to 19
 */
export async function compressFrame(content: Buffer, level: number): Promise<Buffer> {
  return await new Promise((resolve, reject) => {
    zstdCompress(content, {
      chunkSize: content.length < SMALL_BYTES ? mostStoredBytes(content.length) + 64 : OUTPUT_BYTES,
      pledgedSrcSize: content.length,
      params: {[constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1},
    }, (error, frame) => {
      if (error) reject(error)
      else resolve(frame)
    })
  })
}

/** Gives the memory of a frame back at once: waiting for the garbage collector, hundreds of megabytes would gather. */
export function release(frame: Buffer): void {
  const {buffer} = frame
  // Small buffers share a pool of Node's, which stays.
  if (buffer instanceof ArrayBuffer && buffer.byteLength > Buffer.poolSize && !isMarkedAsUntransferable(buffer)) buffer.transfer(0)
}

/** Whether compressing `contentBytes` to `storedBytes` was worth it. */
export function isWorthIt(contentBytes: number, storedBytes: number): boolean {
  return storedBytes <= contentBytes * (1 - LEAST_GAIN)
}

/** Names of files that are compressed or encrypted already: trying costs time and gains nothing. */
export function isNeverCompressed(path: string): boolean {
  return /\.(gz|tgz|bz2|xz|lz4|lzma|zst|zstd|snappy|sz|zip|7z|gpg|pgp|age|enc)$/i.test(path)
}

/** Most bytes that `contentBytes` can take as frames: raw blocks of 128 KiB with 3 bytes before each, and headers. */
export function mostStoredBytes(contentBytes: number): number {
  const frames = Math.max(1, Math.ceil(contentBytes / FRAME_BYTES))
  return contentBytes + 3 * Math.ceil(contentBytes / (128 * 1024)) + 32 * frames
}

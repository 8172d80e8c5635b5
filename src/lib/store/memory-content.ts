import {createHash} from 'node:crypto'
import {StoreRefusedError} from '../errors.ts'
import type {ObjectKey, UploadedPart, UploadOptions} from './object-store.ts'

/** An open multipart upload of the memory store. */
export interface MemoryUpload {
  readonly key: ObjectKey
  readonly options: UploadOptions
  readonly parts: Map<number, {readonly body: Buffer; readonly etag: string; readonly crc32c: number}>
}

const CHUNK_BYTES = 64 * 1024

/** The bytes these parts make, after the checks of S3: order, ETags and sums as sent, no small part before the last. */
export function joinParts(upload: MemoryUpload, parts: readonly UploadedPart[], minPartBytes: number): Buffer {
  const {key} = upload
  if (parts.length === 0) throw refused('MalformedXML', `the upload of ${key} has no parts`)
  const bodies = parts.map((part, index) => {
    const kept = upload.parts.get(part.partNumber)
    const previous = parts[index - 1]
    if (previous && previous.partNumber >= part.partNumber)
      throw refused('InvalidPartOrder', `the parts of ${key} are not in order`)
    if (!kept || kept.etag !== part.etag || kept.crc32c !== part.crc32c) {
      throw refused('InvalidPart', `part ${part.partNumber} of ${key} is not the one that was sent`)
    }

    if (index < parts.length - 1 && kept.body.length < minPartBytes) {
      throw refused('EntityTooSmall', `part ${part.partNumber} of ${key} has only ${kept.body.length} bytes`)
    }

    return kept.body
  })
  return Buffer.concat(bodies)
}

/** The ETag of an object sent by one PUT: its MD5, in quotes. */
export function etagOf(content: Buffer): string {
  return `"${createHash('md5').update(content).digest('hex')}"`
}

/** The ETag of an object sent in parts: the MD5 of their MD5s, and how many there are. */
export function etagOfParts(parts: readonly UploadedPart[]): string {
  const digests = Buffer.concat(parts.map((part) => Buffer.from(part.etag.slice(1, -1), 'hex')))
  return `"${createHash('md5').update(digests).digest('hex')}-${parts.length}"`
}

/** The content in chunks of 64 KiB, each a copy. */
export async function* readChunks(content: Buffer, signal: AbortSignal | undefined): AsyncIterable<Uint8Array> {
  for (let begin = 0; begin < content.length; begin += CHUNK_BYTES) {
    signal?.throwIfAborted()
    yield Buffer.from(content.subarray(begin, begin + CHUNK_BYTES))
  }
}

/** A refusal of this one request. */
export function refused(storeCode: string, message: string): StoreRefusedError {
  return new StoreRefusedError(message, {storeCode, scope: 'request'})
}

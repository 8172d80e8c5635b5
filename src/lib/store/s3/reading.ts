import {
  GetObjectCommand,
  HeadObjectCommand,
  type GetObjectCommandOutput,
  type HeadObjectCommandOutput,
} from '@aws-sdk/client-s3'
import {StoreRefusedError} from '../../errors.ts'
import {crc32c, parseCrc32c} from '../checksum.ts'
import type {ObjectKey, ObjectStat} from '../object-store.ts'
import {StoreAnswer} from './answer.ts'
import type {Connection} from './client.ts'

/** A stat, and how far its checksum can be believed. */
export interface StoredStat extends ObjectStat {
  /**
   * True when `crc32c` is surely of the whole object: the store says FULL_OBJECT, or the object came by one PUT. Of a
   * multipart object without a type SeaweedFS gives the sum of the whole, moto something else: equal proves, unequal does not.
   */
  readonly isSumOfWhole: boolean
}

/** Codes of a 404 that mean the object, and not the bucket or the user. */
const MISSING = new Set(['NoSuchKey', 'NotFound', 'NoSuchVersion'])

/**
 * Metadata of one object, undefined if there is none. The answer to a HEAD has no body and so no code: what is not plain
 * is asked again by GET of one byte, which needs the same right.
 */
export async function headObject(
  connection: Connection,
  key: ObjectKey,
  signal?: AbortSignal,
): Promise<StoredStat | undefined> {
  try {
    const answer = await connection.sdk.send(
      new HeadObjectCommand({Bucket: connection.bucket, Key: key, ChecksumMode: 'ENABLED'}),
      {abortSignal: signal},
    )
    connection.isBucketSeen = true
    return statOf(key, answer)
  } catch (error) {
    if (!(error instanceof StoreAnswer)) throw error
    if (error.status === 404 && connection.isBucketSeen) return undefined
    if (error.status >= 500 || error.status === 429 || error.region !== undefined) throw error
    const explained = await explainByGet(connection, key, signal)
    // There after all, or forbidden for HEAD only: the first answer stands.
    if (explained !== 'missing') throw explained ?? error
    return undefined
  }
}

function statOf(key: ObjectKey, answer: HeadObjectCommandOutput): StoredStat {
  return {
    key,
    sizeBytes: answer.ContentLength ?? 0,
    lastModified: answer.LastModified ?? new Date(0),
    etag: answer.ETag,
    // A composite value (with or without `-N`) is the sum of sums, not of the object.
    crc32c: answer.ChecksumType === 'COMPOSITE' ? undefined : parseCrc32c(answer.ChecksumCRC32C),
    isSumOfWhole: answer.ChecksumType === 'FULL_OBJECT' || !/-\d+"?$/.test(answer.ETag ?? ''),
    metadata: answer.Metadata ?? {},
    // S3 names every class but this one.
    storageClass: answer.StorageClass ?? 'STANDARD',
  }
}

async function explainByGet(
  connection: Connection,
  key: ObjectKey,
  signal?: AbortSignal,
): Promise<StoreAnswer | 'missing' | undefined> {
  try {
    const answer = await connection.sdk.send(new GetObjectCommand({Bucket: connection.bucket, Key: key, Range: 'bytes=0-0'}), {
      abortSignal: signal,
    })
    discard(answer)
    return undefined
  } catch (error) {
    if (!(error instanceof StoreAnswer)) throw error
    return isMissing(connection, error) ? 'missing' : error
  }
}

/** Whether the answer to a GET says that there is no such object (and so that the bucket is there). */
function isMissing(connection: Connection, answer: StoreAnswer): boolean {
  if (answer.status !== 404 || !MISSING.has(answer.code)) return false
  if (answer.isS3) connection.isBucketSeen = true
  return true
}

/** The whole object in memory. See ObjectStore.get. */
export async function getObject(
  connection: Connection,
  key: ObjectKey,
  maxBytes: number,
  signal?: AbortSignal,
): Promise<Buffer | undefined> {
  const first = await openObject(connection, key, undefined, signal)
  if (!first) return undefined
  if (first.sizeBytes > maxBytes) {
    discard(first.answer)
    throw new StoreRefusedError(
      `s3://${connection.bucket}/${key} has ${first.sizeBytes} bytes; at most ${maxBytes} were expected`,
      {
        storeCode: 'ObjectTooLarge',
        scope: 'request',
        hint: 'this is not an object barmans3 wrote; see what put it there',
      },
    )
  }

  const body = Buffer.allocUnsafe(first.sizeBytes)
  let filledBytes = 0
  for await (const chunk of readOn(connection, key, first, signal)) {
    body.set(chunk, filledBytes)
    filledBytes += chunk.length
  }

  return body
}

/** The object or a range of it as a stream. See ObjectStore.getStream. */
export async function getObjectStream(
  connection: Connection,
  key: ObjectKey,
  range: {begin: number; end: number | undefined} | undefined,
  signal?: AbortSignal,
): Promise<AsyncIterable<Uint8Array> | undefined> {
  const first = await openObject(connection, key, range, signal)
  return first && readOn(connection, key, first, signal)
}

/** Whether the object, read whole, has this CRC32C. For stores that keep no sum of the whole, or a wrong one. */
export async function hasContentSum(
  connection: Connection,
  key: ObjectKey,
  sum: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const stream = await getObjectStream(connection, key, undefined, signal)
  let found = 0
  for await (const chunk of stream ?? []) found = crc32c(chunk, found)
  return stream !== undefined && found === sum
}

interface OpenObject {
  readonly answer: GetObjectCommandOutput
  /** First byte of the object that the body holds, and how many bytes it must hold. */
  readonly begin: number
  readonly sizeBytes: number
}

async function openObject(
  connection: Connection,
  key: ObjectKey,
  range: {begin: number; end: number | undefined} | undefined,
  signal?: AbortSignal,
): Promise<OpenObject | undefined> {
  try {
    const answer = await connection.sdk.send(
      new GetObjectCommand({
        Bucket: connection.bucket,
        Key: key,
        ...(range ? {Range: `bytes=${range.begin}-${range.end ?? ''}`} : {}),
      }),
      {abortSignal: signal},
    )
    connection.isBucketSeen = true
    if (answer.ContentLength === undefined) {
      discard(answer)
      throw malformed(connection, key, 'the answer has no Content-Length')
    }

    if (range && !answer.ContentRange?.startsWith(`bytes ${range.begin}-`)) {
      discard(answer)
      throw malformed(connection, key, 'the answer is not the range that was asked for')
    }

    return {answer, begin: range?.begin ?? 0, sizeBytes: answer.ContentLength}
  } catch (error) {
    if (error instanceof StoreAnswer && isMissing(connection, error)) return undefined
    throw error
  }
}

/**
 * Yields the body of `first`; when it ends early, stalls or breaks, goes on from there with a new request, as long as
 * each brings something. A changed ETag in between is an error: halves of two objects are never joined.
 */
async function* readOn(
  connection: Connection,
  key: ObjectKey,
  first: OpenObject,
  signal?: AbortSignal,
): AsyncIterable<Uint8Array> {
  let current = first
  let doneBytes = 0
  let attempts = connection.policy.begin()
  for (;;) {
    const doneBefore = doneBytes
    let fault: unknown
    try {
      for await (const chunk of current.answer.Body as AsyncIterable<Buffer>) {
        if (doneBytes + chunk.length > first.sizeBytes)
          throw malformed(connection, key, 'more bytes arrived than the answer announced')
        doneBytes += chunk.length
        yield chunk
      }

      fault = Object.assign(new Error('the body ended early'), {code: 'ECONNRESET'})
    } catch (error) {
      if (error instanceof StoreRefusedError) throw error
      signal?.throwIfAborted()
      fault = error
    } finally {
      discard(current.answer)
    }

    if (doneBytes === first.sizeBytes) return
    signal?.throwIfAborted()
    if (doneBytes > doneBefore) attempts = connection.policy.begin()
    await connection.policy.waitAfterFailure(fault, attempts, 'GetObject', signal)
    const begin = first.begin + doneBytes
    const next = await openObject(connection, key, {begin, end: first.begin + first.sizeBytes - 1}, signal)
    if (!next || next.answer.ETag !== first.answer.ETag || next.sizeBytes !== first.sizeBytes - doneBytes) {
      if (next) discard(next.answer)
      throw malformed(connection, key, 'the object changed while it was read')
    }

    current = next
  }
}

/** Frees the connection of a body that is not read to its end. */
function discard({Body: body}: GetObjectCommandOutput): void {
  const stream = body as
    {destroy?: () => void; readableEnded?: boolean; on?: (event: 'error', listener: () => void) => void} | undefined
  if (!stream || stream.readableEnded) return
  stream.on?.('error', () => {})
  stream.destroy?.()
}

function malformed({bucket}: Connection, key: string, what: string): StoreRefusedError {
  return new StoreRefusedError(`cannot read s3://${bucket}/${key}: ${what}`, {
    storeCode: 'InvalidAnswer',
    scope: 'request',
    hint: 'run again; if it stays, something between here and the store changes answers',
  })
}

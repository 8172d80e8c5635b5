import {Readable} from 'node:stream'
import type {S3Client} from '@aws-sdk/client-s3'
import {Upload} from '@aws-sdk/lib-storage'
import {StoreRefusedError} from '../../errors.ts'
import {crc32c} from '../checksum.ts'
import type {ObjectKey, UploadOptions} from '../object-store.ts'
import type {Connection} from './client.ts'
import {abortUpload} from './multipart.ts'
import type {S3StoreOptions} from './options.ts'
import {hasContentSum, headObject} from './reading.ts'
import {writeHeaders} from './settings.ts'

const PART_BYTES = 8 * 1024 * 1024

/**
 * Stores a stream of unknown length by lib-storage, two parts of 8 MiB at a time, and compares size and checksum of what
 * the store has. lib-storage rejects before the store has heard of an abort, so the upload is aborted here before the
 * error goes on. See ObjectStore.putStream.
 */
export async function putStream(
  connection: Connection,
  options: S3StoreOptions,
  key: ObjectKey,
  body: AsyncIterable<Uint8Array>,
  put: UploadOptions,
): Promise<void> {
  const sent = {sizeBytes: 0, crc32c: 0, error: undefined as unknown}
  const stop = new AbortController()
  const upload = new Upload({
    client: boundTo(connection.sdk, stop.signal),
    params: {
      Bucket: connection.bucket,
      Key: key,
      Body: Readable.from(watch(body, sent, put.signal), {objectMode: false}),
      ChecksumAlgorithm: 'CRC32C',
      ChecksumType: 'FULL_OBJECT',
      ...writeHeaders(options, put),
    },
    partSize: PART_BYTES,
    queueSize: 2,
    leavePartsOnError: true,
  })
  const onAbort = () => {
    stop.abort()
    void upload.abort()
  }

  put.signal?.addEventListener('abort', onAbort, {once: true})
  try {
    put.signal?.throwIfAborted()
    await upload.done()
  } catch (error) {
    // Requests that lib-storage does not wait for any more.
    stop.abort()
    const {uploadId} = upload as {uploadId?: string}
    if (uploadId) await abortUpload(connection, key, uploadId)
    put.signal?.throwIfAborted()
    throw sent.error ?? error
  } finally {
    put.signal?.removeEventListener('abort', onAbort)
  }

  const stat = await headObject(connection, key, put.signal)
  if (stat?.sizeBytes === sent.sizeBytes) {
    const isDoubtful = stat.crc32c !== undefined && stat.crc32c !== sent.crc32c && stat.isSumOfWhole
    if (!isDoubtful || (await hasContentSum(connection, key, sent.crc32c, put.signal))) return
  }

  throw new StoreRefusedError(`what s3://${connection.bucket}/${key} holds is not what was sent`, {
    storeCode: 'BadDigest',
    scope: 'request',
    hint: 'run again; if it stays, something between here and the store changes bytes',
  })
}

/** The client with `signal` on everything it sends: lib-storage gives none, so its requests would go on after an abort. */
function boundTo(sdk: S3Client, signal: AbortSignal): S3Client {
  const bound = Object.create(sdk) as S3Client
  const send = sdk.send.bind(sdk) as (command: unknown, options: object) => Promise<unknown>
  bound.send = ((command: unknown, options: object = {}) =>
    send(command, {...options, abortSignal: signal})) as S3Client['send']
  return bound
}

async function* watch(
  body: AsyncIterable<Uint8Array>,
  sent: {sizeBytes: number; crc32c: number; error: unknown},
  signal: AbortSignal | undefined,
): AsyncIterable<Uint8Array> {
  try {
    for await (const chunk of body) {
      signal?.throwIfAborted()
      sent.sizeBytes += chunk.length
      sent.crc32c = crc32c(chunk, sent.crc32c)
      yield chunk
    }
  } catch (error) {
    sent.error = error
    throw error
  }
}

import {createHash} from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import {StoreRefusedError} from '../../errors.ts'
import {crc32c, formatCrc32c, parseCrc32c} from '../checksum.ts'
import type {ObjectKey, UploadedPart, UploadOptions} from '../object-store.ts'
import {StoreAnswer} from './answer.ts'
import type {Connection} from './client.ts'
import type {S3StoreOptions} from './options.ts'
import {hasContentSum, headObject} from './reading.ts'
import {isConnectionFault} from './retry.ts'
import {writeHeaders} from './settings.ts'
import {toBuffer} from './writing.ts'

/** Cleaning up may not hold up the end of the program for longer. */
const ABORT_TIMEOUT_MS = 8000

export interface WholeObject {
  readonly crc32c: number
  readonly sizeBytes: number
}

/** Begins an upload. See ObjectStore.createUpload. */
export async function createUpload(
  connection: Connection,
  options: S3StoreOptions,
  key: ObjectKey,
  upload: UploadOptions,
): Promise<string> {
  const answer = await connection.sdk.send(
    new CreateMultipartUploadCommand({
      Bucket: connection.bucket,
      Key: key,
      ChecksumAlgorithm: 'CRC32C',
      ChecksumType: 'FULL_OBJECT',
      ...writeHeaders(options, upload),
    }),
    {abortSignal: upload.signal},
  )
  connection.isBucketSeen = true
  if (!answer.UploadId) throw damaged(connection, key, 'the store gave no upload id')
  return answer.UploadId
}

/** Sends one part. See ObjectStore.uploadPart. */
export async function uploadPart(
  connection: Connection,
  target: {key: ObjectKey; uploadId: string; partNumber: number},
  body: Uint8Array,
  {crc32c: sum = crc32c(body), signal}: {crc32c?: number; signal?: AbortSignal},
): Promise<UploadedPart> {
  const answer = await connection.sdk.send(
    new UploadPartCommand({
      Bucket: connection.bucket,
      Key: target.key,
      UploadId: target.uploadId,
      PartNumber: target.partNumber,
      Body: toBuffer(body),
      ContentLength: body.length,
      ChecksumAlgorithm: 'CRC32C',
      ChecksumCRC32C: formatCrc32c(sum),
    }),
    {abortSignal: signal},
  )
  if (!answer.ETag) throw damaged(connection, target.key, `the store gave no ETag for part ${target.partNumber}`)
  return {partNumber: target.partNumber, sizeBytes: body.length, etag: answer.ETag, crc32c: sum}
}

/** Puts the parts together and makes sure of the result. See ObjectStore.completeUpload. */
export async function completeUpload(
  connection: Connection,
  {key, uploadId}: {key: ObjectKey; uploadId: string},
  parts: readonly UploadedPart[],
  whole: WholeObject,
  signal?: AbortSignal,
): Promise<void> {
  try {
    const answer = await connection.sdk.send(
      new CompleteMultipartUploadCommand({
        Bucket: connection.bucket,
        Key: key,
        UploadId: uploadId,
        ChecksumCRC32C: formatCrc32c(whole.crc32c),
        ChecksumType: 'FULL_OBJECT',
        MpuObjectSize: whole.sizeBytes,
        MultipartUpload: {
          Parts: parts.map((part) => ({
            PartNumber: part.partNumber,
            ETag: part.etag,
            ChecksumCRC32C: formatCrc32c(part.crc32c),
          })),
        },
      }),
      {abortSignal: signal},
    )
    // A store that names our value has compared it.
    if (answer.ChecksumType === 'FULL_OBJECT' && parseCrc32c(answer.ChecksumCRC32C) === whole.crc32c) return
  } catch (error) {
    signal?.throwIfAborted()
    const isGone = error instanceof StoreAnswer && error.code === 'NoSuchUpload'
    if (!isGone && !isConnectionFault(error)) throw error
    if (await isStored(connection, key, parts, whole, signal)) return
    throw error
  }

  const stat = await headObject(connection, key, signal)
  if (!stat) throw damaged(connection, key, 'the upload was completed and no object is there')
  if (stat.sizeBytes !== whole.sizeBytes) {
    throw damaged(connection, key, `the upload was completed with ${stat.sizeBytes} bytes instead of ${whole.sizeBytes}`)
  }

  // moto keeps a sum of its own making: what counts then is what is there.
  const isDoubtful = stat.crc32c !== undefined && stat.crc32c !== whole.crc32c && stat.isSumOfWhole
  if (isDoubtful && !(await hasContentSum(connection, key, whole.crc32c, signal))) {
    throw damaged(connection, key, 'the upload was completed with another content')
  }
}

/** Whether the object at `key` is the one these parts make: a Complete whose answer was lost. */
async function isStored(
  connection: Connection,
  key: ObjectKey,
  parts: readonly UploadedPart[],
  whole: WholeObject,
  signal?: AbortSignal,
): Promise<boolean> {
  const stat = await headObject(connection, key, signal)
  if (!stat || stat.sizeBytes !== whole.sizeBytes) return false
  if (stat.crc32c === whole.crc32c) return true
  if (stat.crc32c !== undefined && stat.isSumOfWhole) return false
  if (stat.etag === multipartEtag(parts)) return true
  return hasContentSum(connection, key, whole.crc32c, signal)
}

/** The ETag S3 gives to these parts where part ETags are MD5s, else undefined. */
function multipartEtag(parts: readonly UploadedPart[]): string | undefined {
  const digests = parts.map((part) => part.etag.replaceAll('"', ''))
  if (!digests.every((digest) => /^[\da-f]{32}$/i.test(digest))) return undefined
  return `"${createHash('md5')
    .update(Buffer.from(digests.join(''), 'hex'))
    .digest('hex')}-${parts.length}"`
}

/** Gives an upload up. See ObjectStore.abortUpload. */
export async function abortUpload(connection: Connection, key: ObjectKey, uploadId: string): Promise<void> {
  const signal = AbortSignal.timeout(ABORT_TIMEOUT_MS)
  try {
    await connection.sdk.send(new AbortMultipartUploadCommand({Bucket: connection.bucket, Key: key, UploadId: uploadId}), {
      abortSignal: signal,
    })
  } catch (error) {
    if (error instanceof StoreAnswer && error.code === 'NoSuchUpload') return
    if (signal.aborted)
      throw Object.assign(new Error('the upload could not be aborted in time'), {name: 'TimeoutError', code: 'ETIMEDOUT'})
    throw error
  }
}

function damaged({bucket}: Connection, key: string, what: string): StoreRefusedError {
  return new StoreRefusedError(`cannot store s3://${bucket}/${key}: ${what}`, {
    storeCode: 'InvalidAnswer',
    scope: 'request',
    hint: 'run again; if it stays, run barmans3 doctor to see what the store does with large files',
  })
}

import {PutObjectCommand} from '@aws-sdk/client-s3'
import {StoreRefusedError} from '../../errors.ts'
import {crc32c, formatCrc32c} from '../checksum.ts'
import type {ObjectKey, PutOptions, PutOutcome} from '../object-store.ts'
import {StoreAnswer} from './answer.ts'
import {LostAnswer, type Connection} from './client.ts'
import type {ConditionalPut, S3StoreOptions} from './options.ts'
import {getObjectStream, headObject, type StoredStat} from './reading.ts'
import {writeHeaders} from './settings.ts'

/** Bodies up to this size are compared whole, larger ones by size and CRC32C where the store keeps one. */
const COMPARED_BYTES = 1024 * 1024

/** One PUT. See ObjectStore.put. */
export async function putObject(
  connection: Connection,
  options: S3StoreOptions,
  key: ObjectKey,
  body: Uint8Array,
  put: PutOptions,
): Promise<PutOutcome> {
  const object = {key, body: toBuffer(body), crc32c: put.crc32c ?? crc32c(body), put}
  if (!put.ifAbsent) {
    await sendPut(connection, options, object, false)
    return 'stored'
  }

  if (options.conditionalPut === 'head-first') {
    const stat = await headObject(connection, key, put.signal)
    if (stat) return compare(connection, stat, object)
    await sendPut(connection, options, object, false)
    return 'stored'
  }

  return putIfAbsent(connection, options, object)
}

/**
 * Asks the store what it does with `If-None-Match: *`: makes sure that `key` holds exactly `body` (writing it when nothing
 * is there) and puts it once more on condition. A store that ignores the condition then writes the same object again,
 * with the same `put` options, so nothing is lost.
 * @throws StoreRefusedError when something else is there; nothing is changed then.
 */
export async function probeConditionalPut(
  connection: Connection,
  options: S3StoreOptions,
  key: ObjectKey,
  body: Uint8Array,
  put: PutOptions,
): Promise<ConditionalPut> {
  const {signal} = put
  const object = {key, body: toBuffer(body), crc32c: put.crc32c ?? crc32c(body), put}
  const stat = await headObject(connection, key, signal)
  if (!stat) await sendPut(connection, options, object, false)
  else if ((await compare(connection, stat, object)) === 'exists') {
    throw new StoreRefusedError(`s3://${connection.bucket}/${key} holds something else than the probe`, {
      storeCode: 'PreconditionFailed',
      scope: 'request',
      hint: 'nothing was changed; look at what is there and remove it by hand',
    })
  }

  const attempts = connection.policy.begin()
  for (;;) {
    try {
      await sendPut(connection, options, object, true)
      return 'head-first'
    } catch (error) {
      if (error instanceof StoreAnswer && error.status === 412) return 'native'
      if (!(error instanceof LostAnswer)) throw error
      await connection.policy.waitAfterFailure(error.cause, attempts, 'PutObject', signal)
    }
  }
}

interface Sending {
  readonly key: ObjectKey
  readonly body: Buffer
  readonly crc32c: number
  readonly put: PutOptions
}

async function putIfAbsent(connection: Connection, options: S3StoreOptions, object: Sending): Promise<PutOutcome> {
  const {key, put} = object
  const attempts = connection.policy.begin()
  let refusals = 0
  for (;;) {
    try {
      await sendPut(connection, options, object, true)
      return 'stored'
    } catch (error) {
      const isRefused = error instanceof StoreAnswer && error.status === 412
      if (!isRefused && !(error instanceof LostAnswer)) throw error
      const stat = await headObject(connection, key, put.signal)
      if (stat) return compare(connection, stat, object)
      if (error instanceof LostAnswer) {
        await connection.policy.waitAfterFailure(error.cause, attempts, 'PutObject', put.signal)
      } else if (++refusals > 1) {
        // Refused twice, and nothing there: versitygw does that over a delete marker. Another writer at this very
        // moment is the only one who could be overwritten.
        await sendPut(connection, options, object, false)
        return 'stored'
      }
    }
  }
}

async function sendPut(connection: Connection, options: S3StoreOptions, object: Sending, ifAbsent: boolean): Promise<void> {
  await connection.sdk.send(
    new PutObjectCommand({
      Bucket: connection.bucket,
      Key: object.key,
      Body: object.body,
      ContentLength: object.body.length,
      // Named beside the value because moto keeps the value only then.
      ChecksumAlgorithm: 'CRC32C',
      ChecksumCRC32C: formatCrc32c(object.crc32c),
      ...writeHeaders(options, object.put),
      ...(ifAbsent ? {IfNoneMatch: '*'} : {}),
    }),
    {abortSignal: object.put.signal},
  )
  connection.isBucketSeen = true
}

/** `stored` when the object that is there has this body. Reads it where size and checksum do not decide. */
async function compare(connection: Connection, stat: StoredStat, {key, body, crc32c: sum, put}: Sending): Promise<PutOutcome> {
  if (stat.sizeBytes !== body.length) return 'exists'
  if (stat.crc32c !== undefined && stat.crc32c !== sum && stat.isSumOfWhole) return 'exists'
  if (stat.crc32c === sum && body.length > COMPARED_BYTES) return 'stored'
  try {
    return (await hasBytes(connection, key, body, put.signal)) ? 'stored' : 'exists'
  } catch (error) {
    // An archived object cannot be read; its checksum was right.
    if (error instanceof StoreAnswer && error.code === 'InvalidObjectState' && stat.crc32c === sum) return 'stored'
    throw error
  }
}

async function hasBytes(connection: Connection, key: ObjectKey, body: Buffer, signal?: AbortSignal): Promise<boolean> {
  const stream = await getObjectStream(connection, key, undefined, signal)
  if (!stream) return false
  let doneBytes = 0
  for await (const chunk of stream) {
    if (!body.subarray(doneBytes, doneBytes + chunk.length).equals(chunk)) return false
    doneBytes += chunk.length
  }

  return doneBytes === body.length
}

/** The same bytes as a Buffer, which is the one body the SDK neither copies nor streams. */
export function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

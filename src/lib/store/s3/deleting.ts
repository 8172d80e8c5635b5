import {createHash} from 'node:crypto'
import {DeleteObjectCommand, DeleteObjectsCommand} from '@aws-sdk/client-s3'
import type {DeleteFailure, ObjectKey} from '../object-store.ts'
import {assertKey} from '../request-rules.ts'
import {StoreAnswer} from './answer.ts'
import type {Connection} from './client.ts'

/** What S3 takes in one request. */
const BATCH_KEYS = 1000
/** Rounds for keys the store did not delete because it was busy. */
const ROUNDS = 3
const BUSY = new Set(['InternalError', 'SlowDown', 'ServiceUnavailable', 'OperationAborted'])
/** XML cannot carry these, so a key with one goes alone, in the path. */
const NOT_IN_XML = /[\u0000-\u001F\u007F\uFFFE\uFFFF]/

/** Deletes keys in batches and returns what stayed. See ObjectStore.delete. */
export async function deleteObjects(
  connection: Connection,
  keys: readonly ObjectKey[],
  signal?: AbortSignal,
): Promise<DeleteFailure[]> {
  for (const key of keys) assertKey(key)
  const failures: DeleteFailure[] = []
  for (let begin = 0; begin < keys.length; begin += BATCH_KEYS) {
    const batch = keys.slice(begin, begin + BATCH_KEYS)
    const plain = batch.filter((key) => !NOT_IN_XML.test(key))
    if (plain.length > 0) failures.push(...(await deleteBatch(connection, plain, signal)))
    for (const key of batch) {
      if (NOT_IN_XML.test(key)) failures.push(...(await deleteOne(connection, key, signal)))
    }
  }

  return failures
}

async function deleteBatch(connection: Connection, keys: readonly ObjectKey[], signal?: AbortSignal): Promise<DeleteFailure[]> {
  let left = keys
  for (let round = 1; ; round++) {
    const failures = await sendDelete(connection, left, signal)
    const busy = failures.filter(({storeCode}) => BUSY.has(storeCode))
    if (busy.length === 0 || round === ROUNDS) return failures
    const done = failures.filter(({storeCode}) => !BUSY.has(storeCode))
    left = busy.map(({key}) => key)
    if (done.length > 0) return [...done, ...(await deleteBatch(connection, left, signal))]
  }
}

async function sendDelete(connection: Connection, keys: readonly ObjectKey[], signal?: AbortSignal): Promise<DeleteFailure[]> {
  let answer
  try {
    answer = await connection.sdk.send(deleteCommand(connection, keys, false), {abortSignal: signal})
  } catch (error) {
    // Stores that know only the older header for this request.
    const wantsMd5 = error instanceof StoreAnswer && error.status === 400 && /md5/i.test(`${error.code} ${error.message}`)
    if (!wantsMd5) throw error
    answer = await connection.sdk.send(deleteCommand(connection, keys, true), {abortSignal: signal})
  }

  connection.isBucketSeen = true
  const asked = new Set<string>(keys)
  return (answer.Errors ?? [])
    .filter(({Code}) => Code !== 'NoSuchKey')
    .flatMap(({Key, Code, Message}) => {
      const failure = {storeCode: Code ?? 'Unknown', message: (Message ?? '').replace(/\s+/g, ' ').slice(0, 300)}
      // An error without a key of ours is an error of each: none of them is known to be gone.
      return Key !== undefined && asked.has(Key)
        ? [{key: Key as ObjectKey, ...failure}]
        : keys.map((key) => ({key, ...failure}))
    })
}

function deleteCommand(connection: Connection, keys: readonly ObjectKey[], withMd5: boolean): DeleteObjectsCommand {
  // Quiet: only failures are listed. Some stores list all the same, which changes nothing here.
  const command = new DeleteObjectsCommand({
    Bucket: connection.bucket,
    Delete: {Quiet: true, Objects: keys.map((key) => ({Key: key}))},
  })
  if (withMd5) {
    command.middlewareStack.add(
      (next) => (args) => {
        const {request} = args as {request?: {headers: Record<string, string>; body?: string | Uint8Array}}
        if (request?.body) request.headers['content-md5'] = createHash('md5').update(request.body).digest('base64')
        return next(args)
      },
      {step: 'build', name: 'contentMd5'},
    )
  }

  return command
}

async function deleteOne(connection: Connection, key: ObjectKey, signal?: AbortSignal): Promise<DeleteFailure[]> {
  try {
    await connection.sdk.send(new DeleteObjectCommand({Bucket: connection.bucket, Key: key}), {abortSignal: signal})
    return []
  } catch (error) {
    if (!(error instanceof StoreAnswer) || error.code === 'NoSuchBucket') throw error
    return error.code === 'NoSuchKey' ? [] : [{key, storeCode: error.code, message: error.message}]
  }
}

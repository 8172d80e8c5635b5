import {CopyObjectCommand} from '@aws-sdk/client-s3'
import type {ObjectKey, UploadOptions} from '../object-store.ts'
import {assertKey} from '../request-rules.ts'
import {StoreAnswer} from './answer.ts'
import type {Connection} from './client.ts'
import type {S3StoreOptions} from './options.ts'
import {writeHeaders} from './settings.ts'

/** The source is in an archive class (S3: GLACIER); a store without CopyObject. */
const UNCOPYABLE = new Set(['InvalidObjectState', 'NotImplemented', 'MethodNotAllowed'])

/** Copies inside the bucket. See ObjectStore.copy. */
export async function copyObject(
  connection: Connection,
  options: S3StoreOptions,
  source: ObjectKey,
  key: ObjectKey,
  copy: UploadOptions,
): Promise<boolean> {
  assertKey(source)
  const {Tagging, ...headers} = writeHeaders(options, copy)
  try {
    await connection.sdk.send(
      new CopyObjectCommand({
        Bucket: connection.bucket,
        Key: key,
        CopySource: `${connection.bucket}/${source
          .split('/')
          .map((part) => encodeURIComponent(part))
          .join('/')}`,
        MetadataDirective: 'REPLACE',
        ChecksumAlgorithm: 'CRC32C',
        ...headers,
        ...(Tagging === undefined ? {} : {Tagging, TaggingDirective: 'REPLACE' as const}),
      }),
      {abortSignal: copy.signal},
    )
    connection.isBucketSeen = true
    return true
  } catch (error) {
    if (isWithoutSource(error)) return false
    throw error
  }
}

/** Whether the answer means that there is nothing to copy from, and not that something is wrong. */
function isWithoutSource(error: unknown): boolean {
  if (!(error instanceof StoreAnswer)) return false
  if (error.status === 404) return error.code === 'NoSuchKey'
  return UNCOPYABLE.has(error.code)
}

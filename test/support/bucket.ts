/** Looking into a bucket with the store of the project itself; the contract suite says that it tells the truth. */
import {createS3Store, type S3Store} from '../../src/lib/store/s3/object-store.ts'
import {systemClock} from '../../src/lib/local/system-clock.ts'
import type {ObjectKey} from '../../src/lib/store/object-store.ts'
import type {TestServer} from './s3-servers.ts'

export function openBucket(server: TestServer, bucket: string): S3Store {
  return createS3Store({
    bucket, endpoint: server.endpoint, region: server.region, environment: {...process.env, ...server.environment}, clock: systemClock,
  })
}

/** Every key, sorted, with sizes. */
export async function listBucket(server: TestServer, bucket: string, prefix = ''): Promise<Map<string, number>> {
  const store = openBucket(server, bucket)
  try {
    const found: [string, number][] = []
    for await (const {key, sizeBytes} of store.list(prefix)) found.push([key, sizeBytes])
    return new Map(found.sort(([left], [right]) => (left < right ? -1 : 1)))
  } finally {
    store.close()
  }
}

export async function readObject(server: TestServer, bucket: string, key: string): Promise<Buffer> {
  const store = openBucket(server, bucket)
  try {
    const body = await store.get(key as ObjectKey, {maxBytes: 256 * 1024 ** 2})
    if (!body) throw new Error(`there is no ${key}`)
    return body
  } finally {
    store.close()
  }
}

import {constants} from 'node:fs'
import {open} from 'node:fs/promises'
import {crc32c} from '@node-rs/crc32'
import {WAL_HEAD_BYTES} from '../barman/wal-content.ts'
import {ConflictError, StoreRefusedError} from '../errors.ts'
import type {ObjectKey} from '../store/object-store.ts'
import {localFileError} from './file-errors.ts'
import type {ServerContext} from './server-context.ts'
import type {LocalWal} from './wal-sources.ts'

/**
 * Makes sure that the object under a WAL's key has the content of the local file, by size and CRC32C; where the store
 * keeps no checksum, by downloading it.
 * @throws ConflictError when it has other content; nothing is replaced
 */
export async function checkSameContent(
  {store, keys, signal}: ServerContext, wal: LocalWal, content: {readonly sizeBytes: number; readonly crc32c: number},
): Promise<void> {
  const key = keys.wal(wal.relativePath)
  const stat = await store.head(key, {signal})
  if (!stat) throw new StoreRefusedError(`"${key}" was listed but is not there`, {storeCode: 'Inconsistent', scope: 'request', hint: 'run again'})
  const isEqual = stat.sizeBytes === content.sizeBytes && (stat.crc32c ?? (await downloadChecksum({store, signal}, key))) === content.crc32c
  if (isEqual) return
  throw new ConflictError(
    `"${key}" in the bucket (${stat.sizeBytes} bytes) has other content than ${wal.path} (${content.sizeBytes} bytes); nothing was replaced`, {
      hint: 'find out which of the two is right; barmans3 will not touch the one in the bucket',
    })
}

async function downloadChecksum({store, signal}: Pick<ServerContext, 'store' | 'signal'>, key: ObjectKey): Promise<number> {
  let sum = 0
  for await (const chunk of (await store.getStream(key, {signal})) ?? []) sum = crc32c(Buffer.from(chunk), sum)
  return sum
}

/** The first bytes of a WAL file, as many as tell what it holds. */
export async function readHead(wal: LocalWal): Promise<Buffer> {
  try {
    const file = await open(wal.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const {buffer, bytesRead} = await file.read(Buffer.alloc(WAL_HEAD_BYTES), 0, WAL_HEAD_BYTES, 0)
      return buffer.subarray(0, bytesRead)
    } finally {
      await file.close()
    }
  } catch (error) {
    throw localFileError(error, wal.path)
  }
}

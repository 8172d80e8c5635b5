/** Runs in a worker thread: SHA-256 and CRC32C of what lies in shared memory, one running digest a file. See hash-pool.ts. */
import {createHash, type Hash} from 'node:crypto'
import {parentPort} from 'node:worker_threads'
import {crc32c} from '@node-rs/crc32'
import type {HashAnswer, HashOrder} from './hash-pool.ts'

const digests = new Map<number, Hash>()

parentPort?.on('message', (order: HashOrder) => {
  const {job, digest, memory, offset, sizeBytes, isLast} = order
  let running = digests.get(digest)
  if (!running) digests.set(digest, (running = createHash('sha256')))
  let sum = 0
  if (memory) {
    const bytes = new Uint8Array(memory, offset, sizeBytes)
    running.update(bytes)
    sum = crc32c(bytes)
  }
  if (isLast) digests.delete(digest)
  parentPort?.postMessage({job, crc32c: sum, ...(isLast ? {sha256: running.digest('hex')} : {})} satisfies HashAnswer)
})

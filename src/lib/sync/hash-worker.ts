/** Runs in a worker thread: SHA-256 of what lies in shared memory, one running digest for each file. See hash-pool.ts. */
import {createHash, type Hash} from 'node:crypto'
import {parentPort} from 'node:worker_threads'
import type {HashAnswer, HashOrder} from './hash-pool.ts'

const digests = new Map<number, Hash>()

parentPort?.on('message', (order: HashOrder) => {
  const {job, digest, memory, offset, sizeBytes, isLast} = order
  let running = digests.get(digest)
  if (!running) digests.set(digest, (running = createHash('sha256')))
  if (memory) running.update(new Uint8Array(memory, offset, sizeBytes))
  if (!isLast) {
    parentPort?.postMessage({job} satisfies HashAnswer)
    return
  }
  digests.delete(digest)
  parentPort?.postMessage({job, sha256: running.digest('hex')} satisfies HashAnswer)
})

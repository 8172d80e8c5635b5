import {StoreRefusedError, StoreUnreachableError} from '../../errors.ts'
import type {ObjectStore, RequestCounts} from '../object-store.ts'
import type {S3Store} from './object-store.ts'
import type {ConditionalPut} from './options.ts'

export interface LearningStoreOptions {
  /** Makes a store that takes conditional PUTs in this way. */
  readonly createStore: (mode: ConditionalPut) => S3Store
  /** Told once what the bucket does, so that it can be noted. */
  readonly onLearnt: (mode: ConditionalPut) => Promise<void>
}

/**
 * A store that finds out by itself whether its bucket honours `If-None-Match`: the first conditional PUT asks by HEAD,
 * which is right everywhere, and the object just stored is then put once more under the condition. A refusal means that
 * the bucket honours it. One additional request in the life of a bucket, and nothing is left behind.
 */
export function createLearningStore({createStore, onLearnt}: LearningStoreOptions): ObjectStore {
  const careful = createStore('head-first')
  let current = careful
  let learning: Promise<void> | undefined
  const learn = async (...[key, body, options]: Parameters<ObjectStore['put']>) => {
    let mode: ConditionalPut
    try {
      mode = await careful.probeConditionalPut(key, body, options)
    } catch (error) {
      options.signal?.throwIfAborted()
      // The object is stored; a store that cannot be asked now is asked in another run, and HEAD is right until then.
      if (error instanceof StoreRefusedError || error instanceof StoreUnreachableError) return
      throw error
    }

    if (mode === 'native') current = createStore('native')
    await onLearnt(mode)
  }
  return {
    limits: careful.limits,
    list: (...call) => current.list(...call),
    listDirectories: async (...call) => await current.listDirectories(...call),
    head: async (...call) => await current.head(...call),
    get: async (...call) => await current.get(...call),
    getStream: async (...call) => await current.getStream(...call),
    async put(key, body, options) {
      const outcome = await current.put(key, body, options)
      if (options.ifAbsent && outcome === 'stored') await (learning ??= learn(key, body, options))
      return outcome
    },
    putStream: async (...call) => await current.putStream(...call),
    copy: async (...call) => await current.copy(...call),
    createUpload: async (...call) => await current.createUpload(...call),
    uploadPart: async (...call) => await current.uploadPart(...call),
    completeUpload: async (...call) => await current.completeUpload(...call),
    abortUpload: async (...call) => await current.abortUpload(...call),
    listUploads: async (...call) => await current.listUploads(...call),
    delete: async (...call) => await current.delete(...call),
    requestCounts: () =>
      current === careful ? careful.requestCounts() : addCounts(careful.requestCounts(), current.requestCounts()),
    close() {
      careful.close()
      if (current !== careful) current.close()
    },
  }
}

function addCounts(left: RequestCounts, right: RequestCounts): RequestCounts {
  const sum: Record<string, number> = {...left}
  for (const [name, count] of Object.entries(right)) sum[name] = (sum[name] ?? 0) + count
  return sum
}

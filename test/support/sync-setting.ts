import {mkdirSync, mkdtempSync, rmSync} from 'node:fs'
import {join} from 'node:path'
import {ArchiveKeys} from '../../src/lib/archive/keys.ts'
import {serverFromDirectories} from '../../src/lib/barman/server-directories.ts'
import type {Progress} from '../../src/lib/progress.ts'
import {createMemoryStore, type MemoryStore, type MemoryStoreOptions} from '../../src/lib/store/memory.ts'
import type {ObjectStore} from '../../src/lib/store/object-store.ts'
import {systemClock} from '../../src/lib/local/system-clock.ts'
import {BodyPool} from '../../src/lib/sync/body-pool.ts'
import {HashPool} from '../../src/lib/sync/hash-pool.ts'
import {openQueue, type QueueAccess} from '../../src/lib/sync/queue-access.ts'
import type {ServerContext} from '../../src/lib/sync/server-context.ts'
import {quickParentDirectory} from './temporary-directory.ts'
import {createSampleTree, type SampleTree, type SampleTreeOptions} from './sample-tree.ts'

/** Everything an engine needs, on a real Barman tree in a temporary directory and a store in memory. */
export interface SyncSetting {
  readonly root: string
  readonly tree: SampleTree
  readonly store: MemoryStore
  readonly keys: ArchiveKeys
  readonly queueDirectory: string
  readonly stateDirectory: string
  /** What the engines said: `warn: …`, `fail: …`, `event: …`. */
  readonly said: string[]
  readonly abort: AbortController
  /** A context; another store, writer or anything else may be put in its place. */
  context(changes?: Partial<ServerContext>): ServerContext
  queue(): QueueAccess
  remove(): void
}

export interface SyncSettingOptions {
  readonly tree?: SampleTreeOptions
  readonly store?: MemoryStoreOptions
  /** Place of the archive; the same store may serve two settings. */
  readonly sharedStore?: MemoryStore
  readonly writer?: {readonly id: string; readonly host: string}
  readonly lockDirectory?: string
}

export const PREFIX = 'barman'

export function createSyncSetting(options: SyncSettingOptions = {}): SyncSetting {
  const root = mkdtempSync(join(quickParentDirectory(), 'barmans3-sync-'))
  const home = join(root, 'home')
  mkdirSync(home)
  const tree = createSampleTree(home, options.tree)
  const store = options.sharedStore ?? createMemoryStore(options.store)
  const keys = new ArchiveKeys({prefix: PREFIX, server: tree.serverName})
  const said: string[] = []
  const abort = new AbortController()
  const hashes = new HashPool(2)
  const progress: Progress = {
    phase() {}, total() {}, advance() {},
    warn: (message) => void said.push(`warn: ${message}`),
    fail: (message) => void said.push(`fail: ${message}`),
    event: (message, fields) => void said.push(`event: ${message} ${JSON.stringify(fields ?? {})}`),
  }
  const stateDirectory = join(root, 'state')
  const queueDirectory = join(root, 'queue')
  return {
    root, tree, store, keys, queueDirectory, stateDirectory, said, abort,
    context: (changes = {}) => ({
      server: serverFromDirectories(tree.serverName, {directory: tree.serverDirectory, lockDirectory: options.lockDirectory ?? home}),
      store, keys, archiveUri: `s3://bucket/${PREFIX}`, writer: options.writer ?? {id: '00000000-0000-4000-8000-000000000001', host: 'barman-one'},
      stateDirectory, concurrency: 4, partSizeBytes: 5 * 1024 ** 2,
      base: {layout: 'mirror', compression: 'zstd', compressionLevel: 3, maxReferenceAgeMs: 30 * 86_400_000}, abandonAfterMs: 3 * 86_400_000,
      pool: new BodyPool(64 * 1024 ** 2), frames: new BodyPool(40 * 1024 ** 2), hashes, clock: systemClock, progress, signal: abort.signal,
      ...changes,
    }),
    queue: () => openQueue(queueDirectory, tree.serverName, systemClock),
    remove: () => {
      hashes.close()
      rmSync(root, {recursive: true, force: true})
    },
  }
}

/** A setting for each test of the surrounding `describe`. */
export function useSyncSetting(options: SyncSettingOptions = {}): () => SyncSetting {
  let setting: SyncSetting | undefined
  beforeEach(() => {
    setting = createSyncSetting(options)
  })
  afterEach(() => setting?.remove())
  return () => setting!
}

/** Keys of the bucket below the server's prefix, sorted, without the prefix. */
export function relativeKeys({store, keys}: Pick<SyncSetting, 'store' | 'keys'>): string[] {
  return [...store.objects.keys()].map((key) => keys.relative(key)).sort()
}

export type StoreCall = {readonly method: keyof ObjectStore; readonly args: readonly unknown[]; readonly index: number}

/**
 * A store that tells `before` and `after` of each call of a method that goes to S3; both may throw or change things.
 * Lists count as one call, at their beginning.
 */
export function watchStore(
  store: ObjectStore, hooks: {before?: (call: StoreCall) => void | Promise<void>; after?: (call: StoreCall) => void | Promise<void>},
): ObjectStore {
  let index = 0
  return new Proxy(store, {
    get(target, name, receiver) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function' || ['requestCounts', 'close'].includes(String(name))) return value
      return (...args: unknown[]) => {
        const call = {method: name as keyof ObjectStore, args, index: index++}
        if (name === 'list') return watchedList(call, () => (value as ObjectStore['list']).apply(target, args as Parameters<ObjectStore['list']>))
        return (async () => {
          await hooks.before?.(call)
          const result: unknown = await (value as (...all: unknown[]) => Promise<unknown>).apply(target, args)
          await hooks.after?.(call)
          return result
        })()
      }

      async function* watchedList(call: StoreCall, list: () => AsyncIterable<unknown>) {
        void receiver
        await hooks.before?.(call)
        yield* list()
        await hooks.after?.(call)
      }
    },
  })
}

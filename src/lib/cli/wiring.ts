/** The only place that constructs adapters: from flags, environment and configuration to what the engines take. */
import {hostname, homedir} from 'node:os'
import {ArchiveKeys} from '../archive/keys.ts'
import type {BarmanServer} from '../barman/server-directories.ts'
import type {Clock} from '../clock.ts'
import {formatArchiveUri, type ArchiveUri} from '../config/archive-uri.ts'
import {loadConfig, requireArchiveUri, type LoadedConfig} from '../config/load.ts'
import type {BaseLayout} from '../config/schema.ts'
import {LocalStateError, UsageError} from '../errors.ts'
import {readSyncState, writeSyncState} from '../local/sync-state.ts'
import {systemClock} from '../local/system-clock.ts'
import {readOrCreateWriterId, readWriterId} from '../local/writer-id.ts'
import type {Progress} from '../progress.ts'
import {createDryRunStore} from '../store/dry-run.ts'
import type {ObjectStore, RequestCounts} from '../store/object-store.ts'
import {Throttle} from '../store/throttle.ts'
import type {S3StoreOptions} from '../store/s3/options.ts'
import {BodyPool} from '../sync/body-pool.ts'
import {HashPool} from '../sync/hash-pool.ts'
import {MAX_BODY_BYTES, MAX_FRAME_BYTES, type ServerContext} from '../sync/server-context.ts'
import {ServerDirectory} from './servers.ts'

export interface WiringOptions {
  readonly configFile: string | undefined
  readonly environment: NodeJS.ProcessEnv
  /** Settings from flags, by dotted path. */
  readonly overrides: Readonly<Record<string, string>>
  readonly progress: Progress
  readonly signal: AbortSignal
}

/** Everything a command can ask for. Made once per run. */
export interface Wiring {
  readonly loaded: LoadedConfig
  readonly queueDirectory: string
  readonly clock: Clock
  readonly servers: ServerDirectory
  readonly progress: Progress
  /**
   * What the engines need for one server. With `isReadOnly` nothing is written, here or in S3. With `unknownServer` a
   * server whose directories are not known here gets that stand-in: the bucket alone has to do.
   * @throws UsageError when no bucket is configured or there is no such server
   */
  open(server: string, options?: {isReadOnly?: boolean; unknownServer?: (error: UsageError) => BarmanServer}): Promise<ServerContext>
  /** Requests sent to S3 so far, by operation, retries included. */
  requestCounts(): RequestCounts
  close(): void
}

/** Runs of `wal sync` may meet, under cron and by hand: the later one waits so long before it ends with 11. */
const WAL_LOCK_WAIT_MS = 60_000

/** Reads the configuration and prepares the rest; nothing is connected before it is used. */
export async function createWiring(options: WiringOptions): Promise<Wiring> {
  const {configFile, environment, overrides, progress, signal} = options
  const loaded = await loadConfig({
    ...(configFile === undefined ? {} : {configFile}), environment, overrides, homeDirectory: environment.HOME ?? homeOfUser(),
  })
  for (const warning of loaded.warnings) progress.warn(warning)
  const {config} = loaded
  const servers = new ServerDirectory(config, progress, signal)
  const stores: ObjectStore[] = []
  const byBucket = new Map<string, Promise<ObjectStore>>()
  const pool = new BodyPool(MAX_BODY_BYTES)
  const frames = new BodyPool(MAX_FRAME_BYTES)
  const hashes = new HashPool()
  const maxBytesPerSecond = config.transfer.maxBandwidthBytes
  const throttle = maxBytesPerSecond > 0 ? new Throttle({maxBytesPerSecond, clock: systemClock}) : undefined

  const openStore = async (uri: ArchiveUri, server: string): Promise<ObjectStore> => {
    const store = await createStore(config, uri, server, {environment, progress, throttle})
    stores.push(store)
    return store
  }

  return {
    loaded,
    queueDirectory: config.queue.directory,
    clock: systemClock,
    servers,
    progress,
    async open(name, {isReadOnly = false, unknownServer} = {}) {
      const uri = requireArchiveUri(loaded, name)
      const server = await servers.get(name).catch((error: unknown) => {
        if (unknownServer && error instanceof UsageError) return unknownServer(error)
        throw error
      })
      let opening = byBucket.get(uri.bucket)
      if (!opening) byBucket.set(uri.bucket, (opening = openStore(uri, name)))
      const store = await opening
      const writer = await readWriter(config.state.directory, isReadOnly)
      return {
        server,
        store: isReadOnly ? createDryRunStore(store) : store,
        keys: new ArchiveKeys({prefix: uri.prefix, server: name}),
        archiveUri: formatArchiveUri(uri),
        writer,
        stateDirectory: config.state.directory,
        concurrency: config.transfer.concurrency,
        partSizeBytes: config.transfer.partSizeBytes,
        base: {...config.base, layout: layoutOf(config, name)},
        abandonAfterMs: config.transfer.abandonAfterMs,
        pool, frames, hashes, clock: systemClock, progress, signal, walLockWaitMs: WAL_LOCK_WAIT_MS,
      }
    },
    requestCounts() {
      const sum: Record<string, number> = {}
      for (const store of stores) for (const [name, count] of Object.entries(store.requestCounts())) sum[name] = (sum[name] ?? 0) + count
      return sum
    },
    close() {
      hashes.close()
      for (const store of stores) store.close()
    },
  }
}

function layoutOf({base, servers}: LoadedConfig['config'], server: string): BaseLayout {
  const own = Object.hasOwn(servers, server) ? servers[server]?.base?.layout : undefined
  return own ?? base.layout
}

function homeOfUser(): string {
  try {
    return homedir()
  } catch {
    // A user without an entry in passwd has no home; then no file of theirs is looked for.
    return '/nonexistent'
  }
}

/** Who writes; a run that writes nothing does not make an identity, and says nothing of one that cannot be read. */
async function readWriter(stateDirectory: string, isReadOnly: boolean): Promise<{id: string; host: string}> {
  if (!isReadOnly) return {id: (await readOrCreateWriterId(stateDirectory)).id, host: hostname()}
  const known = await readWriterId(stateDirectory).catch((error: unknown) => {
    if (error instanceof LocalStateError) return undefined
    throw error
  })
  return {id: known?.id ?? '', host: hostname()}
}

async function createStore(
  config: LoadedConfig['config'], uri: ArchiveUri, server: string,
  {environment, progress, throttle}: Pick<WiringOptions, 'environment' | 'progress'> & {throttle: Throttle | undefined},
): Promise<ObjectStore> {
  // The SDK takes a tenth of a second to load; queue commands never need it.
  const {createS3Store} = await import('../store/s3/object-store.ts')
  const {createLearningStore} = await import('../store/s3/learning-store.ts')
  const {s3, transfer, state} = config
  const options: S3StoreOptions = {
    bucket: uri.bucket,
    ...(s3.endpoint === undefined ? {} : {endpoint: s3.endpoint}),
    ...(s3.region === undefined ? {} : {region: s3.region}),
    ...(s3.profile === undefined ? {} : {profile: s3.profile}),
    ...(s3.forcePathStyle === undefined ? {} : {forcePathStyle: s3.forcePathStyle}),
    ...(s3.encryption === undefined ? {} : {encryption: s3.encryption}),
    storageClass: s3.storageClass, tags: s3.tags,
    concurrency: transfer.concurrency, maxAttempts: s3.maxAttempts, maxParts: s3.maxParts, idleTimeoutMs: s3.timeoutMs,
    environment, clock: systemClock, ...(throttle === undefined ? {} : {throttle}),
    onRetry: ({operation, attempt, reason}) => {
      if (attempt >= 3) progress.event('a request is sent again', {operation, attempt, reason})
    },
  }
  const place = `${s3.endpoint ?? 'aws'}/${uri.bucket}`
  const {state: known, warning} = await readSyncState(state.directory, server)
  if (warning !== undefined) progress.warn(warning)
  const mode = s3.conditionalPut ?? known.conditionalPut[place]
  if (mode !== undefined) return createS3Store({...options, conditionalPut: mode})
  return createLearningStore({
    createStore: (conditionalPut) => createS3Store({...options, conditionalPut}),
    async onLearnt(learnt) {
      const {state: latest} = await readSyncState(state.directory, server)
      try {
        await writeSyncState(state.directory, server, {...latest, conditionalPut: {...latest.conditionalPut, [place]: learnt}})
      } catch (error) {
        // Only a note: without it the next run learns it again.
        if (!(error instanceof LocalStateError)) throw error
      }
    },
  })
}

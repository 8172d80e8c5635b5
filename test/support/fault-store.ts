/** An S3 store connected to a fault server, new for each test; what the fault tests have in common. */
import {randomBytes} from 'node:crypto'
import type {Clock} from '../../src/lib/clock.ts'
import {BarmansError} from '../../src/lib/errors.ts'
import {crc32c} from '../../src/lib/store/checksum.ts'
import type {ObjectKey, PutOutcome} from '../../src/lib/store/object-store.ts'
import {createS3Store, type S3Store} from '../../src/lib/store/s3/object-store.ts'
import type {RetryNotice, S3StoreOptions} from '../../src/lib/store/s3/options.ts'
import {startFaultServer, type Fault, type FaultServer, type FaultServerOptions} from './fault-server.ts'

export const key = (text: string) => text as ObjectKey

/** A clock whose pauses take no time and are added up. */
export interface QuickClock extends Clock {
  sleptMs: number
}

export interface FaultStore {
  /** Of the running test, after `start`. */
  server: FaultServer
  store: S3Store
  clock: QuickClock
  /** What `onRetry` was told. */
  notices: RetryNotice[]
  /** Starts the server and connects the store, with an idle limit of 250 ms. */
  start(serverOptions?: FaultServerOptions, storeOptions?: Partial<S3StoreOptions>): Promise<void>
  /** Another store on the same server. */
  connect(storeOptions?: Partial<S3StoreOptions>): S3Store
  put(at: string, body?: string | Buffer, ifAbsent?: boolean): Promise<PutOutcome>
  /** Answers the first `count` requests of an operation with a fault, and everything else honestly. */
  first(operation: string, fault: Fault, count?: number): void
  /** Sends two parts; `complete` puts them together. */
  upload(at: string): Promise<{uploadId: string; body: Buffer; complete(): Promise<void>}>
}

/** Declares the hooks of a suite; everything started in a test is stopped after it. */
export function useFaultStore(): FaultStore {
  const open: Array<() => unknown> = []
  const faults = {
    async start(serverOptions = {}, storeOptions = {}) {
      faults.server = await startFaultServer(serverOptions)
      open.push(() => faults.server.stop())
      faults.store = faults.connect(storeOptions)
    },
    connect(storeOptions = {}) {
      const store = createS3Store({
        bucket: faults.server.bucket,
        endpoint: faults.server.endpoint,
        environment: {AWS_ACCESS_KEY_ID: 'id-of-key', AWS_SECRET_ACCESS_KEY: 'very-secret', HOME: '/nonexistent'},
        clock: faults.clock,
        idleTimeoutMs: 250,
        connectTimeoutMs: 1000,
        onRetry: (notice) => faults.notices.push(notice),
        ...storeOptions,
      })
      open.push(() => store.close())
      return store
    },
    put: (at, body = at, ifAbsent = false) => faults.store.put(key(at), Buffer.from(body), {kind: 'wal', ifAbsent}),
    first(operation, fault, count = 1) {
      faults.server.hook = (request) => (request.operation === operation && request.number <= count ? fault : undefined)
    },
    async upload(at) {
      const {store} = faults
      const bodies = [randomBytes(1000), randomBytes(10)]
      const uploadId = await store.createUpload(key(at), {kind: 'base'})
      const parts = await Promise.all(bodies.map((body, index) => store.uploadPart(key(at), uploadId, index + 1, body)))
      const body = Buffer.concat(bodies)
      const whole = {crc32c: crc32c(body), sizeBytes: body.length}
      return {uploadId, body, complete: () => store.completeUpload(key(at), uploadId, parts, whole)}
    },
  } as FaultStore

  beforeEach(() => {
    faults.clock = quickClock()
    faults.notices = []
  })
  afterEach(async () => {
    for (const stop of open.splice(0).reverse()) await stop()
  })
  return faults
}

function quickClock(): QuickClock {
  const clock: QuickClock = {
    sleptMs: 0,
    now: () => new Date(Date.now() + clock.sleptMs),
    async sleep(milliseconds, signal) {
      signal?.throwIfAborted()
      clock.sleptMs += milliseconds
      await new Promise((resolve) => setImmediate(resolve))
      signal?.throwIfAborted()
    },
  }
  return clock
}

/** The expected error `work` rejects with; anything else is thrown on. */
export async function errorOf(work: Promise<unknown>): Promise<BarmansError> {
  try {
    await work
  } catch (error) {
    if (error instanceof BarmansError) return error
    throw error
  }

  throw new Error('no error')
}

/** All items of an iterable. */
export async function collect<T>(items: AsyncIterable<T> | undefined): Promise<T[]> {
  const all: T[] = []
  for await (const item of items ?? []) all.push(item)
  return all
}

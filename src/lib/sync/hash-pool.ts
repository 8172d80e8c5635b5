import {availableParallelism} from 'node:os'
import {createHash, hash} from 'node:crypto'
import {Worker} from 'node:worker_threads'
import {crc32c} from '@node-rs/crc32'

/** Below this, handing bytes to another thread costs more than hashing them here. */
const INLINE_BYTES = 256 * 1024
/** More hashing threads than this find no disk that keeps them busy. */
const MAX_THREADS = 4

/** What a worker is told: bytes of one running digest, in their order. */
export interface HashOrder {
  readonly job: number
  readonly digest: number
  readonly memory?: ArrayBufferLike
  readonly offset: number
  readonly sizeBytes: number
  /** The digest ends with these bytes. */
  readonly isLast: boolean
}

export interface HashAnswer {
  readonly job: number
  /** Of the bytes of this order alone. */
  readonly crc32c: number
  readonly sha256?: string
}

/** SHA-256 of a content that comes piece by piece. */
export interface ContentHash {
  /**
   * The next bytes, which must stay as they are until this resolves. Calls need not wait for each other.
   * @returns their CRC32C, of these bytes alone
   */
  update(bytes: Buffer): Promise<number>
  /** The digest as 64 hex digits, after all updates. */
  digest(): Promise<string>
  /** Forgets it, when the content could not be read to its end. */
  drop(): void
}

/**
 * Hashing beside the main thread, which has sockets to serve. A running SHA-256 cannot move between threads, so each
 * stays with its worker; different files are hashed at the same time. Threads start when the first large content comes
 * and never hold up the end of the program.
 */
export class HashPool {
  readonly #maxThreads: number
  readonly #file: URL
  readonly #workers: HashWorker[] = []
  #lastDigest = 0

  /** @param file the module that the threads run */
  constructor(maxThreads = Math.min(MAX_THREADS, availableParallelism()), file = workerFile()) {
    this.#maxThreads = maxThreads
    this.#file = file
  }

  /** SHA-256, 64 hex digits, and CRC32C of one content in memory. */
  async digest(bytes: Buffer): Promise<{sha256: string; crc32c: number}> {
    if (bytes.length < INLINE_BYTES || !(bytes.buffer instanceof SharedArrayBuffer)) {
      return {sha256: hash('sha256', bytes, 'hex'), crc32c: crc32c(bytes)}
    }
    const {sha256 = '', crc32c: sum} = await this.#pick().send({
      digest: ++this.#lastDigest, memory: bytes.buffer, offset: bytes.byteOffset, sizeBytes: bytes.length, isLast: true,
    })
    return {sha256, crc32c: sum}
  }

  /** Begins a digest of `sizeBytes`, as far as known: small ones stay on this thread. */
  begin(sizeBytes: number): ContentHash {
    return sizeBytes < INLINE_BYTES ? new InlineHash() : new WorkerHash(this.#pick(), ++this.#lastDigest)
  }

  /** Ends the threads. */
  close(): void {
    for (const worker of this.#workers.splice(0)) worker.end()
  }

  #pick(): HashWorker {
    const idle = this.#workers.find(({load}) => load === 0)
    if (idle) return idle
    if (this.#workers.length < this.#maxThreads) {
      const worker = new HashWorker(this.#file)
      this.#workers.push(worker)
      return worker
    }
    return this.#workers.reduce((least, worker) => (worker.load < least.load ? worker : least))
  }
}

class InlineHash implements ContentHash {
  readonly #hash = createHash('sha256')

  async update(bytes: Buffer): Promise<number> {
    this.#hash.update(bytes)
    return crc32c(bytes)
  }

  async digest(): Promise<string> {
    return this.#hash.digest('hex')
  }

  drop(): void {}
}

class WorkerHash implements ContentHash {
  readonly #worker: HashWorker
  readonly #digest: number
  #isOpen = true

  constructor(worker: HashWorker, digest: number) {
    this.#worker = worker
    this.#digest = digest
    worker.open++
  }

  async update(bytes: Buffer): Promise<number> {
    const isShared = bytes.buffer instanceof SharedArrayBuffer
    // Memory that is not shared is copied on its way, so only the bytes themselves go.
    const memory = isShared ? bytes.buffer : new Uint8Array(bytes).buffer
    const offset = isShared ? bytes.byteOffset : 0
    return (await this.#worker.send({digest: this.#digest, memory, offset, sizeBytes: bytes.length, isLast: false})).crc32c
  }

  async digest(): Promise<string> {
    this.#end()
    return (await this.#worker.send({digest: this.#digest, offset: 0, sizeBytes: 0, isLast: true})).sha256 ?? ''
  }

  drop(): void {
    if (!this.#isOpen) return
    this.#end()
    // The answer matters to nobody; the worker forgets the digest.
    this.#worker.send({digest: this.#digest, offset: 0, sizeBytes: 0, isLast: true}).catch(() => undefined)
  }

  #end(): void {
    this.#isOpen = false
    this.#worker.open--
  }
}

/** Beside this file, compiled or not. */
function workerFile(): URL {
  return new URL(import.meta.url.endsWith('.ts') ? './hash-worker.ts' : './hash-worker.js', import.meta.url)
}

interface Waiting {
  readonly resolve: (answer: HashAnswer) => void
  readonly reject: (error: unknown) => void
}

class HashWorker {
  /** Digests that are not ended yet. */
  open = 0
  readonly #thread: Worker
  readonly #waiting = new Map<number, Waiting>()
  #lastJob = 0
  #failure: unknown

  constructor(file: URL) {
    // Node's own options are for the main program. What a thread hashes lies outside its heap, which can be small.
    this.#thread = new Worker(file, {execArgv: [], resourceLimits: {maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64}})
    this.#thread.on('message', (answer: HashAnswer) => {
      const waiting = this.#waiting.get(answer.job)
      this.#waiting.delete(answer.job)
      if (this.#waiting.size === 0) this.#thread.unref()
      waiting?.resolve(answer)
    })
    this.#thread.on('error', (error) => this.#fail(error))
    this.#thread.on('exit', (code) => this.#fail(new Error(`the hashing thread ended with ${code}`)))
    this.#thread.unref()
  }

  get load(): number {
    return this.open + this.#waiting.size
  }

  async send(order: Omit<HashOrder, 'job'>): Promise<HashAnswer> {
    if (this.#failure !== undefined) throw this.#failure
    const job = ++this.#lastJob
    return await new Promise((resolve, reject) => {
      this.#waiting.set(job, {resolve, reject})
      // Only while somebody waits for it may the thread keep the program alive.
      this.#thread.ref()
      this.#thread.postMessage({job, ...order} satisfies HashOrder)
    })
  }

  end(): void {
    void this.#thread.terminate()
  }

  #fail(error: unknown): void {
    this.#failure ??= error
    for (const {reject} of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}

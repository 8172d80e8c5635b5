/**
 * Memory for request bodies. Whatever the concurrency, at most `limitBytes` are handed out at a time; who asks for more
 * waits in line. Large buffers are used again, since allocating 16 MiB for each of a million WALs costs more than
 * sending them.
 */
export class BodyPool {
  readonly #limitBytes: number
  #usedBytes = 0
  readonly #waiting: {sizeBytes: number; start: () => void}[] = []
  readonly #free: Buffer[] = []
  #freeBytes = 0

  /** @param limitBytes bytes handed out at the same time (design: 128 MiB in flight) */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  /**
   * A buffer of exactly `sizeBytes` with undefined content. Waits until the limit allows it; one that is larger than the
   * whole limit is handed out alone. Give it back with `give` once nothing reads it any more.
   */
  async take(sizeBytes: number, signal?: AbortSignal): Promise<Buffer> {
    signal?.throwIfAborted()
    const fits = () => this.#usedBytes === 0 || this.#usedBytes + sizeBytes <= this.#limitBytes
    if (this.#waiting.length > 0 || !fits()) {
      await new Promise<void>((resolve, reject) => {
        const entry = {sizeBytes, start: resolve}
        this.#waiting.push(entry)
        signal?.addEventListener('abort', () => {
          const index = this.#waiting.indexOf(entry)
          if (index >= 0) this.#waiting.splice(index, 1)
          reject(signal.reason as Error)
        }, {once: true})
      })
    } else {
      this.#usedBytes += sizeBytes
    }
    return this.#reuse(sizeBytes) ?? Buffer.allocUnsafeSlow(sizeBytes)
  }

  /** Returns the memory. With `isReusable: false` (a request that failed may still hold it) the buffer is dropped. */
  give(buffer: Buffer, {isReusable = true}: {isReusable?: boolean} = {}): void {
    this.#usedBytes -= buffer.length
    if (isReusable && buffer.length >= 1024 * 1024 && this.#freeBytes + this.#usedBytes + buffer.length <= this.#limitBytes) {
      this.#free.push(buffer)
      this.#freeBytes += buffer.length
    }
    this.#startWaiting()
  }

  #reuse(sizeBytes: number): Buffer | undefined {
    const index = this.#free.findIndex((buffer) => buffer.length === sizeBytes)
    const [found] = index < 0 ? [] : this.#free.splice(index, 1)
    if (found) {
      this.#freeBytes -= found.length
      return found
    }
    // Kept buffers of another size must not push the total over the limit.
    while (this.#free.length > 0 && this.#freeBytes + this.#usedBytes > this.#limitBytes) {
      this.#freeBytes -= this.#free.shift()?.length ?? 0
    }
    return undefined
  }

  #startWaiting(): void {
    for (;;) {
      const next = this.#waiting[0]
      if (!next || !(this.#usedBytes === 0 || this.#usedBytes + next.sizeBytes <= this.#limitBytes)) return
      this.#waiting.shift()
      this.#usedBytes += next.sizeBytes
      next.start()
    }
  }
}

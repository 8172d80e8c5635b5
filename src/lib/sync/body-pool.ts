/** From this size on a body counts against what large ones may take together, and its memory is exactly as large. */
const LARGE_BYTES = 1024 * 1024

/**
 * Memory for request bodies. Whatever the concurrency, at most `limitBytes` are handed out at a time; who asks for more
 * waits in line. An eighth of it (at most 16 MiB) is kept for small bodies, and these do not queue behind large ones:
 * thousands of small files must not wait for the parts of a large one. Large buffers are used again, since allocating
 * 16 MiB for each of a million WALs costs more than sending them. They lie in shared memory, so that hashing threads read
 * them where they are.
 */
export class BodyPool {
  readonly #limitBytes: number
  readonly #limitLargeBytes: number
  #usedBytes = 0
  #usedLargeBytes = 0
  readonly #waiting: {sizeBytes: number; start: () => void}[] = []
  /** Memory that nobody uses just now, by its size. */
  readonly #free = new Map<number, ArrayBufferLike[]>()
  #freeBytes = 0

  /** @param limitBytes bytes handed out at the same time (design: 128 MiB in flight) */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
    this.#limitLargeBytes = limitBytes - Math.min(16 * LARGE_BYTES, Math.floor(limitBytes / 8))
  }

  /**
   * A buffer of exactly `sizeBytes` with undefined content. Waits until the limit allows it; one that is larger than the
   * whole limit is handed out alone. Give it, or a part of it, back with `give` once nothing reads it any more.
   */
  async take(sizeBytes: number, signal?: AbortSignal): Promise<Buffer> {
    signal?.throwIfAborted()
    const memoryBytes = memoryFor(sizeBytes)
    if (this.#waiting.some((waiting) => isLarge(waiting.sizeBytes) === isLarge(memoryBytes)) || !this.#fits(memoryBytes)) {
      await this.#wait(memoryBytes, signal)
    } else {
      this.#count(memoryBytes)
    }
    return this.#allocate(sizeBytes)
  }

  /** Waits in line; what is waited for is counted as handed out when this resolves. */
  async #wait(sizeBytes: number, signal: AbortSignal | undefined): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      // The signal lives as long as the run: a listener that stayed would stay a million times.
      const leave = (end: () => void) => {
        signal?.removeEventListener('abort', stop)
        end()
      }
      const entry = {sizeBytes, start: () => leave(resolve)}
      const stop = () => {
        this.#waiting.splice(this.#waiting.indexOf(entry), 1)
        leave(() => reject(signal?.reason as Error))
        this.#startWaiting()
      }
      this.#waiting.push(entry)
      signal?.addEventListener('abort', stop)
    })
  }

  /** Returns the memory. With `isReusable: false` (a request that failed may still hold it) the buffer is dropped. */
  give(buffer: Buffer, {isReusable = true}: {isReusable?: boolean} = {}): void {
    const memory = buffer.buffer
    this.#count(memory.byteLength, -1)
    if (isReusable && this.#freeBytes + this.#usedBytes + memory.byteLength <= this.#limitBytes) {
      const kept = this.#free.get(memory.byteLength)
      if (kept) kept.push(memory)
      else this.#free.set(memory.byteLength, [memory])
      this.#freeBytes += memory.byteLength
    }
    this.#startWaiting()
  }

  #allocate(sizeBytes: number): Buffer {
    const memoryBytes = memoryFor(sizeBytes)
    const kept = this.#free.get(memoryBytes)?.pop()
    if (kept) {
      this.#freeBytes -= memoryBytes
      return Buffer.from(kept, 0, sizeBytes)
    }
    // Kept memory of another size must not push the total over the limit.
    for (const [size, list] of this.#free) {
      while (list.length > 0 && this.#freeBytes + this.#usedBytes > this.#limitBytes) {
        list.pop()
        this.#freeBytes -= size
      }
    }
    return Buffer.from(isLarge(memoryBytes) ? new SharedArrayBuffer(memoryBytes) : Buffer.allocUnsafeSlow(memoryBytes).buffer, 0, sizeBytes)
  }

  #fits(sizeBytes: number): boolean {
    if (isLarge(sizeBytes) && this.#usedLargeBytes > 0 && this.#usedLargeBytes + sizeBytes > this.#limitLargeBytes) return false
    return this.#usedBytes === 0 || this.#usedBytes + sizeBytes <= this.#limitBytes
  }

  #count(sizeBytes: number, sign: 1 | -1 = 1): void {
    this.#usedBytes += sign * sizeBytes
    if (isLarge(sizeBytes)) this.#usedLargeBytes += sign * sizeBytes
  }

  /** Begins who can begin now: within each of the two sizes in the order of asking. */
  #startWaiting(): void {
    const isBlocked = {large: false, small: false}
    for (let index = 0; index < this.#waiting.length && !(isBlocked.large && isBlocked.small);) {
      const next = this.#waiting[index]!
      const lane = isLarge(next.sizeBytes) ? 'large' : 'small'
      if (isBlocked[lane] || !this.#fits(next.sizeBytes)) {
        isBlocked[lane] = true
        index++
        continue
      }
      this.#waiting.splice(index, 1)
      this.#count(next.sizeBytes)
      next.start()
    }
  }
}

function isLarge(sizeBytes: number): boolean {
  return sizeBytes >= LARGE_BYTES
}

/**
 * Memory for a body of that size. Small ones share it by powers of two: allocating each by itself leaves more garbage than
 * is collected in time.
 */
function memoryFor(sizeBytes: number): number {
  return isLarge(sizeBytes) ? sizeBytes : Math.max(4096, 2 ** Math.ceil(Math.log2(Math.max(1, sizeBytes))))
}

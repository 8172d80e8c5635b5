import type {Clock} from '../clock.ts'

export interface ThrottleOptions {
  readonly maxBytesPerSecond: number
  readonly clock: Clock
}

/** What asks before bytes pass. */
export interface Pace {
  /** What to ask for at once. */
  readonly sliceBytes: number
  readonly isLimited: boolean
  take(sizeBytes: number): Promise<void>
  charge(sizeBytes: number): void
  enter(signal?: AbortSignal): Promise<() => void>
}

/**
 * No limit, but bodies in slices all the same: TLS holds a second copy of what it is given at once, for every body on its
 * way.
 */
export const SLICES_ONLY: Pace = {
  sliceBytes: 512 * 1024,
  isLimited: false,
  async take() {},
  charge() {},
  async enter() {
    return () => undefined
  },
}

/** What may pass at once after nothing passed for a while; also makes up for timers that fire late. */
const BURST_MS = 100
/** A body passes in slices of so many milliseconds, so that with 128 connections each still moves twice a second. */
const SLICE_MS = 4
const LEAST_SLICE_BYTES = 512
/** Bodies are sent side by side only while each has this much of the line; the fewer are begun, the fewer a broken line costs. */
const BYTES_PER_SENDER = 256 * 1024
/** One connection that nobody reads from must not stop all others. */
const LEAST_SENDERS = 2

/**
 * A limit of bytes a second that all connections of a run share, first come, first served. Over any second at most a
 * tenth more than the limit passes. It is asked before bytes go to a socket or are read from one; see `s3/meter.ts`.
 */
export class Throttle implements Pace {
  readonly isLimited = true
  /** What to ask for at once. */
  readonly sliceBytes: number
  readonly #clock: Clock
  readonly #bytesPerMs: number
  readonly #senders: number
  /** Bytes that may pass now; below 0 what passed too early. */
  #allowedBytes = 0
  #refilledAtMs: number
  #last: Promise<void> = Promise.resolve()
  #sending = 0
  readonly #waiting: (() => void)[] = []

  /** @throws RangeError for a limit that is not above 0: no limit is no throttle. */
  constructor({maxBytesPerSecond, clock}: ThrottleOptions) {
    if (!(maxBytesPerSecond > 0)) throw new RangeError('a throttle needs a limit above 0')
    this.#clock = clock
    this.#bytesPerMs = maxBytesPerSecond / 1000
    this.#senders = Math.max(LEAST_SENDERS, Math.floor(maxBytesPerSecond / BYTES_PER_SENDER))
    this.#refilledAtMs = clock.now().getTime()
    this.sliceBytes = Math.max(LEAST_SLICE_BYTES, Math.floor(this.#bytesPerMs * SLICE_MS))
  }

  /** Resolves when `sizeBytes` (about `sliceBytes` or less) may pass. Never waits long, so it takes no signal. */
  async take(sizeBytes: number): Promise<void> {
    const turn = this.#last.then(async () => await this.#pass(sizeBytes))
    this.#last = turn
    await turn
  }

  /** Counts what came without asking, such as the head of an answer: whoever comes next waits for it. */
  charge(sizeBytes: number): void {
    this.#allowedBytes -= sizeBytes
  }

  /**
   * Waits until another body may be begun; the result, called once the last of it has passed or it is given up, lets the
   * next one begin. Calling it again does nothing. Rejects with the signal's reason.
   */
  async enter(signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted()
    if (this.#sending < this.#senders) this.#sending++
    else await this.#waitForSender(signal)
    let isInside = true
    return () => {
      if (!isInside) return
      isInside = false
      const next = this.#waiting.shift()
      if (next) next()
      else this.#sending--
    }
  }

  async #waitForSender(signal: AbortSignal | undefined): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const begin = () => {
        signal?.removeEventListener('abort', stop)
        resolve()
      }
      const stop = () => {
        this.#waiting.splice(this.#waiting.indexOf(begin), 1)
        reject(signal?.reason as Error)
      }
      this.#waiting.push(begin)
      signal?.addEventListener('abort', stop, {once: true})
    })
  }

  async #pass(sizeBytes: number): Promise<void> {
    this.#refill(0)
    if (this.#allowedBytes < 0) {
      const pauseMs = Math.ceil(-this.#allowedBytes / this.#bytesPerMs)
      await this.#clock.sleep(pauseMs)
      this.#refill(pauseMs)
    }
    this.#allowedBytes -= sizeBytes
  }

  /** By the clock; at least what was slept through, since somebody may set the clock back meanwhile. */
  #refill(sleptMs: number): void {
    const nowMs = this.#clock.now().getTime()
    const passedMs = Math.max(nowMs - this.#refilledAtMs, sleptMs)
    this.#refilledAtMs = nowMs
    this.#allowedBytes = Math.min(this.#allowedBytes + passedMs * this.#bytesPerMs, BURST_MS * this.#bytesPerMs)
  }
}

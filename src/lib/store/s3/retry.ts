import {errnoOf, messageOf} from '../../errors.ts'
import type {Clock} from '../../clock.ts'
import {StoreAnswer} from './answer.ts'
import type {RetryNotice} from './options.ts'

/** What may be done after a failed attempt. */
export type RetryClass = 'never' | 'again' | 'slow-down' | 'clock' | 'briefly'

const PAUSE_MS = {again: 250, 'slow-down': 500, briefly: 100} as const
const MAX_PAUSE_MS = 20_000
/** Attempts for what is rarely mended by sending again: a wrong digest, an answer that is not S3, a corrected clock. */
const BRIEF_ATTEMPTS = 3
/** A request is sent at most so many times `maxAttempts`, whatever does not count. */
const PATIENCE = 3
/** So many requests in a row that failed to the end, and the store as a whole is taken to be out of service. */
const EXHAUSTED_FOR_RUN = 3

/** Codes that mean "later, slower", whatever the status. */
const SLOW_DOWN = new Set([
  'SlowDown',
  'ServiceUnavailable',
  'Throttling',
  'ThrottlingException',
  'RequestLimitExceeded',
  'TooManyRequests',
  'BandwidthLimitExceeded',
  'SlowDownRead',
  'SlowDownWrite',
])
const PASSING = new Set([
  'InternalError',
  'RequestTimeout',
  'OperationAborted',
  'ConditionalRequestConflict',
  'BadGateway',
  'GatewayTimeout',
])
const BRIEF = new Set([
  'InvalidAnswer',
  'BadDigest',
  'InvalidDigest',
  'XAmzContentChecksumMismatch',
  'XAmzContentSHA256Mismatch',
  'IncompleteBody',
])
/** Nothing is mended by asking again. */
const FINAL_STATUS = new Set([501, 505, 507])
const CONNECTION_ERRNOS = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'EHOSTDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EAI_FAIL',
  'EPROTO',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ERR_SSL_WRONG_VERSION_NUMBER',
])

/** Whether the failure is one of the connection (also a timeout), so that it is not known what the store did. */
export function isConnectionFault(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof StoreAnswer) return false
  // Node's parser errors (HPE_…): something other than HTTP was answered, or the answer was cut in its head.
  const errno = errnoOf(error) ?? ''
  return (
    error.name === 'TimeoutError' || CONNECTION_ERRNOS.has(errno) || errno.startsWith('HPE_') || error.message === 'aborted'
  )
}

/** What may be done after `error`. */
export function classifyFailure(error: unknown): RetryClass {
  if (error instanceof StoreAnswer) {
    if (error.code === 'RequestTimeTooSkewed') return error.$metadata.clockSkewCorrected ? 'clock' : 'never'
    if (error.status === 429 || error.status === 503 || SLOW_DOWN.has(error.code)) return 'slow-down'
    if (BRIEF.has(error.code)) return 'briefly'
    if (PASSING.has(error.code)) return 'again'
    if (FINAL_STATUS.has(error.status)) return 'never'
    return error.status >= 500 || error.status === 408 ? 'again' : 'never'
  }

  if (!isConnectionFault(error)) return 'never'
  // A wrong protocol or a name that does not exist is not mended by waiting long.
  return ['EPROTO', 'ERR_SSL_WRONG_VERSION_NUMBER'].includes(errnoOf(error) ?? '') ? 'briefly' : 'again'
}

/** How often one request has failed. */
export interface Attempts {
  failed: number
  /** Of these, the ones that count against `maxAttempts`. */
  counted: number
  /** Requests of the store that had succeeded at the latest failure. */
  successesSeen: number
}

export interface RetryPolicyOptions {
  readonly maxAttempts: number
  readonly clock: Clock
  readonly onRetry?: (notice: RetryNotice) => void
}

/**
 * When requests are sent again. Shared by all requests of a store: a 503 to one pauses them all, so that a store that
 * asks for less gets less, and a run against a store that is out of service ends instead of failing item by item.
 */
export class RetryPolicy {
  readonly maxAttempts: number
  readonly #clock: Clock
  readonly #onRetry: ((notice: RetryNotice) => void) | undefined
  #closedUntilMs = 0
  #successes = 0
  #exhausted = 0

  constructor(options: RetryPolicyOptions) {
    this.maxAttempts = options.maxAttempts
    this.#clock = options.clock
    this.#onRetry = options.onRetry
  }

  /** Resolves when no pause of the run is on. Rejects with the signal's reason. */
  async waitForTurn(signal: AbortSignal | undefined): Promise<void> {
    for (let wait = this.#pauseLeftMs(); wait > 0; wait = this.#pauseLeftMs()) await this.#clock.sleep(wait, signal)
    signal?.throwIfAborted()
  }

  /** The counts of a request that is sent for the first time. */
  begin(): Attempts {
    return {failed: 0, counted: 0, successesSeen: this.#successes}
  }

  /** To be called after each success: ends the count of requests that failed to the end. */
  noteSuccess(): void {
    this.#successes++
    this.#exhausted = 0
  }

  /** True when so many requests in a row failed to the end that going on with others makes no sense. */
  get isOutOfService(): boolean {
    return this.#exhausted >= EXHAUSTED_FOR_RUN
  }

  /**
   * Waits before the request is sent again, or throws `error` when it is not to be. A 503 does not count while the store
   * serves other requests: it is there and asks for patience, and whom it refuses is chance. That, too, has an end.
   */
  async waitAfterFailure(
    error: unknown,
    attempts: Attempts,
    operation: string,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const kind = classifyFailure(error)
    if (kind === 'never') throw error
    attempts.failed++
    if (kind !== 'slow-down' || attempts.successesSeen === this.#successes) attempts.counted++
    attempts.successesSeen = this.#successes
    const most = kind === 'again' || kind === 'slow-down' ? this.maxAttempts : Math.min(BRIEF_ATTEMPTS, this.maxAttempts)
    if (attempts.counted >= most || attempts.failed >= most * PATIENCE) {
      if (kind !== 'clock') this.#exhausted++
      throw error
    }

    const pauseMs = kind === 'clock' ? 0 : pauseAfter(kind, attempts.counted, error)
    this.#onRetry?.({operation, attempt: attempts.failed, pauseMs, reason: describe(error)})
    if (kind === 'slow-down') this.#closedUntilMs = Math.max(this.#closedUntilMs, this.#clock.now().getTime() + pauseMs)
    if (pauseMs > 0) await this.#clock.sleep(pauseMs, signal)
  }

  #pauseLeftMs(): number {
    return this.#closedUntilMs - this.#clock.now().getTime()
  }
}

function pauseAfter(kind: keyof typeof PAUSE_MS, failures: number, error: unknown): number {
  if (error instanceof StoreAnswer && error.retryAfterMs !== undefined) return Math.min(error.retryAfterMs, MAX_PAUSE_MS)
  // Between half and the whole, so that requests refused together do not come back together.
  return Math.min(PAUSE_MS[kind] * 2 ** Math.max(failures - 1, 0), MAX_PAUSE_MS) * (0.5 + Math.random() / 2)
}

function describe(error: unknown): string {
  if (error instanceof StoreAnswer) return `${error.code}, HTTP ${error.status}`
  return errnoOf(error) ?? messageOf(error)
}

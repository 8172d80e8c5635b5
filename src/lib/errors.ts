/**
 * The error model of barmans3: one class per exit code, each with a message that says what failed and what is still
 * safe, and a hint that names the next command to type. Nothing here knows the terminal.
 */

/** Exit codes of the whole program (docs/reference/exit-codes.md). `check` and `wal get` have their own. */
export const EXIT = {
  ok: 0,
  storeRefused: 1,
  storeUnreachable: 2,
  usage: 3,
  bug: 4,
  partial: 10,
  locked: 11,
  conflict: 12,
  barmanFiles: 13,
  damage: 14,
  guard: 15,
  interrupted: 130,
  terminated: 143,
} as const

export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

/** When several codes apply to one run, the first of this order is the exit code. */
const PRECEDENCE: readonly ExitCode[] = [143, 130, 12, 4, 13, 14, 3, 15, 1, 2, 11, 10, 0]

/** The exit code of a run whose parts ended with `codes`; 0 for none. A code outside the table counts as a bug (4). */
export function worstExitCode(codes: Iterable<number>): ExitCode {
  let worst: ExitCode = EXIT.ok
  for (const code of codes) {
    const known = PRECEDENCE.find((candidate) => candidate === code) ?? EXIT.bug
    if (PRECEDENCE.indexOf(known) < PRECEDENCE.indexOf(worst)) worst = known
  }
  return worst
}

export interface ErrorOptions {
  /** What to do next, one sentence or a command. */
  readonly hint?: string
  readonly cause?: unknown
}

/** Base of every expected error. `code` is stable and appears in `--json`; `exitCode` is the process's exit code. */
export abstract class BarmansError extends Error {
  abstract readonly code: string
  abstract readonly exitCode: ExitCode
  readonly hint: string | undefined

  constructor(message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : {cause: options.cause})
    this.name = new.target.name
    this.hint = options.hint
  }
}

/** The command line or the configuration is wrong; nothing was touched. Exit 3. */
export class UsageError extends BarmansError {
  readonly code = 'USAGE'
  readonly exitCode = EXIT.usage
}

/** The store answered but refused or failed (access denied, no such bucket, internal error, 503 for as long as we were ready to wait). Exit 1. */
export class StoreRefusedError extends BarmansError {
  readonly code = 'STORE_REFUSED'
  readonly exitCode = EXIT.storeRefused
  /** S3's error code, such as `AccessDenied`. */
  readonly storeCode: string
  /**
   * `request`: only this request failed, others may work. `run`: nothing of this run can work (credentials, bucket,
   * region, clock), so the run stops at once.
   */
  readonly scope: 'request' | 'run'
  /** The store itself failed (503 and the like): the same request may well work later. */
  readonly isPassing: boolean

  constructor(message: string, options: ErrorOptions & {storeCode: string; scope: 'request' | 'run'; isPassing?: boolean}) {
    super(message, options)
    this.storeCode = options.storeCode
    this.scope = options.scope
    this.isPassing = options.isPassing ?? false
  }
}

/** The store could not be reached (DNS, connection, timeout). Exit 2. */
export class StoreUnreachableError extends BarmansError {
  readonly code = 'STORE_UNREACHABLE'
  readonly exitCode = EXIT.storeUnreachable
}

/** Another run holds the lock. Exit 11. */
export class LockedError extends BarmansError {
  readonly code = 'LOCKED'
  readonly exitCode = EXIT.locked
}

/** Other content, or another cluster, stands under that name; a human must look. Exit 12. */
export class ConflictError extends BarmansError {
  readonly code = 'CONFLICT'
  readonly exitCode = EXIT.conflict
}

/** Barman's files are missing, unreadable, changing, or not understood. Exit 13. */
export class BarmanFilesError extends BarmansError {
  readonly code = 'BARMAN_FILES'
  readonly exitCode = EXIT.barmanFiles
}

/** Partly done; running again goes on. Exit 10. */
export class PartialError extends BarmansError {
  readonly code = 'PARTIAL'
  readonly exitCode = EXIT.partial
}

/** A local file of our own (queue, state, lock) could not be written or read: disk full, permission. Exit 4 is a bug, so this is 3: the set-up is wrong. */
export class LocalStateError extends BarmansError {
  readonly code = 'LOCAL_STATE'
  readonly exitCode = EXIT.usage
}

/** SIGINT or SIGTERM ended the run after cleaning up. Exit 130 or 143. */
export class InterruptedError extends BarmansError {
  readonly code = 'INTERRUPTED'
  readonly exitCode: ExitCode

  constructor(signal: 'SIGINT' | 'SIGTERM') {
    super(`stopped by ${signal}`, {hint: 'run the same command again to go on'})
    this.exitCode = signal === 'SIGINT' ? EXIT.interrupted : EXIT.terminated
  }
}

/** The exit code for anything thrown: expected errors carry theirs, everything else is a bug (4). */
export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof BarmansError ? error.exitCode : EXIT.bug
}

/** One line for people: message of any thrown value, line breaks folded, without a stack. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error)
  return text.replace(/\s*[\r\n]+\s*/g, ' ').trim()
}

/** The errno name (`ENOENT`, `EACCES`, …) of a Node system error, else undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code
  return undefined
}

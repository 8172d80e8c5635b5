import {messageOf, type BarmansError} from '../errors.ts'

/** What ended a run before its time, as results and `--json` show it. */
export interface StopReason {
  readonly code: string
  readonly message: string
  readonly hint: string | undefined
}

export function stopReasonOf(failure: BarmansError | undefined): StopReason | undefined {
  return failure && {code: failure.code, message: messageOf(failure), hint: failure.hint}
}

/** Codes of errors that stop everything: a signal, a store that refuses or cannot be reached. */
const GENERAL_CODES: ReadonlySet<string> = new Set(['INTERRUPTED', 'STORE_REFUSED', 'STORE_UNREACHABLE'])

/** Whether nothing else of the run, and no other server, could get around what stopped this one. */
export function stopsEverything(stop: Pick<StopReason, 'code'>): boolean {
  return GENERAL_CODES.has(stop.code)
}

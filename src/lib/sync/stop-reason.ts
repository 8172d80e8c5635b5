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

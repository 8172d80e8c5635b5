import type {Progress} from '../../progress.ts'

/** Fields of a log line. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>

/** A progress that is shown to somebody, and ends. */
export interface ProgressView extends Progress {
  /** The one line at the end of a run without a terminal. */
  verdict(level: 'info' | 'warn' | 'error', message: string, fields: LogFields): void
  /** Ends the picture; nothing is drawn afterwards. */
  finish(outcome: 'succeeded' | 'failed'): Promise<void>
}

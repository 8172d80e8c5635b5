import {EXIT, exitCodeOf, worstExitCode, type BarmansError, type ExitCode} from '../errors.ts'
import type {PlannedFiles} from './backup-plan.ts'
import type {StopReason} from './stop-reason.ts'

export interface BackupOutcome {
  readonly backupId: string
  /** Where the wish came from. */
  readonly origin: 'queue' | 'scan' | 'command'
  readonly outcome: 'copied' | 'already-complete' | 'not-finished' | 'refused' | 'skipped' | 'failed' | 'planned'
  readonly reason: string | undefined
  /** What to do about it, when it failed or cannot be copied. */
  readonly hint: string | undefined
  /** Of the whole backup; only when it was copied or planned. */
  readonly files: number | undefined
  readonly bytes: number | undefined
  /** What a dry run found would be done with the files. */
  readonly plan: readonly PlannedFiles[] | undefined
  readonly exitCode: ExitCode
}

export interface BaseSyncResult {
  readonly server: string
  readonly backups: readonly BackupOutcome[]
  /** Keys of metadata that had changed in Barman and were written again. */
  readonly metadataUpdated: number
  /** Queue entries that are no valid tasks and were set aside. */
  readonly brokenTasks: readonly string[]
  readonly isDryRun: boolean
  /** What stopped the whole run early. */
  readonly stoppedBy: StopReason | undefined
  readonly exitCode: ExitCode
}

/** The exit code of a base sync of one server. */
export function baseSyncExitCode(
  backups: readonly BackupOutcome[], facts: {readonly brokenTasks: number; readonly failure: BarmansError | undefined},
): ExitCode {
  return worstExitCode([
    ...backups.map(({exitCode}) => exitCode),
    facts.brokenTasks > 0 ? EXIT.partial : EXIT.ok,
    facts.failure ? exitCodeOf(facts.failure) : EXIT.ok,
  ])
}

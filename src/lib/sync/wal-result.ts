import {EXIT, exitCodeOf, worstExitCode, type BarmansError, type ExitCode} from '../errors.ts'
import type {ItemProblem} from './server-context.ts'

/** At most so many items of one kind are named in a result; the counts are always whole. */
export const MAX_NAMED = 100

/** Counts items and names the first of them: a million problems must not fill memory or a mail. */
export class ProblemList {
  count = 0
  readonly named: ItemProblem[] = []

  add(name: string, message: string): void {
    this.count++
    if (this.named.length < MAX_NAMED) this.named.push({name, message})
  }
}

export interface ProblemSummary {
  readonly count: number
  /** The first ones. */
  readonly items: readonly ItemProblem[]
}

export interface WalSyncResult {
  readonly server: string
  /** With a dry run: what would be uploaded. */
  readonly uploaded: {readonly files: number; readonly bytes: number; readonly first: string | undefined; readonly last: string | undefined}
  /** Planned names, oldest first, the first of them; only of a dry run. */
  readonly planned: readonly {readonly name: string; readonly decision: 'upload' | 'compare'; readonly sizeBytes: number}[]
  readonly alreadyThere: number
  /** Same name, other content: nothing was replaced. */
  readonly conflicts: ProblemSummary
  /** Not final yet: looked at again next time. */
  readonly left: ProblemSummary
  /** Removed by Barman's retention meanwhile and needed by no backup in S3. */
  readonly vanished: ProblemSummary
  /** Removed, but a complete backup in S3 needs it. */
  readonly lost: ProblemSummary
  readonly failed: ProblemSummary
  /** Planned and not done, because the run was stopped. */
  readonly notUploaded: number
  readonly isDryRun: boolean
  /** What stopped the whole run early. */
  readonly stoppedBy: {readonly code: string; readonly message: string; readonly hint: string | undefined} | undefined
  readonly exitCode: ExitCode
}

/** The exit code of a WAL sync from its parts (design: exit codes). */
export function walSyncExitCode(
  result: Pick<WalSyncResult, 'conflicts' | 'lost' | 'failed'>, failure: BarmansError | undefined,
): ExitCode {
  return worstExitCode([
    failure ? exitCodeOf(failure) : EXIT.ok,
    result.conflicts.count > 0 ? EXIT.conflict : EXIT.ok,
    result.lost.count > 0 ? EXIT.barmanFiles : EXIT.ok,
    result.failed.count > 0 ? EXIT.partial : EXIT.ok,
  ])
}

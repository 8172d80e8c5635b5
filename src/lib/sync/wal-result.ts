import {EXIT, exitCodeOf, messageOf, worstExitCode, BarmansError, type ExitCode} from '../errors.ts'
import {stopReasonOf, type StopReason} from './stop-reason.ts'
import type {ItemProblem} from './server-context.ts'

/** At most so many items of one kind are named in a result; the counts are always whole. */
export const MAX_NAMED = 100

/** Counts items and names the first of them: a million problems must not fill memory or a mail. */
export class ProblemList {
  count = 0
  readonly named: ItemProblem[] = []

  add(name: string, message: string, hint?: string): void {
    this.count++
    if (this.named.length < MAX_NAMED) this.named.push({name, message, ...(hint === undefined ? {} : {hint})})
  }

  summary(): ProblemSummary {
    return {count: this.count, items: this.named}
  }
}

export interface ProblemSummary {
  readonly count: number
  /** The first ones. */
  readonly items: readonly ItemProblem[]
}

/** One WAL file that is to be uploaded, or whose content is to be compared. Small: a million of them are held at once. */
export interface PlannedWal {
  readonly name: string
  readonly decision: 'upload' | 'compare'
  readonly sizeBytes: number
}

export interface WalSyncResult {
  readonly server: string
  /** With a dry run: what would be uploaded. */
  readonly uploaded: {readonly files: number; readonly bytes: number; readonly first: string | undefined; readonly last: string | undefined}
  /** Planned names, oldest first, the first of them; only of a dry run. */
  readonly planned: readonly PlannedWal[]
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
  readonly stoppedBy: StopReason | undefined
  readonly exitCode: ExitCode
}

/** What a run has done so far, item by item, and the result that comes of it. */
export class WalTally {
  readonly conflicts = new ProblemList()
  readonly left = new ProblemList()
  readonly vanished = new ProblemList()
  readonly lost = new ProblemList()
  readonly failed = new ProblemList()
  alreadyThere = 0
  /** Planned items that came to any end. */
  settled = 0
  #files = 0
  #bytes = 0
  #first: string | undefined
  #last: string | undefined

  /** One that could not be handled: the store refused it, or it cannot be read here. */
  addFailed(name: string, error: Error): void {
    this.failed.add(name, messageOf(error), error instanceof BarmansError ? error.hint : undefined)
  }

  addUploaded(name: string, sizeBytes: number): void {
    this.#files++
    this.#bytes += sizeBytes
    if (this.#first === undefined || name < this.#first) this.#first = name
    if (this.#last === undefined || name > this.#last) this.#last = name
  }

  /**
   * @param planned in upload order
   * @param failure what stopped the run early
   */
  result(server: string, planned: readonly PlannedWal[], failure: BarmansError | undefined, isDryRun: boolean): WalSyncResult {
    const {conflicts, left, vanished, lost, failed} = this
    return {
      server,
      uploaded: isDryRun
        ? {files: planned.length, bytes: planned.reduce((sum, {sizeBytes}) => sum + sizeBytes, 0), first: planned[0]?.name, last: planned.at(-1)?.name}
        : {files: this.#files, bytes: this.#bytes, first: this.#first, last: this.#last},
      planned: isDryRun ? planned.slice(0, MAX_NAMED) : [],
      alreadyThere: this.alreadyThere,
      conflicts: conflicts.summary(), left: left.summary(), vanished: vanished.summary(), lost: lost.summary(), failed: failed.summary(),
      notUploaded: failure ? planned.length - this.settled : 0,
      isDryRun,
      stoppedBy: stopReasonOf(failure),
      exitCode: worstExitCode([
        failure ? exitCodeOf(failure) : EXIT.ok,
        conflicts.count > 0 ? EXIT.conflict : EXIT.ok,
        lost.count > 0 ? EXIT.barmanFiles : EXIT.ok,
        failed.count > 0 ? EXIT.partial : EXIT.ok,
      ]),
    }
  }
}

import type {WalContent} from '../barman/wal-content.ts'
import type {WalFile} from '../barman/wal-name.ts'

/** What is to be done with one WAL file, and why. */
export type WalDecision = 'upload' | 'skip' | 'compare' | 'size-differs'

/**
 * | in S3 | size | local ctime | decision |
 * |---|---|---|---|
 * | no | – | – | `upload` |
 * | yes | equal | not later than the object's time | `skip` |
 * | yes | equal | later, but not later than the directory's last comparison | `skip` |
 * | yes | equal | later than both | `compare`: the content, by CRC32C |
 * | yes | differs | – | `size-differs`: a conflict, unless the local file is not final |
 *
 * Times are compared in whole seconds, which is all that some stores keep.
 * @param comparedNs up to which ctime the files of this directory were found equal by an earlier run
 */
export function decideWal(
  local: {readonly sizeBytes: number; readonly ctimeNs: bigint},
  remote: {readonly sizeBytes: number; readonly lastModified: Date} | undefined,
  comparedNs?: bigint,
): WalDecision {
  if (!remote) return 'upload'
  if (remote.sizeBytes !== local.sizeBytes) return 'size-differs'
  if (comparedNs !== undefined && local.ctimeNs <= comparedNs) return 'skip'
  const ctimeSeconds = Number(local.ctimeNs / 1_000_000_000n)
  return ctimeSeconds > Math.floor(remote.lastModified.getTime() / 1000) ? 'compare' : 'skip'
}

/** Why a WAL file is left for a later run; undefined when it is final. */
export type NotFinal = 'growing' | 'waiting-for-xlog.db' | undefined

export interface FinalityFacts {
  readonly file: WalFile
  readonly sizeBytes: number
  readonly content: WalContent
  /** From the backups; what the file's own first page says counts more. */
  readonly segmentSizeBytes: number
  /** A passive node's rsync writes with --inplace: files grow under their final names. */
  readonly isPassive: boolean
  /** Whether xlog.db has a line for it; only asked on a passive node. */
  readonly hasXlogDbLine: boolean
}

/**
 * Whether a file under a WAL's name is whole.
 *
 * | file | node | final when |
 * |---|---|---|
 * | plain segment | any | size = segment size (Barman 3.19 copies in place across file systems) |
 * | empty or zeros, not of the segment's size | any | never |
 * | compressed or encrypted segment | active | always: renamed into place whole |
 * | compressed or encrypted segment, `.backup`, `.history` | passive | its xlog.db line exists |
 * | `.backup`, `.history` | active | not empty |
 */
export function whyNotFinal(facts: FinalityFacts): NotFinal {
  const {content, file, sizeBytes} = facts
  if (file.kind === 'segment' && content.type !== 'encoded') {
    const expected = (content.type === 'plain' ? content.segmentSizeBytes : undefined) ?? facts.segmentSizeBytes
    return sizeBytes === expected ? undefined : 'growing'
  }
  if (sizeBytes === 0) return 'growing'
  return facts.isPassive && !facts.hasXlogDbLine ? 'waiting-for-xlog.db' : undefined
}

/** History files first, since without them no timeline can be followed, then by timeline and position, oldest first. */
export function compareUploadOrder(left: string, right: string): number {
  const history = Number(right.endsWith('.history')) - Number(left.endsWith('.history'))
  if (history !== 0) return history
  return left < right ? -1 : left > right ? 1 : 0
}

/**
 * Whether a backup that begins at `beginWal` needs segment `name` (24 digits) to be restored to some later point: what
 * comes from its begin on, on its timeline or a later one. Whether a later timeline has really left this one only the
 * history files tell; here it decides between an error and a note, and a false alarm is better than a silent gap.
 */
export function isNeededFrom(beginWal: string, name: string): boolean {
  return name.slice(0, 8) >= beginWal.slice(0, 8) && name.slice(8, 24) >= beginWal.slice(8, 24)
}

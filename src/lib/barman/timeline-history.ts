import {BarmanFilesError} from '../errors.ts'
import {parseLsn} from './lsn.ts'
import {parseWalName, segmentNumber} from './wal-name.ts'

/** One ancestor of a timeline. */
export interface TimelineSwitch {
  readonly parentTimeline: number
  /** Where the child left the parent. */
  readonly switchLsn: bigint
  /** PostgreSQL's words; empty when it wrote none. */
  readonly reason: string
}

const LINE = /^(\d+)\s+(\S+)(?:\s+(.*))?$/
/** Before PostgreSQL 9.3 a line named the segment; sizes other than this one were a matter of compiling it oneself. */
const OLD_SEGMENT_SIZE_BYTES = 16 * 1024 * 1024

/**
 * The ancestors of a timeline, oldest first, from the text of its history file (pg: `readTimeLineHistory`). Comments and
 * blank lines are ignored. A line of PostgreSQL before 9.3 names the segment instead of the LSN: then `switchLsn` is the
 * beginning of that segment. Throws BarmanFilesError when a line is not understood, timelines do not grow, or there is
 * no line at all.
 */
export function parseTimelineHistory(text: string): TimelineSwitch[] {
  const switches: TimelineSwitch[] = []
  for (const [index, line] of text.split('\n').entries()) {
    const trimmed = line.trim()
    if (trimmed === '' || trimmed.startsWith('#')) continue
    const match = LINE.exec(trimmed)
    const switchLsn = match === null ? undefined : parseSwitchPoint(match[2] ?? '')
    if (match === null || switchLsn === undefined) throw notHistory(`line ${index + 1} is not "timeline LSN reason"`)
    const parentTimeline = Number(match[1])
    const last = switches.at(-1)?.parentTimeline ?? 0
    if (parentTimeline <= last || parentTimeline > 0xffff_ffff) throw notHistory(`timeline ${match[1]} is out of order`)
    switches.push({parentTimeline, switchLsn, reason: match[3] ?? ''})
  }
  if (switches.length === 0) throw notHistory('it names no timeline')
  return switches
}

function parseSwitchPoint(text: string): bigint | undefined {
  const lsn = parseLsn(text)
  if (lsn !== undefined) return lsn
  if (parseWalName(text)?.kind !== 'segment') return undefined
  return BigInt(segmentNumber(text, OLD_SEGMENT_SIZE_BYTES)) * BigInt(OLD_SEGMENT_SIZE_BYTES)
}

function notHistory(reason: string): BarmanFilesError {
  return new BarmanFilesError(`not a readable timeline history: ${reason}`, {
    hint: 'history files may be compressed or encrypted like any WAL file; compare with the one in pg_wal',
  })
}

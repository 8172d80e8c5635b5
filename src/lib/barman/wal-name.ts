import {BarmanFilesError} from '../errors.ts'

interface WalFileBase {
  /** The file name as it stands on disk, without directory. */
  readonly name: string
  readonly timeline: number
}

interface SegmentPosition {
  /** First 24 digits of the name: the segment this file is, belongs to, or is the beginning of. */
  readonly segment: string
  /** The middle 8 digits: the upper half of the segment's LSN. */
  readonly logId: number
  /** The last 8 digits: the segment's number within its log id. */
  readonly logSegment: number
}

/** A whole segment: 24 hex digits. */
export interface WalSegmentFile extends WalFileBase, SegmentPosition {
  readonly kind: 'segment'
}

/** A backup label in the archive: `<segment>.<offset>.backup`. */
export interface WalBackupFile extends WalFileBase, SegmentPosition {
  readonly kind: 'backup'
  readonly offsetBytes: number
}

/** The beginning of a segment that was not finished: `<segment>.partial`. */
export interface WalPartialFile extends WalFileBase, SegmentPosition {
  readonly kind: 'partial'
}

/** The history of a timeline: `<timeline>.history`. */
export interface WalHistoryFile extends WalFileBase {
  readonly kind: 'history'
}

/** Anything that belongs into a WAL archive. */
export type WalFile = WalSegmentFile | WalBackupFile | WalPartialFile | WalHistoryFile

/** What the order of segments depends on besides their size. */
export interface SegmentOptions {
  /** `version` of backup.info, such as 90224 or 150020. PostgreSQL before 9.3 never used the last segment of a log id. */
  readonly postgresVersion?: number | undefined
}

const WAL_NAME =
  /^([0-9A-Fa-f]{8})(?:([0-9A-Fa-f]{8})([0-9A-Fa-f]{8})(?:\.([0-9A-Fa-f]{8})\.backup|(\.partial))?|(\.history))$/
const HASH_DIRECTORY = /^[0-9A-F]{16}$/
const LOG_BYTES = 2 ** 32
const MIB = 1024 * 1024

/**
 * What the file named `name` is in a WAL archive, or undefined when it does not belong there (temporary files, dotfiles,
 * xlog.db, directories of other tools). barman: `xlog._xlog_re`: eight hex digits, then sixteen with an optional
 * `.<offset>.backup` (eight hex digits more) or `.partial`, or `.history`; digits in either case, suffixes in lower case only.
 * Stricter than Python's pattern in two points no WAL file can have: digits of other scripts and a line break at the end.
 */
export function parseWalName(name: string): WalFile | undefined {
  const match = WAL_NAME.exec(name)
  if (match === null) return undefined
  const timeline = parseHex(match[1])
  if (match[6] !== undefined) return {kind: 'history', name, timeline}
  const position = {segment: name.slice(0, 24), logId: parseHex(match[2]), logSegment: parseHex(match[3])}
  if (match[4] !== undefined) return {kind: 'backup', name, timeline, ...position, offsetBytes: parseHex(match[4])}
  if (match[5] !== undefined) return {kind: 'partial', name, timeline, ...position}
  return {kind: 'segment', name, timeline, ...position}
}

/**
 * The directory below `wals/` in which Barman keeps this file: the first 16 digits in upper case (barman:
 * `xlog.hash_dir`). Undefined for a history file, which lies in `wals/` itself, and for a name that is no WAL file.
 */
export function hashDirectory(file: WalFile | string): string | undefined {
  const walFile = typeof file === 'string' ? parseWalName(file) : file
  if (walFile === undefined || walFile.kind === 'history') return undefined
  return walFile.name.slice(0, 16).toUpperCase()
}

/** The path of this file below `wals/`, with `/` between the parts. Also its key below `wals/` in the bucket. */
export function walRelativePath(file: WalFile): string {
  const directory = hashDirectory(file)
  return directory === undefined ? file.name : `${directory}/${file.name}`
}

/** Whether Barman would make a directory of this name below `wals/`: 16 hex digits in upper case. */
export function isHashDirectoryName(name: string): boolean {
  return HASH_DIRECTORY.test(name)
}

/** Whether PostgreSQL can have segments of this size: a power of two from 1 MiB to 1 GiB (pg: `IsValidWalSegSize`). */
export function isValidSegmentSize(segmentSizeBytes: number): boolean {
  return Number.isInteger(Math.log2(segmentSizeBytes)) && segmentSizeBytes >= MIB && segmentSizeBytes <= 1024 * MIB
}

/**
 * How many segments lie before this one on its timeline, counted from LSN 0 (pg: `XLogFromFileName`). `.backup` and
 * `.partial` files count as their segment. Throws BarmanFilesError when the name is not of a segment, or impossible with
 * segments of this size.
 */
export function segmentNumber(file: WalFile | string, segmentSizeBytes: number): number {
  const segmentsPerLog = segmentsPerLogId(segmentSizeBytes)
  const walFile = parseSegment(file)
  if (walFile.logSegment >= segmentsPerLog) {
    throw new BarmanFilesError(`${walFile.name} cannot be a WAL segment of ${segmentSizeBytes} bytes`, {
      hint: 'compare xlog_segment_size in backup.info with the size of the WAL files',
    })
  }
  return walFile.logId * segmentsPerLog + walFile.logSegment
}

/** The name of segment `number` of `timeline` (pg: `XLogFileName`). Throws BarmanFilesError outside PostgreSQL's range. */
export function segmentName(timeline: number, number: number, segmentSizeBytes: number): string {
  const segmentsPerLog = segmentsPerLogId(segmentSizeBytes)
  const logId = Math.floor(number / segmentsPerLog)
  if (!isUint32(timeline) || !Number.isInteger(number) || !isUint32(logId)) {
    throw new BarmanFilesError(`there is no WAL segment ${number} on timeline ${timeline}`)
  }
  return formatHex(timeline) + formatHex(logId) + formatHex(number % segmentsPerLog)
}

/** The segment that follows `name` on the same timeline. Throws as `segmentNumber` does, and after the last one. */
export function nextSegmentName(name: string, segmentSizeBytes: number, options: SegmentOptions = {}): string {
  const next = nextSegmentNumber(segmentNumber(name, segmentSizeBytes), segmentSizeBytes, options)
  return segmentName(parseSegment(name).timeline, next, segmentSizeBytes)
}

/**
 * The names of all segments from `beginName` to `endName`, both included, made one at a time (barman:
 * `xlog.generate_segment_names`). May be walked several times. Throws BarmanFilesError at once when the two lie on
 * different timelines, the end lies before the beginning, or a name is impossible with segments of this size.
 */
export function segmentsBetween(
  beginName: string,
  endName: string,
  segmentSizeBytes: number,
  options: SegmentOptions = {},
): Iterable<string> {
  const begin = segmentNumber(beginName, segmentSizeBytes)
  const end = segmentNumber(endName, segmentSizeBytes)
  const {timeline} = parseSegment(beginName)
  if (timeline !== parseSegment(endName).timeline) {
    throw new BarmanFilesError(`WAL ${beginName} and ${endName} lie on different timelines`)
  }
  if (end < begin) throw new BarmanFilesError(`WAL ${endName} lies before ${beginName}`)
  return {
    *[Symbol.iterator]() {
      for (let number = begin; number <= end; number = nextSegmentNumber(number, segmentSizeBytes, options)) {
        yield segmentName(timeline, number, segmentSizeBytes)
      }
    },
  }
}

/**
 * Orders names by timeline, then by position; a history file stands before the segments of its timeline, `.backup` and
 * `.partial` right after their segment. For names as PostgreSQL writes them this is the order of their bytes.
 */
export function compareWalNames(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0
}

function nextSegmentNumber(number: number, segmentSizeBytes: number, options: SegmentOptions): number {
  const segmentsPerLog = segmentsPerLogId(segmentSizeBytes)
  const skipsLast = options.postgresVersion !== undefined && options.postgresVersion < 90_300
  return skipsLast && (number + 2) % segmentsPerLog === 0 ? number + 2 : number + 1
}

function segmentsPerLogId(segmentSizeBytes: number): number {
  if (!isValidSegmentSize(segmentSizeBytes)) {
    throw new BarmanFilesError(`${segmentSizeBytes} bytes is not a WAL segment size PostgreSQL can have`)
  }
  return LOG_BYTES / segmentSizeBytes
}

function parseSegment(file: WalFile | string): Exclude<WalFile, WalHistoryFile> {
  const walFile = typeof file === 'string' ? parseWalName(file) : file
  if (walFile === undefined || walFile.kind === 'history') {
    throw new BarmanFilesError(`${JSON.stringify(typeof file === 'string' ? file : file.name)} is not a WAL segment name`)
  }
  return walFile
}

function isUint32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < LOG_BYTES
}

function parseHex(digits: string | undefined): number {
  return Number.parseInt(digits ?? '', 16)
}

function formatHex(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, '0')
}

import {BarmanFilesError} from '../errors.ts'
import {parseBackupId} from './backup-id.ts'
import type {BackupId} from './backup-id.ts'
import {parseBackupIds, parseCount, parseTablespaces, unquote} from './backup-info-values.ts'
import type {Tablespace} from './backup-info-values.ts'
import {parseBarmanTime} from './barman-time.ts'
import {formatLsn, parseLsn} from './lsn.ts'
import {isValidSegmentSize, parseWalName} from './wal-name.ts'

export type {Tablespace} from './backup-info-values.ts'

const STATUSES = ['EMPTY', 'STARTED', 'WAITING_FOR_WALS', 'DONE', 'SYNCING', 'FAILED'] as const

/** What Barman says about a backup. `UNKNOWN` stands for a word this version does not know; `fields` has it. */
export type BackupStatus = (typeof STATUSES)[number] | 'UNKNOWN'

/** Barman's default when a file, written before 2.4, does not name the segment size. */
const DEFAULT_SEGMENT_SIZE_BYTES = 16 * 1024 * 1024

/**
 * A `backup.info` file: every key as it stands there, and the keys barmans3 works with as typed values. A key that is
 * missing, None, or not understood is undefined (an empty list where there is a list); what was not understood is named
 * in `problems`.
 */
export interface BackupInfo {
  /** Every key with its text, in the order of the file; of a key that comes twice the last value, as Barman has it. */
  readonly fields: ReadonlyMap<string, string>
  /** One sentence per line or value that could not be understood. The others are good. */
  readonly problems: readonly string[]
  /** Undefined only for `status=None`. */
  readonly status: BackupStatus | undefined
  readonly beginTime: Date | undefined
  readonly beginTimeText: string | undefined
  readonly endTime: Date | undefined
  readonly endTimeText: string | undefined
  readonly beginWal: string | undefined
  readonly endWal: string | undefined
  /** LSN in PostgreSQL's form, such as `0/3000028`. */
  readonly beginXlog: string | undefined
  readonly endXlog: string | undefined
  readonly timeline: number | undefined
  /** PostgreSQL's version number, such as 150020 for 15.20 or 90224 for 9.2.24. */
  readonly version: number | undefined
  /** 16 MiB when the file is whole and does not say (before Barman 2.4); undefined when it says something impossible. */
  readonly xlogSegmentSizeBytes: number | undefined
  /** Text, because it passes 2^53. Missing before Barman 2.10. */
  readonly systemId: string | undefined
  readonly mode: string | undefined
  readonly compression: string | undefined
  readonly encryption: string | undefined
  readonly backupName: string | undefined
  readonly backupLabel: string | undefined
  readonly parentBackupId: BackupId | undefined
  readonly childrenBackupIds: readonly BackupId[]
  readonly tablespaces: readonly Tablespace[]
  /** An estimate: Barman counts it before the last files are there. */
  readonly sizeBytes: number | undefined
  readonly deduplicatedSizeBytes: number | undefined
  readonly pgdata: string | undefined
  readonly serverName: string | undefined
  readonly error: string | undefined
  /** Whether the data is in disk snapshots of a cloud provider, hence not in Barman's directory. */
  readonly hasSnapshots: boolean
}

/**
 * Parses the text of a `backup.info` (barman: `infofile.FieldListFile.load`): `key=value` lines, blanks around both
 * dropped, `#` comments and blank lines ignored, `None` for nothing. Unknown keys are kept in `fields`. Barman writes the
 * keys sorted and `status` from the first save on, so a text without it has been cut or is something else.
 *
 * Throws BarmanFilesError when the text is empty, binary, without any `key=value` line, or without a status. A wrong
 * value, or a line that is no `key=value`, beside a status costs only itself and is named in `problems`.
 */
export function parseBackupInfo(text: string): BackupInfo {
  const problems: string[] = []
  const fields = parseFields(text, problems)
  const values = new Values(fields, problems)
  return {
    fields,
    problems,
    status: values.read('status', (value) => STATUSES.find((status) => status === value) ?? 'UNKNOWN'),
    beginTime: values.read('begin_time', (value) => parseBarmanTime(value)?.date),
    beginTimeText: values.text('begin_time'),
    endTime: values.read('end_time', (value) => parseBarmanTime(value)?.date),
    endTimeText: values.text('end_time'),
    beginWal: values.read('begin_wal', parseSegmentName),
    endWal: values.read('end_wal', parseSegmentName),
    beginXlog: values.read('begin_xlog', parseLsnText),
    endXlog: values.read('end_xlog', parseLsnText),
    timeline: values.read('timeline', parseCount),
    version: values.read('version', parseCount),
    xlogSegmentSizeBytes: isBeforeSegmentSize(fields)
      ? DEFAULT_SEGMENT_SIZE_BYTES
      : values.read('xlog_segment_size', parseSegmentSize),
    systemId: values.read('systemid', (value) => (/^\d+$/.test(unquote(value)) ? unquote(value) : undefined)),
    mode: values.text('mode'),
    compression: values.text('compression'),
    encryption: values.text('encryption'),
    backupName: values.text('backup_name'),
    backupLabel: values.read('backup_label', (value) => unquote(value)),
    parentBackupId: values.read('parent_backup_id', (value) => parseBackupId(unquote(value))),
    childrenBackupIds: values.read('children_backup_ids', parseBackupIds) ?? [],
    tablespaces: values.read('tablespaces', parseTablespaces) ?? [],
    sizeBytes: values.read('size', parseCount),
    deduplicatedSizeBytes: values.read('deduplicated_size', parseCount),
    pgdata: values.text('pgdata'),
    serverName: values.text('server_name'),
    error: values.text('error'),
    hasSnapshots: values.text('snapshots_info') !== undefined,
  }
}

/**
 * What makes two backups the same one. The id does not: it is local time to the second, and two Barman hosts with the
 * same cron line make the same one. Every part is undefined as long as Barman has not written it.
 */
export interface BackupIdentity {
  readonly systemId: string | undefined
  /** RFC 3339 with microseconds, in UTC; without `Z` when the file names no zone (see `sameIdentity`). */
  readonly beginTime: string | undefined
  readonly beginXlog: string | undefined
  readonly beginWal: string | undefined
}

/** The identity of the backup `info` describes. `fallbackSystemId` (of identity.json) is used when the file has none. */
export function backupIdentity(info: BackupInfo, fallbackSystemId?: string): BackupIdentity {
  const time = info.beginTimeText === undefined ? undefined : parseBarmanTime(info.beginTimeText)
  return {
    systemId: info.systemId ?? fallbackSystemId,
    beginTime: time?.normalized,
    beginXlog: info.beginXlog,
    beginWal: info.beginWal?.toUpperCase(),
  }
}

/**
 * Whether both may be the same backup: no part that both know differs. Undefined against known is no difference, since
 * old files have no systemid and a backup that has just begun has no position; so two identities that share no known
 * part count as the same, and callers compare finished backups only. A begin time without zone equals one that differs
 * from it by a possible zone offset: newer Barman adds the zone when it rewrites an old file.
 */
export function sameIdentity(left: BackupIdentity, right: BackupIdentity): boolean {
  return (
    isSamePart(left.systemId, right.systemId) &&
    isSamePart(left.beginXlog, right.beginXlog) &&
    isSamePart(left.beginWal, right.beginWal) &&
    isSameBegin(left.beginTime, right.beginTime)
  )
}

function isSamePart(left: string | undefined, right: string | undefined): boolean {
  return left === undefined || right === undefined || left === right
}

function isSameBegin(left: string | undefined, right: string | undefined): boolean {
  if (isSamePart(left, right)) return true
  if (left === undefined || right === undefined || left.endsWith('Z') === right.endsWith('Z')) return false
  const moments = [left, right].map((text) => parseBarmanTime(text.endsWith('Z') ? text : `${text}Z`)?.epochMicroseconds)
  if (moments[0] === undefined || moments[1] === undefined) return false
  const quarterHour = 900_000_000n
  const difference = moments[0] - moments[1]
  return difference % quarterHour === 0n && difference <= 56n * quarterHour && difference >= -56n * quarterHour
}

/** Typed access to the fields; what a parser does not take is noted once, without its text, which may hold anything. */
class Values {
  readonly #fields: ReadonlyMap<string, string>
  readonly #problems: string[]

  constructor(fields: ReadonlyMap<string, string>, problems: string[]) {
    this.#fields = fields
    this.#problems = problems
  }

  text(key: string): string | undefined {
    const value = this.#fields.get(key)
    return value === undefined || value === 'None' || value === '' ? undefined : value
  }

  read<T>(key: string, parse: (value: string) => T | undefined): T | undefined {
    const value = this.text(key)
    if (value === undefined) return undefined
    const parsed = parse(value)
    if (parsed === undefined) this.#problems.push(`the value of ${key} is not understood`)
    return parsed
  }
}

function parseFields(text: string, problems: string[]): ReadonlyMap<string, string> {
  const body = text.replace(/^\uFEFF/, '')
  if (body.trim() === '') throw notBackupInfo('it is empty')
  if (body.includes('\0')) throw notBackupInfo('it is binary (it contains NUL bytes)')
  const fields = new Map<string, string>()
  for (const [index, line] of body.split('\n').entries()) {
    const trimmed = line.trim()
    if (trimmed === '' || trimmed.startsWith('#')) continue
    const separator = trimmed.indexOf('=')
    if (separator > 0) fields.set(trimmed.slice(0, separator).trim(), trimmed.slice(separator + 1).trim())
    else problems.push(`line ${index + 1} is not key=value`)
  }
  if (fields.size === 0) throw notBackupInfo('no line is key=value')
  if (!fields.has('status')) throw notBackupInfo('it has no status, so it has been cut or is another file')
  if (!body.endsWith('\n')) problems.push('the last line has no line end, so the file may have been cut')
  return fields
}

function notBackupInfo(reason: string): BarmanFilesError {
  return new BarmanFilesError(`not a readable backup.info: ${reason}`, {
    hint: 'compare with `barman show-backup`; a backup whose backup.info is damaged cannot be restored by Barman either',
  })
}

function parseSegmentName(text: string): string | undefined {
  return parseWalName(text)?.kind === 'segment' ? text : undefined
}

function parseLsnText(text: string): string | undefined {
  const lsn = parseLsn(text)
  return lsn === undefined ? undefined : formatLsn(lsn)
}

/** Whether the file is of a Barman before 2.4. Its last key was `version`; a file without that has lost its end. */
function isBeforeSegmentSize(fields: ReadonlyMap<string, string>): boolean {
  return fields.has('version') && !fields.has('xlog_segment_size')
}

function parseSegmentSize(text: string): number | undefined {
  const size = parseCount(text)
  return size !== undefined && isValidSegmentSize(size) ? size : undefined
}

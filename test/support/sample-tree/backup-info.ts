/** Writing of `backup.info` as Barman does it (barman: infofile.py): sorted `key=value` lines, `None`, Python literals. */

/** One value of a `backup.info` field; `null` is written as `None`, a string as it is (Python literals are the caller's). */
export type BackupInfoValue = string | number | null

/** The fields of a `backup.info` by their names in the file. */
export type BackupInfoFields = Readonly<Record<string, BackupInfoValue>>

/** Every field Barman 3.19 writes into a new `backup.info`; those without a value yet are `None` there. */
const FIELDS_OF_A_NEW_BACKUP = [
  'backup_label', 'begin_offset', 'begin_time', 'begin_wal', 'begin_xlog', 'children_backup_ids', 'cluster_size', 'compression',
  'config_file', 'copy_stats', 'data_checksums', 'deduplicated_size', 'encryption', 'end_offset', 'end_time', 'end_wal',
  'end_xlog', 'error', 'hba_file', 'ident_file', 'included_files', 'mode', 'parent_backup_id', 'pgdata', 'server_name', 'size',
  'status', 'summarize_wal', 'systemid', 'tablespaces', 'timeline', 'version', 'xlog_segment_size',
] as const

/** Takes some fields and returns the text of a whole `backup.info`: all other fields of a new backup are `None`. */
export function formatBackupInfo(fields: BackupInfoFields): string {
  const all: Record<string, BackupInfoValue> = {}
  for (const name of FIELDS_OF_A_NEW_BACKUP) all[name] = null
  Object.assign(all, fields)
  return formatLines(all)
}

/**
 * Takes the text of a `backup.info` and changed fields; returns the text with these fields changed or added and every other line
 * as it was.
 */
export function changeBackupInfo(text: string, changes: BackupInfoFields): string {
  const all: Record<string, BackupInfoValue> = {}
  for (const line of text.split('\n')) {
    const equals = line.indexOf('=')
    if (equals > 0) all[line.slice(0, equals)] = line.slice(equals + 1)
  }
  Object.assign(all, changes)
  return formatLines(all)
}

/** Returns a time as Barman writes it: `2026-11-01 02:00:00+00:00`, with microseconds only when there are some. */
export function formatBarmanTime(time: Date): string {
  const [date, rest] = time.toISOString().split('T') as [string, string]
  const milliseconds = time.getUTCMilliseconds()
  return `${date} ${rest.slice(0, 8)}${milliseconds === 0 ? '' : `.${String(milliseconds).padStart(3, '0')}000`}+00:00`
}

/** Returns a text as a Python string literal in single quotes, the form of `backup_label` in `backup.info`. */
export function formatPythonString(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\n', '\\n').replaceAll('\t', '\\t')}'`
}

function formatLines(fields: Record<string, BackupInfoValue>): string {
  const names = Object.keys(fields).sort()
  return names.map(name => `${name}=${fields[name] === null ? 'None' : String(fields[name])}\n`).join('')
}

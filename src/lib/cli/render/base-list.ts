import type {Rendered} from '../base-command.ts'
import type {BaseListResult, BaseListRow} from '../../sync/base-list.ts'
import {renderTable, type Column} from './table.ts'
import {formatBytes, formatTime} from './units.ts'

const COLUMNS: readonly Column[] = [
  {title: 'SERVER'}, {title: 'BACKUP ID'}, {title: 'NAME'}, {title: 'BEGIN'}, {title: 'END'}, {title: 'SIZE', align: 'right'},
  {title: 'STORED', align: 'right'}, {title: 'LAYOUT'}, {title: 'BARMAN'}, {title: 'S3'}, {title: 'RESTORABLE'}, {title: 'LOCAL'},
]

/** The backups as a table, by server and begin time. */
export function renderBaseList(results: readonly BaseListResult[]): Rendered {
  const rows = results.flatMap(({backups}) => backups.map(formatRow))
  if (rows.length === 0) return {table: [`no backups of ${results.map(({server}) => server).join(', ')}, neither in S3 nor in Barman's directory`]}
  return {table: renderTable(COLUMNS, rows)}
}

function formatRow(row: BaseListRow): string[] {
  return [
    row.server,
    row.backupId,
    row.name ?? '-',
    formatTime(row.beginTime),
    formatTime(row.endTime),
    row.sizeBytes === undefined ? '-' : formatBytes(row.sizeBytes),
    row.storedBytes === undefined ? '-' : formatBytes(row.storedBytes),
    row.layout ?? '-',
    row.barmanStatus ?? '-',
    row.state === 'absent' ? '-' : row.state,
    row.restorable === 'yes' || row.reason === undefined ? row.restorable : `${row.restorable}: ${row.reason}`,
    row.isLocal === undefined ? '?' : row.isLocal ? 'yes' : 'no',
  ]
}

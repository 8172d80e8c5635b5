import type {Rendered} from '../base-command.ts'
import type {QueueStatus} from '../../queue/status.ts'
import {renderTable, type Column} from './table.ts'
import {formatAge, formatCount} from './units.ts'

const COLUMNS: readonly Column[] = [
  {title: 'SERVER'}, {title: 'BACKUP ID'}, {title: 'STATE'}, {title: 'AGE', align: 'right'}, {title: 'ATTEMPTS', align: 'right'}, {title: 'LAST ERROR'},
]

/** The queue as a table, then one line with the counts, then what is no task. */
export function renderQueueStatus(status: QueueStatus): Rendered {
  const rows = status.tasks.map((task) => [
    task.server, task.backupId, task.state, formatAge(task.ageSeconds), String(task.attempts), task.lastError?.message ?? '-',
  ])
  const {run, running, done, error} = status.counts
  return {
    table: [
      ...(rows.length === 0 ? [] : [...renderTable(COLUMNS, rows), '']),
      `${status.queueDirectory}: ${run} waiting, ${running} running, ${done} done, ${error} with an error, ${formatCount(status.broken.length, 'broken entry', 'broken entries')}`,
      ...status.broken.map(({path, reason}) => `  broken: ${path}: ${reason}`),
    ],
  }
}

import {listTasks, type BrokenEntry} from './task-list.ts'
import {TASK_STATES, type QueueTask, type TaskState} from './task.ts'

export interface QueueStatusFilters {
  readonly server?: string
  /** Only tasks in one of these states are listed; the counts are of all. */
  readonly states?: readonly TaskState[]
}

/** A task with what an operator asks first. */
export interface QueueStatusTask extends QueueTask {
  /** Seconds in its state: waiting since it was added, running since it began, ended since it ended. */
  readonly ageSeconds: number
}

/** Result of `queue status`. */
export interface QueueStatus {
  readonly queueDirectory: string
  /** By server, then oldest first. */
  readonly tasks: readonly QueueStatusTask[]
  /** Tasks of each state, of the server asked for or of all, whatever `states` says. */
  readonly counts: Readonly<Record<TaskState, number>>
  /** Damaged, foreign or unreadable entries, those set aside earlier included. */
  readonly broken: readonly BrokenEntry[]
}

/**
 * What is in the queue. Takes no lock and changes nothing.
 * @throws {LocalStateError} the queue's directory cannot be listed
 */
export async function readQueueStatus(
  queueDirectory: string, filters: QueueStatusFilters, now: Date,
): Promise<QueueStatus> {
  const {tasks, broken} = await listTasks(queueDirectory, now, filters.server)
  const counts: Record<TaskState, number> = {run: 0, running: 0, done: 0, error: 0}
  for (const task of tasks) counts[task.state]++
  const states = filters.states ?? TASK_STATES
  return {
    queueDirectory,
    tasks: tasks.filter(({state}) => states.includes(state)).map((task) => ({...task, ageSeconds: ageOf(task, now)})),
    counts,
    broken,
  }
}

function ageOf(task: QueueTask, now: Date): number {
  const since = {run: task.addedAt, running: task.startedAt, done: task.endedAt, error: task.endedAt}[task.state]
  return Math.max(0, Math.round((now.getTime() - Date.parse(since ?? task.addedAt)) / 1000))
}

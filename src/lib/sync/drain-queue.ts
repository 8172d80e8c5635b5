import type {BackupIdentity} from '../barman/backup-info.ts'
import {BarmansError, EXIT, messageOf} from '../errors.ts'
import type {QueueTask} from '../queue/task.ts'
import type {BackupOutcome} from './base-result.ts'
import type {QueueAccess} from './queue-access.ts'

export interface DrainWork {
  /** Does what a task asks for; throws only what stops the whole run. */
  readonly handle: (task: QueueTask) => Promise<BackupOutcome>
  /** Identity of the backup, which a finished task keeps. */
  readonly readIdentity: (task: QueueTask) => Promise<BackupIdentity | undefined>
}

/**
 * Works through a server's queue, oldest first. What cannot succeed ends with an error; a passing fault, and a backup that
 * is not finished yet, go back for the next run; what stops the run leaves its task in the queue. No task is taken twice.
 */
export async function drainQueue(queue: QueueAccess, work: DrainWork): Promise<void> {
  const putBack = new Set<string>()
  for (let task = await queue.takeNext(putBack); task; task = await queue.takeNext(putBack)) {
    if (!(await drainTask(queue, task, work))) putBack.add(task.backupId)
  }
}

/** @returns whether the task has ended */
async function drainTask(queue: QueueAccess, task: QueueTask, {handle, readIdentity}: DrainWork): Promise<boolean> {
  let outcome: BackupOutcome
  try {
    outcome = await handle(task)
  } catch (error) {
    // What stops the whole run says nothing about this backup: it stays in the queue.
    await queue.putBack(task, error instanceof BarmansError ? error.code : 'BUG', messageOf(error))
    throw error
  }
  switch (outcome.outcome) {
    case 'copied':
    case 'already-complete':
    case 'skipped':
    case 'planned':
      await queue.finish(task, await readIdentity(task))
      return true
    case 'refused':
      await queue.fail(task, 'REFUSED', outcome.reason ?? 'it cannot be copied')
      return true
    case 'not-finished':
      await queue.putBack(task, 'NOT_FINISHED', outcome.reason ?? 'not finished in Barman')
      return false
    case 'failed':
      if (outcome.exitCode === EXIT.conflict) {
        await queue.fail(task, 'CONFLICT', outcome.reason ?? 'conflict')
        return true
      }
      await queue.putBack(task, 'FAILED', outcome.reason ?? 'failed')
      return false
  }
}

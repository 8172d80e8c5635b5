/**
 * Changes of the queue `queue.d/<server>/<backup id>.{run,running,done,error}`. Each one is durable before the function
 * returns, and each is made under the lock of the server's directory (task-directory.ts).
 */
import {join} from 'node:path'
import {errnoOf} from '../errors.ts'
import {createDurably, localStateErrorOf, removeDurably} from '../local/durable-file.ts'
import type {BackupIdentity} from '../barman/backup-info.ts'
import type {BackupId} from '../barman/backup-id.ts'
import {
  failTask, finishTask, formatTask, formatTaskFileName, newTask, parseTaskFileName, putBackTask,
  retryTask, startTask, TASK_STATES, type QueueTask, type TaskIdentity, type TaskRequest, type TaskState,
} from './task.ts'
import {
  directoryOfServer, listNames, moveTask, readTaskFile, setAsideFile, withServerDirectory,
} from './task-directory.ts'
import {compareTasks, listTasks, type BrokenEntry} from './task-list.ts'

/** What `addTask` did. */
export interface AddResult {
  /**
   * `added`; `present`: it waits or is in work already; `reopened`: it had ended with an error, or another backup had
   * this id; `already-done`: nothing was changed.
   */
  readonly outcome: 'added' | 'present' | 'reopened' | 'already-done'
  readonly task: QueueTask
  /** With `already-done`: whether both identities were known, so that it is surely the same backup. */
  readonly isSameBackup?: boolean | undefined
  /** New paths of damaged files of this backup id that were in the way. */
  readonly setAside: readonly string[]
}

/** Why a task ended or was put back; `code` and `message` as of the error classes. */
export interface FailureReason {
  readonly code: string
  readonly message: string
}

/**
 * Adds a task, or finds that it is there. Beside `.run` or `.running` of the same backup nothing happens; `.error` is
 * reopened; `.done` only if the backup identity differs (design: an id is local time to the second, so another backup
 * can have it).
 * @param readIdentity asked only beside a `.done` and without `request.identity`
 * @throws {LocalStateError} it could not be written; nothing half-written is left
 * @throws {LockedError} the queue was busy for ten seconds
 */
export async function addTask(
  queueDirectory: string, request: TaskRequest, now: Date, readIdentity?: () => Promise<TaskIdentity | undefined>,
): Promise<AddResult> {
  const result = await withServerDirectory(queueDirectory, request.server, 'create', async (directory) => {
    const {byState, setAside} = await readStates(directory, request.backupId)
    const waiting = byState.run ?? byState.running
    if (waiting) return {outcome: 'present', task: waiting, setAside} satisfies AddResult
    if (byState.error) return reopen(directory, byState.error, request, now, setAside)
    if (byState.done) {
      const identity = request.identity ?? await readIdentity?.()
      const isSameBackup = await isSame(byState.done.identity, identity)
      if (isSameBackup === false) {
        return reopen(directory, byState.done, {...request, ...(identity ? {identity} : {})}, now, setAside)
      }
      return {outcome: 'already-done', task: byState.done, isSameBackup: isSameBackup ?? false, setAside} satisfies AddResult
    }
    const task = newTask(request, now)
    const isNew = await createDurably(join(directory, formatTaskFileName(task)), formatTask(task))
    return {outcome: isNew ? 'added' : 'present', task, setAside} satisfies AddResult
  })
  if (!result) throw new Error(`the queue of ${request.server} vanished while a task was added`)
  return result
}

/** Whether both are of the same backup; undefined if one is not known. */
async function isSame(one: TaskIdentity | undefined, other: TaskIdentity | undefined): Promise<boolean | undefined> {
  if (!one || !other) return undefined
  // Imported here because the hook hardly ever gets here, and Barman waits for it.
  const {sameIdentity} = await import('../barman/backup-info.ts')
  return sameIdentity(wholeIdentity(one), wholeIdentity(other))
}

function wholeIdentity({systemId, beginTime, beginXlog, beginWal}: TaskIdentity): BackupIdentity {
  return {systemId, beginTime, beginXlog, beginWal}
}

async function reopen(
  directory: string, ended: QueueTask, request: TaskRequest, now: Date, setAside: readonly string[],
): Promise<AddResult> {
  const task = newTask(request, now)
  await moveTask(directory, ended, task)
  return {outcome: 'reopened', task, setAside}
}

/** The task of `backupId` in each state; damaged files of it are set aside, since a name can hold one task only. */
async function readStates(
  directory: string, backupId: BackupId,
): Promise<{byState: Partial<Record<TaskState, QueueTask>>; setAside: string[]}> {
  const byState: Partial<Record<TaskState, QueueTask>> = {}
  const setAside: string[] = []
  for (const state of TASK_STATES) {
    const name = formatTaskFileName({backupId, state})
    const file = await readTaskFile(directory, name)
    if (file.type === 'task') byState[state] = file.task
    if (file.type === 'broken') setAside.push(await setAsideFile(directory, name))
    if (file.type === 'unreadable') throw localStateErrorOf(file.cause, `cannot read ${join(directory, name)}`)
  }
  return {byState, setAside}
}

/**
 * Takes the server's oldest waiting task into work: `.run` to `.running`. Damaged files are passed over.
 * Call it while holding the server's base lock, after `recoverRunning`.
 * @param except backup ids that this run has put back already
 * @returns `undefined` if none waits
 */
export async function takeNext(
  queueDirectory: string, server: string, now: Date, except: ReadonlySet<string> = new Set(),
): Promise<QueueTask | undefined> {
  return withServerDirectory(queueDirectory, server, 'skip', async (directory) => {
    const waiting = (await readTasks(directory, ['run'])).filter(({backupId}) => !except.has(backupId))
    const [oldest] = waiting.sort(compareTasks)
    if (!oldest) return undefined
    const started = startTask(oldest, now)
    await moveTask(directory, oldest, started)
    return started
  })
}

/** `.running` to `.done`. Returns the task as stored. */
export async function finish(
  queueDirectory: string, task: QueueTask, now: Date, identity?: TaskIdentity,
): Promise<QueueTask> {
  return change(queueDirectory, task, finishTask(task, now, identity))
}

/** `.running` to `.error`: it cannot succeed. Returns the task as stored. */
export async function fail(
  queueDirectory: string, task: QueueTask, now: Date, reason: FailureReason,
): Promise<QueueTask> {
  return change(queueDirectory, task, failTask(task, now, reason))
}

/** `.running` back to `.run`: a passing fault, or not finished in Barman yet. Returns the task as stored. */
export async function putBack(
  queueDirectory: string, task: QueueTask, now: Date, reason: FailureReason,
): Promise<QueueTask> {
  return change(queueDirectory, task, putBackTask(task, now, reason))
}

/**
 * Puts every `.running` of the server back to `.run`: whoever left it is dead, since the caller holds the server's base
 * lock. A damaged one is set aside. Returns the tasks as stored.
 */
export async function recoverRunning(queueDirectory: string, server: string, now: Date): Promise<QueueTask[]> {
  const recovered = await withServerDirectory(queueDirectory, server, 'skip', async (directory) => {
    const tasks: QueueTask[] = []
    for (const left of await readTasks(directory, ['running'])) {
      const task = putBackTask(left, now, {
        code: 'INTERRUPTED', message: `the run that began it at ${left.startedAt ?? 'an unknown time'} died`,
      })
      await moveTask(directory, left, task)
      tasks.push(task)
    }
    return tasks
  })
  return recovered ?? []
}

/** Reopens tasks that ended with an error: all, or those of one server, or one. Returns them as stored. */
export async function retryTasks(
  queueDirectory: string, now: Date, only: {server?: string; backupId?: string} = {},
): Promise<QueueTask[]> {
  const reopened: QueueTask[] = []
  for (const ended of await listEnded(queueDirectory, now, ['error'], only.server)) {
    if (only.backupId !== undefined && only.backupId !== ended.backupId) continue
    await withServerDirectory(queueDirectory, ended.server, 'skip', async (directory) => {
      const {byState} = await readStates(directory, ended.backupId)
      if (!byState.error || byState.run || byState.running) return
      const task = retryTask(byState.error)
      await moveTask(directory, byState.error, task)
      reopened.push(task)
    })
  }
  return reopened
}

/** Removes ended tasks that ended longer than `olderThanMs` ago. Returns what was removed. */
export async function pruneTasks(
  queueDirectory: string, now: Date,
  options: {olderThanMs: number; states: ReadonlyArray<'done' | 'error'>; server?: string},
): Promise<QueueTask[]> {
  const removed: QueueTask[] = []
  const isOld = (task: QueueTask) => now.getTime() - Date.parse(task.endedAt ?? task.addedAt) > options.olderThanMs
  for (const ended of await listEnded(queueDirectory, now, options.states, options.server)) {
    if (!isOld(ended)) continue
    await withServerDirectory(queueDirectory, ended.server, 'skip', async (directory) => {
      // Looked at again under the lock: it may have been reopened and ended anew.
      const name = formatTaskFileName(ended)
      const file = await readTaskFile(directory, name)
      if (file.type !== 'task' || !isOld(file.task)) return
      await removeDurably(join(directory, name))
      removed.push(file.task)
    })
  }
  return removed
}

/**
 * Renames a damaged or foreign entry to `<name>.broken` and returns the new path, or undefined if it was left: it is
 * gone, whole by now, cannot be read (so it may be whole), or was set aside before. Nothing is deleted.
 */
export async function setAside(queueDirectory: string, entry: BrokenEntry): Promise<string | undefined> {
  if (entry.isSetAside) return undefined
  const rename = async () => {
    if (parseTaskFileName(entry.name) && (await readTaskFile(entry.directory, entry.name)).type !== 'broken') return
    try {
      return await setAsideFile(entry.directory, entry.name)
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined
      throw error
    }
  }
  const isInServerDirectory = entry.server !== undefined
    && directoryOfServer(queueDirectory, entry.server) === entry.directory
  return isInServerDirectory ? withServerDirectory(queueDirectory, entry.server, 'skip', rename) : rename()
}

async function listEnded(
  queueDirectory: string, now: Date, states: readonly TaskState[], server: string | undefined,
): Promise<QueueTask[]> {
  const {tasks} = await listTasks(queueDirectory, now, server)
  return tasks.filter(({state}) => states.includes(state))
}

async function readTasks(directory: string, states: readonly TaskState[]): Promise<QueueTask[]> {
  const tasks: QueueTask[] = []
  for (const name of await listNames(directory)) {
    const parsed = parseTaskFileName(name)
    if (!parsed || !states.includes(parsed.state)) continue
    const file = await readTaskFile(directory, name)
    if (file.type === 'task') tasks.push(file.task)
  }
  return tasks
}

async function change(queueDirectory: string, from: QueueTask, to: QueueTask): Promise<QueueTask> {
  await withServerDirectory(queueDirectory, from.server, 'create', async (directory) => {
    await moveTask(directory, from, to)
  })
  return to
}

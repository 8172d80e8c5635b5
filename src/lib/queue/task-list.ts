/** Looking at the queue: without its locks, so that anybody who may read the directory can do it at any time. */
import {lstat} from 'node:fs/promises'
import {join} from 'node:path'
import {errnoOf, messageOf} from '../errors.ts'
import {isTemporaryName} from '../local/durable-file.ts'
import {fileNameForServer, serverOfFileName} from '../local/server-file-name.ts'
import type {QueueTask} from './task.ts'
import {ageMsOf, isSetAsideName, listNames, LOCK_NAME, readTaskFile} from './task-directory.ts'

/** Something in the queue that is no task: damaged, foreign, unreadable, or set aside earlier. It is never deleted. */
export interface BrokenEntry {
  readonly path: string
  /** The directory it is in, and its name there. */
  readonly directory: string
  readonly name: string
  /** Undefined for an entry beside the servers' directories. */
  readonly server: string | undefined
  readonly reason: string
  /** `true` once `setAside` renamed it: no run warns about it again. */
  readonly isSetAside: boolean
}

export interface TaskList {
  /** By server, then oldest first. */
  readonly tasks: readonly QueueTask[]
  readonly broken: readonly BrokenEntry[]
}

/** A temporary file this old is left over from a process that died; a younger one may be in work. */
const TEMPORARY_AGE_MS = 10 * 60 * 1000

/** How often a directory is listed again because a task changed its state between the look and the reading. */
const SCANS = 5

/**
 * All tasks of the queue, or of one server. Tolerant: whatever is no task comes back in `broken` and hides no other. A
 * queue that does not exist is empty.
 * @throws {LocalStateError} the queue's own directory cannot be listed
 */
export async function listTasks(queueDirectory: string, now: Date, server?: string): Promise<TaskList> {
  const tasks: QueueTask[] = []
  const broken: BrokenEntry[] = []
  const wanted = server === undefined ? undefined : fileNameForServer(server)
  for (const name of await listNames(queueDirectory)) {
    if (name.startsWith('.') || name === 'lost+found' || (wanted !== undefined && name !== wanted)) continue
    const directory = join(queueDirectory, name)
    try {
      if (!(await lstat(directory)).isDirectory()) {
        broken.push(entry(queueDirectory, name, undefined, 'not the directory of a server'))
        continue
      }
      const list = await listServer(directory, serverOfFileName(name) ?? name, now)
      tasks.push(...list.tasks)
      broken.push(...list.broken)
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') broken.push(entry(queueDirectory, name, undefined, messageOf(error)))
    }
  }
  return {tasks: tasks.sort(compareTasks), broken}
}

/** By server, then oldest first, then by backup id. */
export function compareTasks(one: QueueTask, other: QueueTask): number {
  return compareText(one.server, other.server)
    || Date.parse(one.addedAt) - Date.parse(other.addedAt)
    || compareText(one.backupId, other.backupId)
}

async function listServer(directory: string, server: string, now: Date): Promise<TaskList> {
  for (let scan = 1; ; scan++) {
    const list = await scanServer(directory, server, now)
    if (!list.hasChanged || scan === SCANS) return list
  }
}

async function scanServer(directory: string, server: string, now: Date): Promise<TaskList & {hasChanged: boolean}> {
  const tasks: QueueTask[] = []
  const broken: BrokenEntry[] = []
  let hasChanged = false
  for (const name of await listNames(directory)) {
    if (name === LOCK_NAME || name.startsWith('.nfs')) continue
    if (isSetAsideName(name)) {
      broken.push(entry(directory, name, server, 'set aside earlier'))
    } else if (isTemporaryName(name)) {
      const ageMs = await ageMsOf(join(directory, name), now)
      if (ageMs !== undefined && ageMs > TEMPORARY_AGE_MS) {
        broken.push(entry(directory, name, server, 'left over from a process that died while writing'))
      }
    } else {
      const file = await readTaskFile(directory, name)
      if (file.type === 'task') tasks.push(file.task)
      else if (file.type !== 'absent') broken.push(entry(directory, name, server, file.reason))
      else hasChanged = true
    }
  }
  return {tasks, broken, hasChanged}
}

function entry(directory: string, name: string, server: string | undefined, reason: string): BrokenEntry {
  return {path: join(directory, name), directory, name, server, reason, isSetAside: isSetAsideName(name)}
}

function compareText(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0
}

/**
 * The directory of one server's tasks, `<queue>/<server>/`: its name, its lock, reading and moving single task files.
 * Every change is made while holding `.lock` there, for milliseconds: so two adders, or an adder and a worker that moves
 * a task from `.run` to `.running` in that moment, never double or lose one. The kernel drops the lock of a dead process.
 */
import {lstat, readdir, stat} from 'node:fs/promises'
import {basename, join} from 'node:path'
import {errnoOf, LocalStateError, LockedError, messageOf} from '../errors.ts'
import {ensureDirectory, localStateErrorOf, renameDurably, writeDurably} from '../local/durable-file.ts'
import {tryFlock} from '../local/flock.ts'
import {readJsonFile} from '../local/json-file.ts'
import {fileNameForServer} from '../local/server-file-name.ts'
import {formatTask, formatTaskFileName, parseTask, parseTaskFileName, type QueueTask} from './task.ts'

/** Name of the lock file in a server's directory. */
export const LOCK_NAME = '.lock'

/** How long a change of the queue waits for others; each of them needs some milliseconds. */
const WAIT_MS = 10_000

export type TaskFile =
  | {readonly type: 'absent'}
  /** Not a task: damaged or foreign. */
  | {readonly type: 'broken'; readonly reason: string}
  /** Perhaps a good task, but it could not be read now (permission, input/output error). */
  | {readonly type: 'unreadable'; readonly reason: string; readonly cause: unknown}
  | {readonly type: 'task'; readonly task: QueueTask}

/** `<queue>/<server>`, the name encoded where the server's name is unusual. */
export function directoryOfServer(queueDirectory: string, server: string): string {
  return join(queueDirectory, fileNameForServer(server))
}

/**
 * Runs `action` on the server's directory while holding its lock.
 * @param missing `create`: make the directory; `skip`: without it there is nothing to do, `undefined` comes back
 * @throws {LocalStateError} the directory or its lock cannot be made or used
 * @throws {LockedError} others held the lock for ten seconds
 */
export async function withServerDirectory<T>(
  queueDirectory: string, server: string, missing: 'create' | 'skip', action: (directory: string) => Promise<T>,
): Promise<T | undefined> {
  const directory = directoryOfServer(queueDirectory, server)
  if (missing === 'create') await ensureDirectory(directory)
  const owner = await ownerOfRealDirectory(directory)
  if (!owner) return undefined
  const lock = await tryFlock(join(directory, LOCK_NAME), {create: true, mode: 0o640, owner, waitMs: WAIT_MS})
  if (!lock) {
    throw new LockedError(`the queue of ${server} is busy: its lock was held for ${WAIT_MS / 1000} s`, {
      hint: `see who holds ${join(directory, LOCK_NAME)} (fuser, lsof), then run the same command again`,
    })
  }
  try {
    return await action(directory)
  } finally {
    await lock.release()
  }
}

async function ownerOfRealDirectory(directory: string): Promise<{uid: number; gid: number} | undefined> {
  try {
    const stats = await lstat(directory)
    if (stats.isDirectory()) return {uid: stats.uid, gid: stats.gid}
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw localStateErrorOf(error, `cannot look at ${directory}`)
  }
  throw new LocalStateError(`${directory} is not a directory`, {
    hint: 'move away what stands there, then run the same command again',
  })
}

/** Reads the task file `name` (a name that `parseTaskFileName` knows) of `directory`. Never throws. */
export async function readTaskFile(directory: string, name: string): Promise<TaskFile> {
  const expected = parseTaskFileName(name)
  if (!expected) return {type: 'broken', reason: 'not a task file'}
  try {
    const file = await readJsonFile(join(directory, name))
    if (file.type !== 'read') return file
    const parsed = parseTask(file.value, expected.backupId, expected.state)
    if ('broken' in parsed) return {type: 'broken', reason: parsed.broken}
    if (fileNameForServer(parsed.task.server) !== basename(directory)) {
      return {type: 'broken', reason: 'belongs to another server than its directory'}
    }
    return {type: 'task', task: parsed.task}
  } catch (error) {
    return {type: 'unreadable', reason: messageOf(error), cause: error}
  }
}

/**
 * Makes `from` into `to`: the text under the old name first, then the rename, so the task is in exactly one state at
 * any moment. Works also if somebody removed the old file meanwhile. Call it while holding the directory's lock.
 * @throws {LocalStateError} it cannot be written; the task is still in its old state
 */
export async function moveTask(directory: string, from: QueueTask, to: QueueTask): Promise<void> {
  const path = join(directory, formatTaskFileName(from))
  await writeDurably(path, formatTask(to))
  await renameDurably(path, join(directory, formatTaskFileName(to)))
}

/**
 * Renames a broken entry to `<name>.broken`, never over another one, and returns the new path.
 * @throws {LocalStateError} it cannot be renamed
 */
export async function setAsideFile(directory: string, name: string): Promise<string> {
  for (let number = 1; ; number++) {
    const target = join(directory, number === 1 ? `${name}.broken` : `${name}.broken-${number}`)
    if (await exists(target)) continue
    await renameDurably(join(directory, name), target)
    return target
  }
}

/** `true` for the name of an entry that was set aside. */
export function isSetAsideName(name: string): boolean {
  return /\.broken(-\d+)?$/.test(name)
}

/** Names in `directory`, sorted; none if it does not exist. */
export async function listNames(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort()
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw localStateErrorOf(error, `cannot list the queue ${directory}`)
  }
}

/** Age of the entry in milliseconds, undefined if it is gone. */
export async function ageMsOf(path: string, now: Date): Promise<number | undefined> {
  try {
    return now.getTime() - (await stat(path)).mtimeMs
  } catch {
    return undefined
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw localStateErrorOf(error, `cannot look at ${path}`)
  }
}

/**
 * Small files of our own that must survive a crash: written under a temporary name, flushed, renamed, and the directory
 * flushed too. A symbolic link is never followed in the place of the file itself, so a directory that belongs to user
 * `barman` cannot lead root's writes elsewhere.
 */
import {constants} from 'node:fs'
import {link, mkdir, open, rename, stat, unlink} from 'node:fs/promises'
import type {FileHandle} from 'node:fs/promises'
import {basename, dirname, join} from 'node:path'
import {errnoOf, LocalStateError, messageOf} from '../errors.ts'

export interface DurableFileOptions {
  /** Permission bits before the umask; 0o640 if not given. */
  readonly mode?: number
}

/** `true` for the name of a temporary file made by this module; a killed process can leave one behind. */
export function isTemporaryName(name: string): boolean {
  return /^\.tmp-\d+-[\da-f]{16}$/.test(name)
}

/** A new name: of this process, of this moment. O_EXCL guards what is left of chance; node:crypto costs the hook 5 ms. */
function temporaryName(): string {
  return `.tmp-${process.pid}-${process.hrtime.bigint().toString(16).padStart(16, '0').slice(-16)}`
}

/**
 * Puts `data` at `path` so that a reader, or the system after a crash, sees either the old content or the whole new one.
 * When root writes, the file gets the owner of its directory, so that the user of the directory can go on with it.
 * @throws {LocalStateError} disk full, no permission, read-only, no such directory; `path` is as it was and no
 *   temporary file is left
 */
export async function writeDurably(
  path: string, data: string | Uint8Array, options: DurableFileOptions = {},
): Promise<void> {
  await withTemporaryFile(path, data, options, async (temporary) => {
    await rename(temporary, path)
  })
}

/**
 * Like `writeDurably`, but never replaces: the name is given by link(2), which of two writers lets exactly one win.
 * @returns `false` if something stands at `path` already; it is untouched then
 * @throws {LocalStateError} as `writeDurably`
 */
export async function createDurably(
  path: string, data: string | Uint8Array, options: DurableFileOptions = {},
): Promise<boolean> {
  return withTemporaryFile(path, data, options, async (temporary) => {
    try {
      await link(temporary, path)
      return true
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return false
      throw error
    } finally {
      await unlink(temporary)
    }
  })
}

/**
 * Renames `from` to `to` (which is replaced if it exists) and flushes the directories.
 * @throws {LocalStateError} disk full, no permission, read-only; the plain `ENOENT` error of Node if `from` is gone
 */
export async function renameDurably(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
    await syncDirectory(dirname(to))
    if (dirname(from) !== dirname(to)) await syncDirectory(dirname(from))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw error
    throw localStateErrorOf(error, `cannot rename ${from} to ${basename(to)}`)
  }
}

/**
 * Removes the file `path` and flushes its directory. Nothing to remove is no error.
 * @throws {LocalStateError} no permission, read-only
 */
export async function removeDurably(path: string): Promise<void> {
  try {
    await unlink(path)
    await syncDirectory(dirname(path))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    throw localStateErrorOf(error, `cannot remove ${path}`)
  }
}

/**
 * Makes the directory `path` and its missing parents with `mode` before the umask. A directory that is there stays as
 * it is. When root makes one, it gets the owner of its parent directory.
 * @throws {LocalStateError} it cannot be made, or something else than a directory stands there
 */
export async function ensureDirectory(path: string, mode = 0o750): Promise<void> {
  try {
    if (await isDirectory(path)) return
    const parent = dirname(path)
    if (parent !== path) await ensureDirectory(parent, mode)
    try {
      await mkdir(path, {mode})
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return
      throw error
    }
    await giveToOwnerOf(parent, path)
    await syncDirectory(parent)
  } catch (error) {
    throw localStateErrorOf(error, `cannot make the directory ${path}`)
  }
}

/**
 * The expected error for a failed local operation: `what` and the reason, with a hint that fits the reason.
 * A `LocalStateError` passes unchanged.
 */
export function localStateErrorOf(error: unknown, what: string): LocalStateError {
  if (error instanceof LocalStateError) return error
  const reason = reasons[errnoOf(error) ?? '']
  return new LocalStateError(`${what}: ${reason?.text ?? messageOf(error)}`, {
    hint: reason?.hint ?? 'look at the file and its directory, then run the same command again',
    cause: error,
  })
}

const reasons: Readonly<Record<string, {text: string; hint: string}>> = {
  ENOSPC: {text: 'no space left on the device', hint: 'free some space there, then run the same command again'},
  EDQUOT: {text: 'the disk quota is used up', hint: 'free some space there, then run the same command again'},
  EACCES: {text: 'permission denied', hint: 'run barmans3 as the user who owns that directory (usually barman)'},
  EPERM: {
    text: 'operation not permitted',
    hint: 'run barmans3 as the user who owns that directory (usually barman), on a file system with hard links',
  },
  EROFS: {text: 'the file system is read-only', hint: 'mount it writable, or configure another directory'},
  ENOTDIR: {
    text: 'a part of the path is not a directory',
    hint: 'move away what stands there, or configure another directory',
  },
  ENOENT: {text: 'no such file or directory', hint: 'make the directory, owned by the user who runs barmans3'},
  ELOOP: {text: 'a symbolic link stands there', hint: 'barmans3 does not follow it: put a real file or nothing there'},
  EIO: {text: 'input/output error', hint: 'look at the disk (dmesg), or configure another directory'},
}

async function withTemporaryFile<T>(
  path: string, data: string | Uint8Array, options: DurableFileOptions, publish: (temporary: string) => Promise<T>,
): Promise<T> {
  const directory = dirname(path)
  const temporary = join(directory, temporaryName())
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
  try {
    const file = await open(temporary, flags, options.mode ?? 0o640)
    try {
      await writeAndClose(file, directory, data)
      const result = await publish(temporary)
      await syncDirectory(directory)
      return result
    } catch (error) {
      await unlink(temporary).catch(() => undefined)
      throw error
    }
  } catch (error) {
    throw localStateErrorOf(error, `cannot write ${path}`)
  }
}

async function writeAndClose(file: FileHandle, directory: string, data: string | Uint8Array): Promise<void> {
  try {
    if (process.geteuid?.() === 0) {
      const {uid, gid} = await stat(directory)
      await file.chown(uid, gid)
    }
    await file.writeFile(data)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    if ((await stat(path)).isDirectory()) return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
  throw new LocalStateError(`${path} is not a directory`, {
    hint: 'move away what stands there, or configure another directory',
  })
}

async function giveToOwnerOf(parent: string, path: string): Promise<void> {
  if (process.geteuid?.() !== 0) return
  const {uid, gid} = await stat(parent)
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  try {
    await directory.chown(uid, gid)
  } finally {
    await directory.close()
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

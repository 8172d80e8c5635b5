import {constants} from 'node:fs'
import {open} from 'node:fs/promises'
import {userInfo} from 'node:os'
import {BarmanFilesError, errnoOf, messageOf} from '../errors.ts'

/** Far above any metadata file Barman writes, so that a misplaced big file is not read into memory. */
const MAX_SMALL_FILE_BYTES = 16 * 1024 * 1024

/**
 * The bytes of a small metadata file, or undefined when there is none. Throws BarmanFilesError when it cannot be read,
 * is no regular file, or is larger than 16 MiB.
 */
export async function readSmallFile(filePath: string): Promise<Buffer | undefined> {
  try {
    // O_NONBLOCK: opening a FIFO somebody put there must not wait for a writer.
    const file = await open(filePath, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const stats = await file.stat()
      if (!stats.isFile()) throw new BarmanFilesError(`${filePath} is not a regular file`)
      if (stats.size > MAX_SMALL_FILE_BYTES) {
        throw new BarmanFilesError(`${filePath} is ${stats.size} bytes long, far too long for what it should be`)
      }
      return await file.readFile()
    } finally {
      await file.close()
    }
  } catch (error: unknown) {
    if (error instanceof BarmanFilesError) throw error
    if (isMissing(error)) return undefined
    throw unreadable(filePath, error)
  }
}

/** Whether `error` says that the path does not exist. */
export function isMissing(error: unknown): boolean {
  const errno = errnoOf(error)
  return errno === 'ENOENT' || errno === 'ENOTDIR'
}

/** The error for a path of Barman's that cannot be read; permission faults name the user who tried. */
export function unreadable(filePath: string, error: unknown): BarmanFilesError {
  const errno = errnoOf(error)
  if (errno !== 'EACCES' && errno !== 'EPERM') {
    return new BarmanFilesError(`${filePath} cannot be read: ${messageOf(error)}`, {cause: error})
  }
  return new BarmanFilesError(`permission denied: user ${userName()} may not read ${filePath}`, {
    hint: "run barmans3 as Barman's own user, usually barman",
    cause: error,
  })
}

function userName(): string {
  try {
    return userInfo().username
  } catch {
    // A user id without an entry in the password database, as containers have.
    return `with id ${process.getuid?.() ?? 'unknown'}`
  }
}

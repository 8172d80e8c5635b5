import {lstatSync} from 'node:fs'
import {readdir} from 'node:fs/promises'
import {join} from 'node:path'
import {isHashDirectoryName, parseWalName, walRelativePath, type WalFile} from '../barman/wal-name.ts'
import type {BarmanServer} from '../barman/server-directories.ts'
import {BarmanFilesError, errnoOf} from '../errors.ts'
import {localFileError} from './file-errors.ts'
import {localStatOf, type LocalStat} from './local-stat.ts'

/** What lies directly in `wals/`, sorted by name. */
export interface WalDirectoryListing {
  /** Names of history files. */
  readonly historyFiles: readonly string[]
  readonly hashDirectories: readonly string[]
}

/** One WAL file on Barman's disk. */
export interface LocalWal {
  readonly file: WalFile
  /** Path below `wals/`, which is also that of its key. */
  readonly relativePath: string
  readonly path: string
  readonly local: LocalStat
}

/**
 * Reads `wals/` itself. Whatever is no history file and no hash directory (xlog.db, temporary files, lost+found) is left
 * out without a word.
 * @throws BarmanFilesError when the directory is missing or cannot be read
 */
export async function readWalDirectory(server: BarmanServer): Promise<WalDirectoryListing> {
  let names: string[]
  try {
    names = await readdir(server.walsDirectory)
  } catch (error) {
    const errno = errnoOf(error)
    throw new BarmanFilesError(
      errno === 'ENOENT'
        ? `the WAL directory ${server.walsDirectory} of server "${server.name}" does not exist`
        : `cannot read the WAL directory ${server.walsDirectory} of server "${server.name}": ${errno ?? String(error)}`, {
        cause: error,
        hint: 'see whether its disk is mounted and whether barmans3 runs as the user barman',
      })
  }
  return {
    historyFiles: names.filter((name) => parseWalName(name)?.kind === 'history').sort(),
    hashDirectories: names.filter((name) => isHashDirectoryName(name)).sort(),
  }
}

/**
 * The WAL files of one hash directory, sorted by name: segments and backup labels. Archived `.partial` files, temporary
 * files and names that belong into another hash directory are left out.
 * @returns undefined when the directory is gone (Barman's retention) or is no directory
 * @throws LocalFileError (`unreadable`)
 */
export async function readHashDirectory(server: BarmanServer, hashDirectory: string): Promise<LocalWal[] | undefined> {
  let names: string[]
  try {
    names = await readdir(join(server.walsDirectory, hashDirectory))
  } catch (error) {
    const fault = localFileError(error, join(server.walsDirectory, hashDirectory))
    if (fault.fault === 'vanished') return undefined
    throw fault
  }
  const found: LocalWal[] = []
  for (const name of names.sort()) {
    const file = parseWalName(name)
    if (!file || file.kind === 'history' || file.kind === 'partial') continue
    if (!walRelativePath(file).startsWith(`${hashDirectory}/`)) continue
    const wal = readWal(server, file)
    if (wal) found.push(wal)
  }
  return found
}

/**
 * One WAL file as it is now; undefined when it is gone or no regular file. Not asynchronous: a comparison looks at every
 * file of the archive, and a round through the thread pool costs ten times the look.
 * @throws LocalFileError (`unreadable`)
 */
export function readWal(server: BarmanServer, file: WalFile): LocalWal | undefined {
  const relativePath = walRelativePath(file)
  const path = join(server.walsDirectory, relativePath)
  try {
    const stats = lstatSync(path, {bigint: true})
    return stats.isFile() ? {file, relativePath, path, local: localStatOf(stats)} : undefined
  } catch (error) {
    const fault = localFileError(error, path)
    if (fault.fault === 'vanished') return undefined
    throw fault
  }
}

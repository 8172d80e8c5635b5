import {lstatSync, type BigIntStats} from 'node:fs'
import {readdir, readlink, stat} from 'node:fs/promises'
import {setImmediate as nextTurn} from 'node:timers/promises'
import {backupPathBytes, backupPathFromBytes, formatBackupPath, joinBackupPath, type BackupPath} from '../archive/backup-path.ts'
import {localFileError, type LocalFileError} from './file-errors.ts'
import {localStatOf, type LocalStat} from './local-stat.ts'

/** After so many entries everything else that waits (sockets, signals) has its turn. */
const ENTRIES_PER_TURN = 256

interface WalkedBase {
  readonly path: BackupPath
  readonly mode: number
  readonly mtimeNs: bigint
  readonly local: LocalStat
}

/** One thing found in the tree of a backup; symbolic links are never followed. */
export type WalkedEntry =
  | (WalkedBase & {readonly type: 'directory'})
  | (WalkedBase & {readonly type: 'symlink'; readonly target: BackupPath})
  | (WalkedBase & {readonly type: 'file'; readonly sizeBytes: number})
  | (WalkedBase & {readonly type: 'special'; readonly kind: 'fifo' | 'socket' | 'device'})
  | {readonly type: 'unreadable'; readonly path: BackupPath; readonly error: LocalFileError}

/** The file-system path of `path` below the backup's directory `root`: text where that is the same bytes, which is faster. */
export function localPath(root: string, path: BackupPath): string | Buffer {
  if (path === '') return root
  return isAscii(path) ? `${root}/${path}` : Buffer.concat([Buffer.from(`${root}/`), backupPathBytes(path)])
}

function isAscii(text: string): boolean {
  return !/[\u0080-\uffff]/.test(text)
}

/** Barman's own metadata inside `base/<id>/` (before 3.13.2), which is copied apart and last. */
function isMetadataName(name: string): boolean {
  return name === 'backup.info' || name === 'annotations' || /^\.?backup\.info\.[^/]+$/.test(name)
}

/**
 * Everything in a backup's directory, the directory itself first (empty path), in the order of path bytes. What cannot be
 * read is yielded as `unreadable` so that the rest can go on.
 * @throws LocalFileError (`vanished`) when something goes away during the walk: a finished backup has no holes
 */
export async function* walkBackupTree(root: string, signal?: AbortSignal): AsyncGenerator<WalkedEntry, void, undefined> {
  signal?.throwIfAborted()
  const directory = '' as BackupPath
  let stats: BigIntStats
  try {
    // The backup's own directory may be a link to another disk; nothing below it is followed.
    stats = await stat(root, {bigint: true})
  } catch (error) {
    throw localFileError(error, root)
  }
  yield {type: 'directory', path: directory, ...common(stats)}
  yield* walkChildren(root, directory, signal)
}

async function* walkChildren(
  root: string, directory: BackupPath, signal: AbortSignal | undefined,
): AsyncGenerator<WalkedEntry, void, undefined> {
  let names: string[]
  try {
    // One character per byte, as in a BackupPath; a Buffer for each name of a large directory would take ten times as much.
    names = await readdir(localPath(root, directory), {encoding: 'latin1'})
  } catch (error) {
    const fault = localFileError(error, shown(root, directory))
    if (fault.fault !== 'unreadable') throw fault
    yield {type: 'unreadable', path: directory, error: fault}
    return
  }
  if (directory === '') names = names.filter((name) => !isMetadataName(name))
  names.sort()

  // A directory's line sorts by its name, but its content by name + '/': `a`, `a-b`, `a/x`. So descend later.
  const pending: string[] = []
  for (const [index, name] of names.entries()) {
    if (index % ENTRIES_PER_TURN === ENTRIES_PER_TURN - 1) await nextTurn()
    while (pending[0] !== undefined && `${pending[0]}/` < name) yield* walkChildren(root, joinBackupPath(directory, pending.shift()!), signal)
    signal?.throwIfAborted()
    const path = joinBackupPath(directory, name)
    let entry: WalkedEntry
    try {
      entry = await lookAt(root, path)
    } catch (error) {
      const fault = localFileError(error, shown(root, path))
      if (fault.fault !== 'unreadable') throw fault
      entry = {type: 'unreadable', path, error: fault}
    }
    yield entry
    if (entry.type === 'directory') insertSorted(pending, name)
  }
  for (const name of pending) yield* walkChildren(root, joinBackupPath(directory, name), signal)
}

/** Adds a directory to those that wait for their turn, in the order of their content. */
function insertSorted(pending: string[], name: string): void {
  let index = pending.length
  while (index > 0 && `${pending[index - 1]}/` > `${name}/`) index--
  pending.splice(index, 0, name)
}

/** Not asynchronous where it can be: a round through the thread pool costs five times the look, for each of a million files. */
async function lookAt(root: string, path: BackupPath): Promise<WalkedEntry> {
  const stats = lstatSync(localPath(root, path), {bigint: true})
  if (stats.isFile()) return {type: 'file', path, sizeBytes: Number(stats.size), ...common(stats)}
  if (stats.isDirectory()) return {type: 'directory', path, ...common(stats)}
  if (stats.isSymbolicLink()) {
    const target = backupPathFromBytes(await readlink(localPath(root, path), {encoding: 'buffer'}))
    return {type: 'symlink', path, target, ...common(stats)}
  }
  return {type: 'special', path, kind: stats.isFIFO() ? 'fifo' : stats.isSocket() ? 'socket' : 'device', ...common(stats)}
}

function common(stats: BigIntStats): Omit<WalkedBase, 'path'> {
  return {mode: Number(stats.mode & 0o7777n), mtimeNs: stats.mtimeNs, local: localStatOf(stats)}
}

/** A path for people: that below the backup, and for the backup itself where it lies. */
function shown(root: string, path: BackupPath): string {
  return path === '' ? root : formatBackupPath(path)
}

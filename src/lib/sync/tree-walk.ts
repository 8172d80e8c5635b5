import {lstat, readdir, readlink, stat} from 'node:fs/promises'
import type {BigIntStats} from 'node:fs'
import {backupPathBytes, backupPathFromBytes, formatBackupPath, joinBackupPath, type BackupPath} from '../archive/backup-path.ts'
import {localFileError, type LocalFileError} from './file-errors.ts'
import {localStatOf, type LocalStat} from './local-stat.ts'

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

/** The file-system path of `path` below the backup's directory `root`. */
export function localPath(root: string, path: BackupPath): Buffer {
  return path === '' ? Buffer.from(root) : Buffer.concat([Buffer.from(`${root}/`), backupPathBytes(path)])
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
    names = (await readdir(localPath(root, directory), {encoding: 'buffer'})).map((name) => backupPathFromBytes(name))
  } catch (error) {
    const fault = localFileError(error, shown(directory))
    if (fault.fault !== 'unreadable') throw fault
    yield {type: 'unreadable', path: directory, error: fault}
    return
  }
  if (directory === '') names = names.filter((name) => !isMetadataName(name))

  // A directory's line sorts by its name, but its content by name + '/': `a`, `a-b`, `a/x`. So descend later.
  const steps: {order: string; name: string; descend: boolean}[] = names.map((name) => ({order: name, name, descend: false}))
  steps.sort(byOrder)
  const pending: {order: string; name: string}[] = []
  for (const step of steps) {
    while (pending[0] && pending[0].order < step.order) yield* walkChildren(root, joinBackupPath(directory, pending.shift()!.name), signal)
    signal?.throwIfAborted()
    const path = joinBackupPath(directory, step.name)
    let entry: WalkedEntry
    try {
      entry = await lookAt(root, path)
    } catch (error) {
      const fault = localFileError(error, shown(path))
      if (fault.fault !== 'unreadable') throw fault
      entry = {type: 'unreadable', path, error: fault}
    }
    yield entry
    if (entry.type === 'directory') insertSorted(pending, {order: `${step.name}/`, name: step.name})
  }
  for (const {name} of pending) yield* walkChildren(root, joinBackupPath(directory, name), signal)
}

function byOrder(left: {order: string}, right: {order: string}): number {
  return left.order < right.order ? -1 : left.order > right.order ? 1 : 0
}

function insertSorted(pending: {order: string; name: string}[], item: {order: string; name: string}): void {
  let index = pending.length
  while (index > 0 && pending[index - 1]!.order > item.order) index--
  pending.splice(index, 0, item)
}

async function lookAt(root: string, path: BackupPath): Promise<WalkedEntry> {
  const stats = await lstatAt(root, path)
  if (stats.isFile()) return {type: 'file', path, sizeBytes: Number(stats.size), ...common(stats)}
  if (stats.isDirectory()) return {type: 'directory', path, ...common(stats)}
  if (stats.isSymbolicLink()) {
    const target = backupPathFromBytes(await readlink(localPath(root, path), {encoding: 'buffer'}))
    return {type: 'symlink', path, target, ...common(stats)}
  }
  return {type: 'special', path, kind: stats.isFIFO() ? 'fifo' : stats.isSocket() ? 'socket' : 'device', ...common(stats)}
}

async function lstatAt(root: string, path: BackupPath): Promise<BigIntStats> {
  try {
    return await lstat(localPath(root, path), {bigint: true})
  } catch (error) {
    throw localFileError(error, shown(path))
  }
}

function common(stats: BigIntStats): Omit<WalkedBase, 'path'> {
  return {mode: Number(stats.mode & 0o7777n), mtimeNs: stats.mtimeNs, local: localStatOf(stats)}
}

function shown(path: BackupPath): string {
  return formatBackupPath(path)
}

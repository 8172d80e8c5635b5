import {execFileSync} from 'node:child_process'

/**
 * One line for everything below `directory`: name, type, mode, owner, inode, size, mtime, ctime and link target. Two equal
 * snapshots mean that nothing was made, removed, written, touched or given other rights in between.
 */
export function snapshotTree(directory: string): string[] {
  const format = '%P %y %m %u %i %s %T@ %C@ %l\\n'
  return execFileSync('find', [directory, '-printf', format], {encoding: 'utf8', maxBuffer: 64 * 1024 ** 2}).split('\n').sort()
}

/** As above, but only what a copy must have: name, type, mode, and size of files. */
export function contentsOfTree(directory: string): string[] {
  const format = ['(', '-type', 'f', '-printf', '%P %y %m %s\\n', ')', '-o', '-printf', '%P %y %m\\n']
  return execFileSync('find', [directory, ...format], {encoding: 'utf8', maxBuffer: 64 * 1024 ** 2}).split('\n').sort()
}

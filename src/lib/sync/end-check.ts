import type {BackupPath} from '../archive/backup-path.ts'
import {formatBackupPath} from '../archive/backup-path.ts'
import type {ManifestEntry} from '../archive/manifest.ts'
import {LocalFileError} from './file-errors.ts'
import type {JournalLine} from './journal-line.ts'
import {compareLocalStat} from './local-stat.ts'
import {localPath, walkBackupTree, type WalkedEntry} from './tree-walk.ts'
import {digestFile, type ReadDeps} from './open-file.ts'

/**
 * Compares the tree as it is now with what was copied, in one pass over both. A finished backup never changes, so every
 * difference means that what lies in S3 is not that backup.
 * @returns paths that have come since; Barman's own manifest does (autogenerate_manifest), after the hook
 * @throws LocalFileError when anything vanished, changed, or cannot be read any more
 */
export async function checkTreeUnchanged(
  root: string, copied: AsyncIterable<JournalLine>, deps: ReadDeps,
): Promise<BackupPath[]> {
  const added: BackupPath[] = []
  const lines = copied[Symbol.asyncIterator]()
  let line = await lines.next()
  for await (const found of walkBackupTree(root, deps.signal)) {
    if (found.type === 'unreadable') throw found.error
    while (!line.done && line.value.entry.path < found.path) throw vanished(line.value.entry.path)
    if (line.done || line.value.entry.path !== found.path) {
      added.push(found.path)
      continue
    }
    await checkEntry(root, line.value, found, deps)
    line = await lines.next()
  }
  if (!line.done) throw vanished(line.value.entry.path)
  return added
}

function vanished(path: BackupPath): LocalFileError {
  return new LocalFileError('vanished', formatBackupPath(path))
}

async function checkEntry(
  root: string, copied: JournalLine, found: Exclude<WalkedEntry, {type: 'unreadable'}>, deps: ReadDeps,
): Promise<void> {
  const {entry} = copied
  const shownPath = formatBackupPath(found.path)
  if (entry.type !== found.type) throw new LocalFileError('changed', shownPath, {detail: `it was a ${entry.type}, now it is a ${found.type}`})
  if (found.type === 'symlink') {
    if (found.target !== (entry as Extract<ManifestEntry, {type: 'symlink'}>).target) throw new LocalFileError('changed', shownPath)
    return
  }
  if (found.type !== 'file') return
  const verdict = compareLocalStat(copied.local, found.local)
  if (verdict === 'changed') throw new LocalFileError('changed', shownPath)
  if (verdict === 'same') return
  const {sha256} = await digestFile(deps, {path: localPath(root, found.path), shownPath, expected: found.local})
  if (sha256 !== (entry as Extract<ManifestEntry, {type: 'file'}>).sha256) throw new LocalFileError('changed', shownPath)
}

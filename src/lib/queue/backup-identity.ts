import {join} from 'node:path'
import type {TaskIdentity, TaskRequest} from './task.ts'

/**
 * The identity of the backup a hook announced, from its backup.info: where Barman says it is, else in the new place,
 * else in the old one (Barman before 3.13.2). Undefined if it cannot be read there: the hook must not fail for it.
 */
export async function readBackupIdentity({backupId, hook}: TaskRequest): Promise<TaskIdentity | undefined> {
  const {backupInfoPath, backupDirectory} = hook ?? {}
  const paths = [
    ...(backupInfoPath?.startsWith('/') ? [backupInfoPath] : []),
    ...(backupDirectory ? [
      join(backupDirectory, '../../meta', `${backupId}-backup.info`), join(backupDirectory, 'backup.info'),
    ] : []),
  ]
  const {readSmallFile} = await import('../barman/small-file.ts')
  const {backupIdentity, parseBackupInfo} = await import('../barman/backup-info.ts')
  for (const path of paths) {
    try {
      const bytes = await readSmallFile(path)
      if (bytes) return backupIdentity(parseBackupInfo(bytes.toString('utf8')))
    } catch {
      return undefined
    }
  }
  return undefined
}

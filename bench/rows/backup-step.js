import {assertBackupCopied} from '../barmans3.js'
import {SERVER} from '../tree.js'

/** The copy of one backup as a step of a row; see rows/index.js. */
export function copyOfBackup(backup) {
  return {
    barmans3: ['base', 'sync', SERVER, '--backup', backup.id],
    assertDone: (run, server) => assertBackupCopied(run, backup, server),
    leastSentBytes: backup.leastBytes,
    leastReadBytes: backup.newBytes,
    directory: backup.directory,
    prefix: `base/${backup.id}/`,
    objects: backup.files,
    bytes: backup.bytes,
    totalBytes: backup.bytes,
  }
}

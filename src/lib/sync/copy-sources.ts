import type {BackupManifest} from '../barman/backup-manifest.ts'
import type {CopyTotals} from './copy-totals.ts'
import type {EarlierBackups} from './earlier-backups.ts'
import type {JournalWriter} from './journal.ts'
import type {ProtectedObjects} from './protected-objects.ts'
import type {UploadAccess} from './upload-access.ts'

/** What the copy of one backup works with. */
export interface CopySources {
  readonly backupId: string
  /** Directory of the backup. */
  readonly root: string
  readonly journal: JournalWriter
  readonly uploads: UploadAccess
  readonly earlier: EarlierBackups
  /** PostgreSQL's backup_manifest, if there is one. */
  readonly witness: BackupManifest | undefined
  /** Objects of this backup's that others refer to. */
  readonly guarded: ProtectedObjects
  readonly totals: CopyTotals
  /** Files have PostgreSQL's own times (methods of rsync). */
  readonly areTimesKept: boolean
}

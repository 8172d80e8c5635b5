/** The id of one base backup as Barman makes it: local time of the Barman host, `YYYYMMDDTHHMMSS`, without a zone. */
export type BackupId = string & {readonly __brand: 'BackupId'}

const BACKUP_ID = /^[0-9]{8}T[0-9]{6}$/

/**
 * The backup id in `text`, or undefined when it is none (barman: `\d{8}T\d{6}`). The digits need not be a possible
 * date: Barman does not ask for that either. An id says nothing about order: the clock may have been put back.
 */
export function parseBackupId(text: string): BackupId | undefined {
  return BACKUP_ID.test(text) ? (text as BackupId) : undefined
}

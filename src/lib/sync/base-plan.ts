import type {RemoteBackupState} from '../archive/backup-state.ts'
import type {CatalogBackup} from '../barman/catalog.ts'

/**
 * What is to be done with one backup. `copy`: send it. `done`: it is in S3. `wait`: not finished in Barman yet, look again
 * next time. `refuse`: it can never be sent as it is, and Barman says so itself. `broken`: Barman takes it for a good one,
 * but it cannot be sent. `skip`: left alone on purpose.
 */
export interface BaseDecision {
  readonly action: 'copy' | 'done' | 'wait' | 'refuse' | 'broken' | 'skip'
  readonly reason: string
  /** What to do about it, of `refuse` and `broken`. */
  readonly hint?: string
}

/**
 * | on Barman's disk | in S3 | decision |
 * |---|---|---|
 * | – | complete | `done` (the caller compares the identity) |
 * | gone | any other | `refuse` |
 * | there | a tombstone, alone or not | `skip`, with `again` as below |
 * | there | legacy | `skip`, with `again` as below |
 * | being deleted, in snapshots, FAILED | absent, incomplete | `refuse` |
 * | unreadable, without data, or a status nobody knows | absent, incomplete | `broken` |
 * | EMPTY, STARTED, SYNCING | absent, incomplete | `wait` |
 * | WAITING_FOR_WALS, DONE | absent, incomplete | `copy` |
 *
 * WAITING_FOR_WALS is what every hook sees since Barman 2.5 (barman: `backup.backup`), and means that the data is whole.
 */
export function decideBackup(
  backup: CatalogBackup | undefined,
  {state, isTombstoned}: {readonly state: RemoteBackupState; readonly isTombstoned: boolean},
  {again}: {readonly again: boolean},
): BaseDecision {
  if (state === 'complete') return {action: 'done', reason: 'it is in S3 already'}
  if (!backup) return {action: 'refuse', reason: 'Barman has no such backup (any more)', hint: 'compare with `barman list-backups`'}
  if (isTombstoned && !again) return {action: 'skip', reason: 'it was deleted in S3 on purpose; --again lifts that'}
  if (state === 'legacy' && !again) return {action: 'skip', reason: 'the old scripts copied it, unproven; --again sends it anew'}
  const local = decideLocal(backup)
  if (local) return local
  return {action: 'copy', reason: state === 'incomplete' ? 'an earlier copy was not finished' : 'it is not in S3'}
}

function decideLocal(backup: CatalogBackup): BaseDecision | undefined {
  const {info} = backup
  if (!info) return broken(backup.problem ?? 'its backup.info cannot be read', 'look at that file: Barman should be able to read it too (`barman show-backup`)')
  if (backup.deleteMarkerPath !== undefined) return refuse('Barman is deleting it', 'if the deletion was broken off, `barman delete` ends it')
  switch (info.status) {
    case 'EMPTY':
    case 'STARTED':
    case 'SYNCING':
      return {action: 'wait', reason: `not finished in Barman: ${info.status}`}
    case 'FAILED':
      return refuse(`FAILED in Barman${info.error ? `: ${info.error}` : ''}`, 'make a new backup: `barman backup`')
    case 'DONE':
    case 'WAITING_FOR_WALS':
      break
    default:
      return broken('its status in backup.info is not understood', 'a newer barmans3 may know it')
  }
  if (info.hasSnapshots) {
    return refuse('its data is in cloud disk snapshots, not in Barman\'s directory', 'barmans3 copies backups in local directories only')
  }
  if (!backup.hasDataDirectory) return broken('its data directory is missing', 'see whether its disk is mounted; if it is really gone, `barman delete` removes the rest')
  return undefined
}

function refuse(reason: string, hint: string): BaseDecision {
  return {action: 'refuse', reason, hint}
}

function broken(reason: string, hint: string): BaseDecision {
  return {action: 'broken', reason, hint}
}

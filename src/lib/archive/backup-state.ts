/** The state of a backup in S3, the first that applies (design: state of a backup in S3). */
export type RemoteBackupState = 'deleting' | 'complete' | 'legacy' | 'incomplete' | 'absent'

/** What a listing shows of one backup. */
export interface RemoteBackupFacts {
  readonly hasRecord: boolean
  readonly hasStartedMarker: boolean
  readonly hasTombstone: boolean
  /** Any object in `base/<id>/` that is data. */
  readonly hasData: boolean
  /** A copy of `backup.info`, in either place. */
  readonly hasBackupInfo: boolean
}

/**
 * | tombstone | record | started | data | backup.info | state |
 * |---|---|---|---|---|---|
 * | yes | any other key left ||||  `deleting` |
 * | yes | no | no | no | no | `absent`: a tombstone alone is not listed |
 * | no | yes | – | – | – | `complete` |
 * | no | no | yes | – | – | `incomplete` |
 * | no | no | no | yes | yes | `legacy`: made by the old scripts |
 * | no | no | no | yes | no | `incomplete`: the old scripts were stopped |
 * | no | no | no | no | – | `absent` |
 */
export function remoteBackupState(facts: RemoteBackupFacts): RemoteBackupState {
  const {hasRecord, hasStartedMarker, hasTombstone, hasData, hasBackupInfo} = facts
  if (hasTombstone) return hasRecord || hasStartedMarker || hasData || hasBackupInfo ? 'deleting' : 'absent'
  if (hasRecord) return 'complete'
  if (hasStartedMarker) return 'incomplete'
  if (hasData) return hasBackupInfo ? 'legacy' : 'incomplete'
  return 'absent'
}

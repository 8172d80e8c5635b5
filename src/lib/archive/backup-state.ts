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
  /** Anything else of it: a copy of `keep`, the manifest, a note. */
  readonly hasOtherKeys: boolean
  /** What the started marker says: before it was written, data and `backup.info` of the old scripts lay there. */
  readonly hadLegacyData: boolean
}

/**
 * | tombstone | record | started | data | backup.info | state |
 * |---|---|---|---|---|---|
 * | yes | any other key left ||||  `deleting` |
 * | yes | no | no | no | no | `absent`: a tombstone alone is not listed |
 * | no | yes | – | – | – | `complete` |
 * | no | no | with legacy data | yes | yes | `legacy`: sent again, but not finished |
 * | no | no | yes | – | – | `incomplete` |
 * | no | no | no | yes | yes | `legacy`: made by the old scripts |
 * | no | no | no | yes | no | `incomplete`: the old scripts were stopped |
 * | no | no | no | no | – | `absent` |
 */
export function remoteBackupState(facts: RemoteBackupFacts): RemoteBackupState {
  const {hasRecord, hasStartedMarker, hasTombstone, hasData, hasBackupInfo, hasOtherKeys, hadLegacyData} = facts
  if (hasTombstone) return hasRecord || hasStartedMarker || hasData || hasBackupInfo || hasOtherKeys ? 'deleting' : 'absent'
  if (hasRecord) return 'complete'
  if (hasData && hasBackupInfo && (!hasStartedMarker || hadLegacyData)) return 'legacy'
  return hasStartedMarker || hasData ? 'incomplete' : 'absent'
}

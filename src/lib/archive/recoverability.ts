import {segmentsBetween} from '../barman/wal-name.ts'
import type {BackupRecord} from './backup-record.ts'

/** Whether a complete backup can be restored from S3 alone, and if not, why. */
export type Restorable = {readonly isRestorable: true} | {readonly isRestorable: false; readonly reason: string}

/**
 * The segments a backup needs to become consistent: `begin_wal` to `end_wal`, made one at a time (barman:
 * `BackupManager.check_backup`). Undefined when the record does not say them.
 */
export function requiredSegments({summary}: Pick<BackupRecord, 'summary'>): Iterable<string> | undefined {
  const {beginWal, endWal, xlogSegmentSizeBytes, postgresVersion} = summary
  if (beginWal === undefined || endWal === undefined || xlogSegmentSizeBytes === undefined) return undefined
  try {
    return segmentsBetween(beginWal, endWal, xlogSegmentSizeBytes, {postgresVersion})
  } catch {
    return undefined
  }
}

/**
 * Restorable is computed, and apart from Barman's DONE: the record is there, so is every ancestor's of an incremental,
 * and every WAL from begin to end. Backups whose objects it refers to need no record: their data stays without one.
 * @param records all records of the server, by backup id
 * @param hasSegment whether the bucket has a segment
 */
export function judgeRestorable(
  record: BackupRecord, records: ReadonlyMap<string, BackupRecord>, hasSegment: (name: string) => boolean,
): Restorable {
  const missingAncestor = findMissingAncestor(record, records)
  if (missingAncestor !== undefined) return {isRestorable: false, reason: `its ancestor ${missingAncestor} is not complete in S3`}
  const segments = requiredSegments(record)
  if (!segments) return {isRestorable: false, reason: 'the WAL it needs is not known'}
  for (const name of segments) if (!hasSegment(name)) return {isRestorable: false, reason: `WAL ${name} is missing in S3`}
  return {isRestorable: true}
}

/** The first ancestor of an incremental without a record; a circle counts as missing. */
function findMissingAncestor(record: BackupRecord, records: ReadonlyMap<string, BackupRecord>): string | undefined {
  const seen = new Set([record.backupId])
  for (let parentId = record.summary.parentBackupId; parentId !== undefined;) {
    const parent = records.get(parentId)
    if (!parent || seen.has(parentId)) return parentId
    seen.add(parentId)
    parentId = parent.summary.parentBackupId
  }
  return undefined
}

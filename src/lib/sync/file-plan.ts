/** What is to be done with one file of a backup: decided from what is known of it, without reading it. Pure. */
import {PACKED_FILE_BYTES} from '../archive/pack.ts'
import type {BackupLayout, FileEntry, ManifestObject} from '../archive/manifest.ts'

/** Above this size CopyObject is refused (S3: CopyObject). */
const MAX_COPY_BYTES = 5 * 1024 ** 3

/** The same path in an earlier backup that is complete in S3. */
export interface EarlierFile {
  /** The earlier backup, through whose manifest this is known. */
  readonly backupId: string
  readonly entry: FileEntry
  /** The object that holds it alone; undefined for a file in a pack. */
  readonly object: ManifestObject | undefined
  /**
   * The earlier file is here too, with the same device, inode, size and mtime as this one, both looked at just now, and as
   * its manifest says: a hard link.
   */
  readonly isHardLink: boolean
  /** Why its object may not be used (too old, gone), if so. */
  readonly unusable: string | undefined
}

export interface PlannedFile {
  readonly sizeBytes: number
  readonly mtimeNs: bigint
  /**
   * What PostgreSQL's backup_manifest says of it. Another value than the earlier file's proves that it changed, an equal
   * one proves nothing.
   */
  readonly knownCrc32c: number | undefined
  /** Its times are those of PostgreSQL's own file (methods of rsync); pg_basebackup gives the time of the copy. */
  readonly areTimesKept: boolean
}

/**
 * `pack`: into a tar pack. `send`: as an object of its own. `use`: the earlier object holds this content; nothing is read.
 * `compare`: it may; read it, and its SHA-256 decides. What `use` comes to depends on the layout: compact refers to the
 * object, mirror has it copied inside S3.
 */
export type FilePlan =
  | {readonly action: 'pack' | 'send'; readonly reason: string}
  | {readonly action: 'use' | 'compare'; readonly reason: string; readonly earlier: EarlierFile & {readonly object: ManifestObject}}

/**
 * Design: same content means the same hard link, both ends looked at in the same run, or the same path and size and then
 * an equal SHA-256. Never mtime alone, never CRC32C.
 *
 * A file that is probably another is sent at once: to compare it first would mean to read it twice.
 */
export function planFile(file: PlannedFile, earlier: readonly EarlierFile[], layout: BackupLayout): FilePlan {
  if (isPacked(file.sizeBytes, layout)) return {action: 'pack', reason: 'small'}
  let reason = earlier.length === 0 ? 'new' : 'another size than before'
  for (const candidate of earlier) {
    const {entry, object, isHardLink, unusable} = candidate
    if (entry.sizeBytes !== file.sizeBytes) continue
    if (unusable !== undefined) {
      reason = unusable
      continue
    }
    if (!object || (layout === 'mirror' && object.zstd)) {
      reason = 'the earlier one is stored in another form'
      continue
    }
    if (layout === 'mirror' && object.sizeBytes > MAX_COPY_BYTES) {
      reason = 'larger than S3 copies'
      continue
    }
    if (isHardLink) return {action: 'use', reason: `hard link to backup ${candidate.backupId}`, earlier: {...candidate, object}}
    if (file.knownCrc32c !== undefined && file.knownCrc32c !== entry.crc32c) {
      reason = 'changed, by PostgreSQL\'s backup_manifest'
      continue
    }
    if (file.knownCrc32c === undefined && file.areTimesKept && file.mtimeNs !== entry.mtimeNs) {
      reason = 'another time than before'
      continue
    }
    return {action: 'compare', reason: `same path and size as in backup ${candidate.backupId}`, earlier: {...candidate, object}}
  }
  return {action: 'send', reason}
}

/** Whether a file of that size goes into a pack, whatever earlier backups have. */
export function isPacked(sizeBytes: number, layout: BackupLayout): boolean {
  return layout === 'compact' && sizeBytes < PACKED_FILE_BYTES
}

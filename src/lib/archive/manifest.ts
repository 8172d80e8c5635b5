/**
 * The manifest of one backup: gzip'd JSON lines that say what the backup consists of and where each piece lies in S3.
 * The lines, in this order: one header; one line per directory, symbolic link, file and skipped special file, sorted by
 * the bytes of their path; one line per stored object; one end line with the counts. Described for people in
 * docs/reference/archive-format.md.
 */
import type {BackupPath} from './backup-path.ts'

export const MANIFEST_FORMAT = 'barmans3-manifest'
export const MANIFEST_VERSION = 1

/** How a backup's files lie in S3: `mirror`, one object per file; `compact`, packs, compression and references. */
export type BackupLayout = 'mirror' | 'compact'

export const LAYOUTS: readonly BackupLayout[] = ['mirror', 'compact']

export interface ManifestHeader {
  readonly server: string
  readonly backupId: string
  readonly layout: BackupLayout
}

/** What every entry has. */
export interface EntryBase {
  readonly path: BackupPath
  /** Permission bits, such as 0o600. */
  readonly mode: number
  /** Modification time in nanoseconds since the epoch. */
  readonly mtimeNs: bigint
}

export interface DirectoryEntry extends EntryBase {
  readonly type: 'directory'
}

export interface SymlinkEntry extends EntryBase {
  readonly type: 'symlink'
  /** The link's text, one character per byte. */
  readonly target: BackupPath
}

export interface FileEntry extends EntryBase {
  readonly type: 'file'
  readonly sizeBytes: number
  /** SHA-256 of the content, 64 hex digits. */
  readonly sha256: string
  /** CRC32C of the content, unsigned. */
  readonly crc32c: number
  /** Key of the object that holds it, relative to the server's prefix. */
  readonly object: string
  /** Where in the object the content begins, in bytes; only of a file in a pack. */
  readonly offset?: number
}

/** A socket, FIFO or device: noted, never copied. */
export interface SpecialEntry extends EntryBase {
  readonly type: 'special'
  readonly kind: 'fifo' | 'socket' | 'device'
}

export type ManifestEntry = DirectoryEntry | SymlinkEntry | FileEntry | SpecialEntry

/** How an object's bytes make a file's content: standard zstd, in frames that can be unpacked one by one. */
export interface ZstdFrames {
  /** Content of each frame but the last, in bytes. */
  readonly frameBytes: number
  /** Where each frame begins in the object. */
  readonly offsets: readonly number[]
}

/** One stored object: of this backup, or of an earlier one that this one refers to. */
export interface ManifestObject {
  /** Relative to the server's prefix. */
  readonly key: string
  readonly sizeBytes: number
  readonly crc32c: number
  /** SHA-256 of the stored bytes. */
  readonly sha256: string
  /** Only when it is compressed. */
  readonly zstd?: ZstdFrames
}

export interface ManifestCounts {
  readonly directories: number
  readonly symlinks: number
  readonly files: number
  readonly special: number
  /** Objects that are stored for this backup. */
  readonly objects: number
  /** Objects of earlier backups that it refers to. */
  readonly referencedObjects: number
  /** Sum of the files' sizes. */
  readonly sourceBytes: number
  /** Sum of the sizes of the objects stored for this backup. */
  readonly storedBytes: number
  /** Sum of the sizes of the objects it refers to. */
  readonly referencedBytes: number
}

export const EMPTY_COUNTS: ManifestCounts = {
  directories: 0, symlinks: 0, files: 0, special: 0, objects: 0, referencedObjects: 0, sourceBytes: 0, storedBytes: 0, referencedBytes: 0,
}

/** `counts` with one more entry. */
export function countEntry(counts: ManifestCounts, entry: ManifestEntry): ManifestCounts {
  switch (entry.type) {
    case 'directory': return {...counts, directories: counts.directories + 1}
    case 'symlink': return {...counts, symlinks: counts.symlinks + 1}
    case 'special': return {...counts, special: counts.special + 1}
    case 'file': return {...counts, files: counts.files + 1, sourceBytes: counts.sourceBytes + entry.sizeBytes}
  }
}

/** `counts` of the backup `backupId` with one more object. */
export function countObject(counts: ManifestCounts, object: ManifestObject, backupId: string): ManifestCounts {
  return ownerOfObject(object.key) === backupId
    ? {...counts, objects: counts.objects + 1, storedBytes: counts.storedBytes + object.sizeBytes}
    : {...counts, referencedObjects: counts.referencedObjects + 1, referencedBytes: counts.referencedBytes + object.sizeBytes}
}

/** The id of the backup whose data an object is, from its key relative to the server's prefix. */
export function ownerOfObject(key: string): string | undefined {
  return /^base\/(\d{8}T\d{6})\//.exec(key)?.[1]
}

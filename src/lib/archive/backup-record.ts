import type {BackupIdentity, BackupInfo, Tablespace} from '../barman/backup-info.ts'
import {ConflictError} from '../errors.ts'
import {
  formatDocument, optionalNumber, optionalText, parseDocument, requireFields, requireSize, requireText, requireTextList, type JsonFields,
} from './json-document.ts'
import {LAYOUTS, type BackupLayout, type ManifestCounts} from './manifest.ts'

const RECORD = {format: 'barmans3-backup', version: 1}

/** Features of the format that this version reads. A record that needs another is refused by name. */
const KNOWN_FEATURES: readonly string[] = ['mirror', 'packs', 'zstd', 'references']

/** Who wrote something: an installation, with its host for people. */
export interface Writer {
  /** UUID of the installation. */
  readonly id: string
  readonly host: string
}

/** What never changes in a backup.info once the backup has ended (design: the record holds only immutable facts). */
export interface BackupSummary {
  readonly name: string | undefined
  readonly mode: string | undefined
  readonly compression: string | undefined
  readonly encryption: string | undefined
  /** PostgreSQL's version number, such as 150020. */
  readonly postgresVersion: number | undefined
  readonly timeline: number | undefined
  /** RFC 3339. */
  readonly beginTime: string | undefined
  readonly endTime: string | undefined
  readonly beginWal: string | undefined
  readonly endWal: string | undefined
  readonly beginXlog: string | undefined
  readonly endXlog: string | undefined
  readonly xlogSegmentSizeBytes: number | undefined
  readonly parentBackupId: string | undefined
  readonly tablespaces: readonly Tablespace[]
}

/** The record of one complete backup: the commit marker, written last and never rewritten. */
export interface BackupRecord {
  readonly server: string
  readonly backupId: string
  readonly identity: BackupIdentity
  readonly writer: Writer
  /** The run that made it, as in the started marker. */
  readonly attempt: string
  /** RFC 3339, UTC. */
  readonly startedAt: string
  readonly completedAt: string
  readonly layout: BackupLayout
  /** `mirror`; of layout compact, those that its objects really use. */
  readonly features: readonly string[]
  readonly summary: BackupSummary
  readonly counts: ManifestCounts
  readonly manifest: {readonly key: string; readonly sizeBytes: number; readonly sha256: string}
  /**
   * Ids of backups whose objects it refers to, and of those through whose manifests it does. An owner may be deleted: its
   * objects stay as long as a record refers to them.
   */
  readonly owners: readonly string[]
  readonly vouchers: readonly string[]
}

/** The immutable part of a `backup.info`. */
export function summarizeBackupInfo(info: BackupInfo): BackupSummary {
  return {
    name: info.backupName,
    mode: info.mode,
    compression: info.compression,
    encryption: info.encryption,
    postgresVersion: info.version,
    timeline: info.timeline,
    beginTime: info.beginTime?.toISOString(),
    endTime: info.endTime?.toISOString(),
    beginWal: info.beginWal,
    endWal: info.endWal,
    beginXlog: info.beginXlog,
    endXlog: info.endXlog,
    xlogSegmentSizeBytes: info.xlogSegmentSizeBytes,
    parentBackupId: info.parentBackupId,
    tablespaces: info.tablespaces,
  }
}

export function formatBackupRecord(record: BackupRecord): Buffer {
  return formatDocument(RECORD, record)
}

/**
 * @param key for the error
 * @throws ConflictError when the object is cut, foreign, of a newer version, or needs a feature this version lacks
 */
export function parseBackupRecord(bytes: Uint8Array, key: string): BackupRecord {
  const fields = parseDocument(RECORD, bytes, key)
  const features = requireTextList(fields, 'features', key)
  const unknown = features.filter((feature) => !KNOWN_FEATURES.includes(feature))
  if (unknown.length > 0) {
    throw new ConflictError(`"${key}" needs what this barmans3 does not know: ${unknown.join(', ')}`, {
      hint: 'install a newer barmans3 to read this backup',
    })
  }
  const layout = LAYOUTS.find((known) => known === fields.layout)
  if (!layout) {
    throw new ConflictError(`"${key}" has the unknown layout "${String(fields.layout)}"`, {hint: 'install a newer barmans3 to read this backup'})
  }
  const manifest = requireFields(fields, 'manifest', key)
  return {
    server: requireText(fields, 'server', key),
    backupId: requireText(fields, 'backupId', key),
    identity: parseIdentity(requireFields(fields, 'identity', key)),
    writer: parseWriter(requireFields(fields, 'writer', key), key),
    attempt: requireText(fields, 'attempt', key),
    startedAt: requireText(fields, 'startedAt', key),
    completedAt: requireText(fields, 'completedAt', key),
    layout,
    features,
    summary: parseSummary(requireFields(fields, 'summary', key)),
    counts: parseCounts(requireFields(fields, 'counts', key)),
    manifest: {
      key: requireText(manifest, 'key', key),
      sizeBytes: requireSize(manifest, 'sizeBytes', key),
      sha256: requireText(manifest, 'sha256', key),
    },
    owners: requireTextList(fields, 'owners', key),
    vouchers: requireTextList(fields, 'vouchers', key),
  }
}

function parseCounts(fields: JsonFields): ManifestCounts {
  const count = (name: keyof ManifestCounts) => optionalNumber(fields, name) ?? 0
  return {
    directories: count('directories'), symlinks: count('symlinks'), files: count('files'), special: count('special'),
    objects: count('objects'), referencedObjects: count('referencedObjects'),
    sourceBytes: count('sourceBytes'), storedBytes: count('storedBytes'), referencedBytes: count('referencedBytes'),
  }
}

function parseSummary(fields: JsonFields): BackupSummary {
  return {
    name: optionalText(fields, 'name'),
    mode: optionalText(fields, 'mode'),
    compression: optionalText(fields, 'compression'),
    encryption: optionalText(fields, 'encryption'),
    postgresVersion: optionalNumber(fields, 'postgresVersion'),
    timeline: optionalNumber(fields, 'timeline'),
    beginTime: optionalText(fields, 'beginTime'),
    endTime: optionalText(fields, 'endTime'),
    beginWal: optionalText(fields, 'beginWal'),
    endWal: optionalText(fields, 'endWal'),
    beginXlog: optionalText(fields, 'beginXlog'),
    endXlog: optionalText(fields, 'endXlog'),
    xlogSegmentSizeBytes: optionalNumber(fields, 'xlogSegmentSizeBytes'),
    parentBackupId: optionalText(fields, 'parentBackupId'),
    tablespaces: Array.isArray(fields.tablespaces) ? fields.tablespaces.flatMap(parseTablespace) : [],
  }
}

function parseTablespace(value: unknown): Tablespace[] {
  if (typeof value !== 'object' || value === null) return []
  const {name, oid, location} = value as Partial<Tablespace>
  return typeof name === 'string' && typeof oid === 'number' && typeof location === 'string' ? [{name, oid, location}] : []
}

/** The identity inside a record or marker. */
export function parseIdentity(fields: JsonFields): BackupIdentity {
  return {
    systemId: optionalText(fields, 'systemId'),
    beginTime: optionalText(fields, 'beginTime'),
    beginXlog: optionalText(fields, 'beginXlog'),
    beginWal: optionalText(fields, 'beginWal'),
  }
}

/** The writer inside a record or marker. */
export function parseWriter(fields: JsonFields, key: string): Writer {
  return {id: requireText(fields, 'id', key), host: optionalText(fields, 'host') ?? 'an unknown host'}
}

import type {BackupIdentity} from '../barman/backup-info.ts'
import {parseIdentity, parseWriter, type Writer} from './backup-record.ts'
import {formatDocument, optionalText, parseDocument, requireFields, requireText} from './json-document.ts'

const STARTED = {format: 'barmans3-started', version: 1}
const TOMBSTONE = {format: 'barmans3-deleted', version: 1}

/** Says who is copying a backup, before its first byte; a record is only written while this still names its writer. */
export interface StartedMarker {
  readonly server: string
  readonly backupId: string
  readonly identity: BackupIdentity
  readonly writer: Writer
  /** UUID of the run. */
  readonly attempt: string
  /** RFC 3339, UTC: when this run began. */
  readonly startedAt: string
  /** Whether data and `backup.info` that no barmans3 had announced lay there already (made by the old scripts). */
  readonly hadLegacyData: boolean
}

/** Says that a backup was deleted in S3 on purpose, and stops it from being sent again. */
export interface Tombstone {
  readonly backupId: string
  readonly writer: Writer
  /** RFC 3339, UTC. */
  readonly deletedAt: string
  /** `catalogue`, `retention` or `explicit`. */
  readonly reason: string
}

export function formatStartedMarker(marker: StartedMarker): Buffer {
  return formatDocument(STARTED, marker)
}

/** @throws ConflictError when it is cut, foreign or newer */
export function parseStartedMarker(bytes: Uint8Array, key: string): StartedMarker {
  const fields = parseDocument(STARTED, bytes, key)
  return {
    server: requireText(fields, 'server', key),
    backupId: requireText(fields, 'backupId', key),
    identity: parseIdentity(requireFields(fields, 'identity', key)),
    writer: parseWriter(requireFields(fields, 'writer', key), key),
    attempt: requireText(fields, 'attempt', key),
    startedAt: requireText(fields, 'startedAt', key),
    hadLegacyData: fields.hadLegacyData === true,
  }
}

export function formatTombstone(tombstone: Tombstone): Buffer {
  return formatDocument(TOMBSTONE, tombstone)
}

/** @throws ConflictError when it is cut, foreign or newer */
export function parseTombstone(bytes: Uint8Array, key: string): Tombstone {
  const fields = parseDocument(TOMBSTONE, bytes, key)
  return {
    backupId: requireText(fields, 'backupId', key),
    writer: parseWriter(requireFields(fields, 'writer', key), key),
    deletedAt: requireText(fields, 'deletedAt', key),
    reason: optionalText(fields, 'reason') ?? 'explicit',
  }
}

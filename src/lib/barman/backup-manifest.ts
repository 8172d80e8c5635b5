import {constants} from 'node:fs'
import {open, type FileHandle} from 'node:fs/promises'
import {formatBackupPath, type BackupPath} from '../archive/backup-path.ts'
import {BarmanFilesError} from '../errors.ts'
import {BackupManifestParser, type ManifestFile} from './backup-manifest-parser.ts'
import {ManifestTable, type ChecksumKind} from './backup-manifest-table.ts'
import {isMissing, unreadable} from './small-file.ts'

/** What a backup_manifest says about one file. */
export type WitnessVerdict =
  /** It does not know the file, or has no checksum of a kind we can compare. */
  | {readonly verdict: 'unknown'}
  | {readonly verdict: 'matches'}
  /** `detail` says how: `it has 8,192 bytes, backup_manifest says 16,384`. */
  | {readonly verdict: 'differs'; readonly detail: string}

/** What was read of a file. */
export interface WitnessedContent {
  readonly sizeBytes: number
  /** Unsigned. */
  readonly crc32c: number
  /** 64 hex digits. */
  readonly sha256: string
}

const CHUNK_BYTES = 256 * 1024

/**
 * PostgreSQL's own list of the files of one backup, as a witness against rot: `check` every file that is read, then ask
 * what is `missing`. A million files take about 50 MB.
 *
 * Which files it knows depends on who wrote it. pg_basebackup (method postgres): everything but itself and WAL, with
 * CRC32C. Barman (`autogenerate_manifest`, `generate-manifest`): everything in `data/` but itself, with SHA-256, and no
 * file of a tablespace. An equal checksum is no proof of equal content from one backup to another: every pg_control has
 * the same CRC32C.
 */
export class BackupManifest {
  /** Files it names. */
  readonly fileCount: number
  /** The cluster's, in decimal digits, for it passes 2^53; undefined below PostgreSQL 17 and in Barman's own manifests. */
  readonly systemIdentifier: string | undefined
  readonly #table: ManifestTable

  private constructor(table: ManifestTable, systemIdentifier: string | undefined) {
    this.#table = table
    this.fileCount = table.count
    this.systemIdentifier = systemIdentifier
  }

  /**
   * Reads a backup_manifest in bounded memory; undefined when there is none at `path`. `signal` stops it, and what it
   * rejects with then is the signal's reason.
   * @throws BarmanFilesError when it is cut, foreign, unreadable, of a version above 2, names a file twice, or its own
   * Manifest-Checksum is wrong
   */
  static async read(path: string, options: {signal?: AbortSignal} = {}): Promise<BackupManifest | undefined> {
    options.signal?.throwIfAborted()
    let file: FileHandle
    try {
      // O_NONBLOCK: opening a FIFO somebody put there must not wait for a writer.
      file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    } catch (error: unknown) {
      if (isMissing(error)) return undefined
      throw unreadable(path, error)
    }
    try {
      if (!(await file.stat()).isFile()) throw new BarmanFilesError(`${path} is not a regular file`)
      return await BackupManifest.#readFrom(file, path, options.signal)
    } catch (error: unknown) {
      if (error instanceof BarmanFilesError || options.signal?.aborted) throw error
      throw unreadable(path, error)
    } finally {
      await file.close()
    }
  }

  static async #readFrom(file: FileHandle, path: string, signal: AbortSignal | undefined): Promise<BackupManifest> {
    const table = new ManifestTable()
    const parser = new BackupManifestParser(path, (entry) => addFile(table, entry, path))
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
    for (;;) {
      const {bytesRead} = await file.read(chunk, 0, chunk.length)
      signal?.throwIfAborted()
      if (bytesRead === 0) return new BackupManifest(table, parser.end().systemIdentifier)
      parser.push(chunk.subarray(0, bytesRead))
    }
  }

  /**
   * Compares one file, and remembers that it was seen. `path` is its place below `base/<id>/`: `data/base/1/1259`, or
   * `16385/PG_15_…/…` in a tablespace. Where only the size can be compared, a wrong one still differs.
   */
  check(path: BackupPath, content: WitnessedContent): WitnessVerdict {
    const entry = this.#find(path)
    if (entry === undefined) return {verdict: 'unknown'}
    this.#table.markSeen(entry)
    const sizeBytes = this.#table.sizeOf(entry)
    if (sizeBytes !== content.sizeBytes) {
      return differs(`it has ${formatCount(content.sizeBytes)} bytes, backup_manifest says ${formatCount(sizeBytes)}`)
    }
    const kind = this.#table.kindOf(entry)
    if (kind === 'none') return {verdict: 'unknown'}
    const actual = kind === 'CRC32C' ? formatLittleEndian(content.crc32c) : content.sha256
    if (this.#table.hasChecksum(entry, actual)) return {verdict: 'matches'}
    const expected = this.#table.formatChecksum(entry)
    const what = kind === 'CRC32C' ? 'its CRC32C is' : 'its SHA-256 begins with'
    return differs(`${what} ${actual.slice(0, expected.length)}, backup_manifest says ${expected}`)
  }

  /** Files that `check` was asked about. 0 for a backup in tar format, whose files the manifest names as they are inside. */
  get seenCount(): number {
    return this.fileCount - this.#table.unseenCount
  }

  /**
   * The CRC32C a file must have, unsigned; undefined when the manifest has none of it. Another value than an earlier
   * backup's file had proves that the file changed; the same value proves nothing.
   */
  crc32cOf(path: BackupPath): number | undefined {
    const entry = this.#find(path)
    if (entry === undefined || this.#table.kindOf(entry) !== 'CRC32C') return undefined
    return Buffer.from(this.#table.formatChecksum(entry), 'hex').readUInt32LE()
  }

  /**
   * Files the manifest names and `check` was never asked about: how many, and the first `limit` of them as paths below
   * `base/<id>/`, in the manifest's order. Means nothing for a backup in tar format (`backup_compression_format = tar`):
   * the manifest names the files inside the archives.
   */
  missing(limit: number): {readonly count: number; readonly paths: readonly BackupPath[]} {
    const paths = this.#table.unseen().take(limit).map((entry) => this.#table.pathOf(entry) as BackupPath).toArray()
    return {count: this.#table.unseenCount, paths}
  }

  #find(path: BackupPath): number | undefined {
    const entry = this.#table.find(path)
    // A tablespace made in place (allow_in_place_tablespaces) is a directory in data/pg_tblspc, not a link.
    return entry ?? (path.startsWith('data/pg_tblspc/') ? this.#table.find(backupPathOf(path.slice('data/'.length))) : undefined)
  }
}

/** Settings that may be changed in a backup without harm; pg_verifybackup passes them over, too. */
const CHANGEABLE: ReadonlySet<string> = new Set(['postgresql.auto.conf', 'recovery.signal', 'standby.signal'])

function addFile(table: ManifestTable, {path, sizeBytes, checksum}: ManifestFile, manifestPath: string): void {
  if (CHANGEABLE.has(path)) return
  const kind = checksumKind(checksum?.algorithm)
  if (table.add(backupPathOf(path), sizeBytes, kind, checksum?.hex ?? '')) return
  throw new BarmanFilesError(`${manifestPath} names a file twice: ${formatBackupPath(path as BackupPath)}`, {
    hint: 'neither PostgreSQL nor Barman writes such a manifest; look with pg_verifybackup, and take a new backup',
  })
}

function checksumKind(algorithm: string | undefined): ChecksumKind {
  return algorithm === 'CRC32C' || algorithm === 'SHA256' ? algorithm : 'none'
}

/** A path of the manifest as Barman lays it out: `pg_tblspc/<oid>/…` in `<oid>/…` beside `data/`, all else in `data/`. */
function backupPathOf(path: string): string {
  return /^pg_tblspc\/\d+\//.test(path) ? path.slice('pg_tblspc/'.length) : `data/${path}`
}

function differs(detail: string): WitnessVerdict {
  return {verdict: 'differs', detail}
}

function formatCount(count: number): string {
  return count.toLocaleString('en-US')
}

/** CRC32C as PostgreSQL writes it: the hex digits of its bytes, lowest first. */
function formatLittleEndian(crc32c: number): string {
  const swapped = (crc32c << 24) | ((crc32c & 0xff00) << 8) | ((crc32c >>> 8) & 0xff00) | (crc32c >>> 24)
  return (swapped >>> 0).toString(16).padStart(8, '0')
}

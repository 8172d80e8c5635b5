/**
 * The manifest of one backup: gzip'd JSON lines that say what the backup consists of and where each piece lies in S3.
 * The lines, in this order: one header; one line per directory, symbolic link, file and skipped special file, sorted by
 * the bytes of their path; one line per stored object; one end line with the counts. Described for people in
 * docs/reference/archive-format.md.
 */
import {BarmanFilesError} from '../errors.ts'
import {backupPathFromBytes, backupPathFromText, backupPathText, backupPathBytes, type BackupPath} from './backup-path.ts'

export const MANIFEST_FORMAT = 'barmans3-manifest'
export const MANIFEST_VERSION = 1

export interface ManifestHeader {
  readonly server: string
  readonly backupId: string
  readonly layout: 'mirror'
}

interface EntryBase {
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
}

/** A socket, FIFO or device: noted, never copied. */
export interface SpecialEntry extends EntryBase {
  readonly type: 'special'
  readonly kind: 'fifo' | 'socket' | 'device'
}

export type ManifestEntry = DirectoryEntry | SymlinkEntry | FileEntry | SpecialEntry

/** One stored object. */
export interface ManifestObject {
  /** Relative to the server's prefix. */
  readonly key: string
  readonly sizeBytes: number
  readonly crc32c: number
  /** SHA-256 of the stored bytes. */
  readonly sha256: string
}

export interface ManifestCounts {
  readonly directories: number
  readonly symlinks: number
  readonly files: number
  readonly special: number
  readonly objects: number
  /** Sum of the files' sizes. */
  readonly sourceBytes: number
  /** Sum of the stored objects' sizes. */
  readonly storedBytes: number
}

export const EMPTY_COUNTS: ManifestCounts = {
  directories: 0, symlinks: 0, files: 0, special: 0, objects: 0, sourceBytes: 0, storedBytes: 0,
}

/** `counts` with one more entry or object. */
export function countLine(counts: ManifestCounts, line: ManifestEntry | ManifestObject): ManifestCounts {
  if (!('type' in line)) return {...counts, objects: counts.objects + 1, storedBytes: counts.storedBytes + line.sizeBytes}
  switch (line.type) {
    case 'directory': return {...counts, directories: counts.directories + 1}
    case 'symlink': return {...counts, symlinks: counts.symlinks + 1}
    case 'special': return {...counts, special: counts.special + 1}
    case 'file': return {...counts, files: counts.files + 1, sourceBytes: counts.sourceBytes + line.sizeBytes}
  }
}

export type ManifestLine =
  | ({readonly line: 'header'} & ManifestHeader)
  | {readonly line: 'entry'; readonly entry: ManifestEntry}
  | {readonly line: 'object'; readonly object: ManifestObject}
  | ({readonly line: 'end'} & ManifestCounts)

export function formatManifestHeader(header: ManifestHeader): string {
  return `${JSON.stringify({format: MANIFEST_FORMAT, version: MANIFEST_VERSION, ...header})}\n`
}

export function formatManifestEnd(counts: ManifestCounts): string {
  return `${JSON.stringify({type: 'end', ...counts})}\n`
}

export function formatManifestObject(object: ManifestObject): string {
  const {key, sizeBytes, crc32c, sha256} = object
  return `${JSON.stringify({type: 'object', key, sizeBytes, crc32c: formatCrc32c(crc32c), sha256})}\n`
}

/** One entry as a line. A path or target that is no UTF-8 is given in base64 under another name. */
export function formatManifestEntry(entry: ManifestEntry): string {
  const common = {
    type: entry.type,
    ...formatBytesField('path', entry.path),
    mode: entry.mode.toString(8).padStart(4, '0'),
    mtimeNs: entry.mtimeNs.toString(),
  }
  switch (entry.type) {
    case 'directory':
      return `${JSON.stringify(common)}\n`
    case 'symlink':
      return `${JSON.stringify({...common, ...formatBytesField('target', entry.target)})}\n`
    case 'special':
      return `${JSON.stringify({...common, kind: entry.kind})}\n`
    case 'file':
      return `${JSON.stringify({
        ...common, sizeBytes: entry.sizeBytes, sha256: entry.sha256, crc32c: formatCrc32c(entry.crc32c), object: entry.object,
      })}\n`
  }
}

function formatBytesField(name: 'path' | 'target', bytes: BackupPath): Record<string, string> {
  const text = backupPathText(bytes)
  return text === undefined ? {[`${name}Base64`]: backupPathBytes(bytes).toString('base64')} : {[name]: text}
}

/** CRC32C as S3 writes it: base64 of the four bytes, big-endian. */
export function formatCrc32c(crc32c: number): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc32c)
  return bytes.toString('base64')
}

/** The opposite of `formatCrc32c`; undefined for anything else. */
export function parseCrc32c(text: unknown): number | undefined {
  if (typeof text !== 'string' || !/^[A-Za-z0-9+/]{6}==$/.test(text)) return undefined
  return Buffer.from(text, 'base64').readUInt32BE()
}

type Fields = Readonly<Record<string, unknown>>

/**
 * One line of a manifest. Unknown fields are ignored.
 * @throws BarmanFilesError for a line that is cut, foreign or of a newer major version.
 */
export function parseManifestLine(text: string): ManifestLine {
  let fields: Fields
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) throw new TypeError('no object')
    fields = value as Fields
  } catch (error) {
    throw new BarmanFilesError('the manifest has a line that is cut or foreign', {cause: error})
  }
  if ('format' in fields) return parseHeader(fields)
  switch (fields.type) {
    case 'directory': return {line: 'entry', entry: {type: 'directory', ...parseEntryBase(fields)}}
    case 'symlink': return {line: 'entry', entry: {type: 'symlink', ...parseEntryBase(fields), target: bytesField(fields, 'target')}}
    case 'special': return {line: 'entry', entry: {type: 'special', ...parseEntryBase(fields), kind: specialKind(fields.kind)}}
    case 'file': return {line: 'entry', entry: {type: 'file', ...parseEntryBase(fields), ...content(fields), object: stringField(fields, 'object')}}
    case 'object': return {line: 'object', object: {key: stringField(fields, 'key'), ...content(fields)}}
    case 'end': return {
      line: 'end',
      directories: sizeField(fields, 'directories'), symlinks: sizeField(fields, 'symlinks'), files: sizeField(fields, 'files'),
      special: sizeField(fields, 'special'), objects: sizeField(fields, 'objects'),
      sourceBytes: sizeField(fields, 'sourceBytes'), storedBytes: sizeField(fields, 'storedBytes'),
    }
    default: throw new BarmanFilesError(`the manifest has a line of an unknown type "${String(fields.type)}"`)
  }
}

function parseHeader(fields: Fields): ManifestLine {
  if (fields.format !== MANIFEST_FORMAT) throw new BarmanFilesError('the manifest is not one of barmans3')
  if (fields.version !== MANIFEST_VERSION) {
    throw new BarmanFilesError(`the manifest is of version ${String(fields.version)}, this barmans3 reads version ${MANIFEST_VERSION}`, {
      hint: 'install the barmans3 that wrote it, or a newer one',
    })
  }
  if (fields.layout !== 'mirror') throw new BarmanFilesError(`the manifest has the unknown layout "${String(fields.layout)}"`)
  return {line: 'header', server: stringField(fields, 'server'), backupId: stringField(fields, 'backupId'), layout: 'mirror'}
}

function parseEntryBase(fields: Fields): EntryBase {
  const mode = stringField(fields, 'mode')
  const mtimeNs = stringField(fields, 'mtimeNs')
  if (!/^[0-7]{1,6}$/.test(mode) || !/^-?\d+$/.test(mtimeNs)) throw new BarmanFilesError('the manifest has a line with a wrong mode or time')
  return {path: bytesField(fields, 'path'), mode: Number.parseInt(mode, 8), mtimeNs: BigInt(mtimeNs)}
}

function content(fields: Fields): {sizeBytes: number; sha256: string; crc32c: number} {
  const crc32c = parseCrc32c(fields.crc32c)
  const sha256 = stringField(fields, 'sha256')
  if (crc32c === undefined || !/^[0-9a-f]{64}$/.test(sha256)) throw new BarmanFilesError('the manifest has a line with a wrong checksum')
  return {sizeBytes: sizeField(fields, 'sizeBytes'), sha256, crc32c}
}

function bytesField(fields: Fields, name: 'path' | 'target'): BackupPath {
  const base64 = fields[`${name}Base64`]
  if (typeof base64 === 'string') return backupPathFromBytes(Buffer.from(base64, 'base64'))
  return backupPathFromText(stringField(fields, name))
}

function stringField(fields: Fields, name: string): string {
  const value = fields[name]
  if (typeof value !== 'string') throw new BarmanFilesError(`the manifest has a line without "${name}"`)
  return value
}

function sizeField(fields: Fields, name: string): number {
  const value = fields[name]
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new BarmanFilesError(`the manifest has a line with a wrong "${name}"`)
  }
  return value
}

function specialKind(value: unknown): SpecialEntry['kind'] {
  if (value === 'fifo' || value === 'socket' || value === 'device') return value
  throw new BarmanFilesError('the manifest has a special file of an unknown kind')
}

/** The lines of a manifest as text and back. */
import {BarmanFilesError} from '../errors.ts'
import {backupPathFromBytes, backupPathFromText, backupPathText, backupPathBytes, type BackupPath} from './backup-path.ts'
import {
  LAYOUTS, MANIFEST_FORMAT, MANIFEST_VERSION, type EntryBase, type ManifestCounts, type ManifestEntry, type ManifestHeader,
  type ManifestObject, type SpecialEntry, type ZstdFrames,
} from './manifest.ts'

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
  const {key, sizeBytes, crc32c, sha256, zstd} = object
  const frames = zstd && {encoding: 'zstd', frameBytes: zstd.frameBytes, frames: zstd.offsets}
  return `${JSON.stringify({type: 'object', key, sizeBytes, crc32c: formatCrc32c(crc32c), sha256, ...frames})}\n`
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
        ...(entry.offset === undefined ? {} : {offset: entry.offset}),
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
    case 'file': return {line: 'entry', entry: {
      type: 'file', ...parseEntryBase(fields), ...content(fields), object: stringField(fields, 'object'),
      ...('offset' in fields ? {offset: sizeField(fields, 'offset')} : {}),
    }}
    case 'object': return {line: 'object', object: {key: stringField(fields, 'key'), ...content(fields), ...encoding(fields)}}
    case 'end': return {
      line: 'end',
      directories: sizeField(fields, 'directories'), symlinks: sizeField(fields, 'symlinks'), files: sizeField(fields, 'files'),
      special: sizeField(fields, 'special'), objects: sizeField(fields, 'objects'),
      sourceBytes: sizeField(fields, 'sourceBytes'), storedBytes: sizeField(fields, 'storedBytes'),
      // Not in what the first release wrote.
      referencedObjects: 'referencedObjects' in fields ? sizeField(fields, 'referencedObjects') : 0,
      referencedBytes: 'referencedBytes' in fields ? sizeField(fields, 'referencedBytes') : 0,
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
  const layout = LAYOUTS.find((known) => known === fields.layout)
  if (!layout) throw new BarmanFilesError(`the manifest has the unknown layout "${String(fields.layout)}"`)
  return {line: 'header', server: stringField(fields, 'server'), backupId: stringField(fields, 'backupId'), layout}
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

/** How the object is encoded: not at all, or in zstd frames. */
function encoding(fields: Fields): {zstd?: ZstdFrames} {
  if (!('encoding' in fields)) return {}
  if (fields.encoding !== 'zstd') throw new BarmanFilesError(`the manifest has an object of the unknown encoding "${String(fields.encoding)}"`)
  const frameBytes = sizeField(fields, 'frameBytes')
  const offsets = fields.frames
  const isAscending = Array.isArray(offsets) && offsets[0] === 0 && frameBytes > 0
    && offsets.every((offset, index) => Number.isSafeInteger(offset) && (index === 0 || offset > offsets[index - 1]))
  if (!isAscending) throw new BarmanFilesError('the manifest has an object with wrong frames')
  return {zstd: {frameBytes, offsets: offsets as number[]}}
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

import {createHash} from 'node:crypto'
import type {ObjectKey} from '../store/object-store.ts'
import {backupPathBytes, backupPathText, type BackupPath} from './backup-path.ts'

/** Where one Barman server lives in the bucket. */
export interface ArchiveRoot {
  /** Prefix of the configured `s3://bucket/prefix`, without leading or closing `/`; may be empty. */
  readonly prefix: string
  /** The Barman server's name, as Barman spells it. */
  readonly server: string
}

/** What one key below the server's prefix is. */
export type ArchiveKeyKind =
  | {readonly type: 'identity'}
  | {readonly type: 'record' | 'started' | 'manifest' | 'deleted' | 'pin' | 'drill' | 'verify'; readonly backupId: string}
  | {readonly type: 'backup.info' | 'keep'; readonly backupId: string; readonly place: 'meta' | 'base'}
  | {readonly type: 'data'; readonly backupId: string}
  | {readonly type: 'wal'; readonly relativePath: string}
  | {readonly type: 'other'}

/** Longest key that every store takes (one real store's limit: 479 bytes; s3-servers: garage). */
const MAX_KEY_BYTES = 479
/** Longest part between two `/` that every store takes: several keep parts as file names. */
const MAX_SEGMENT_BYTES = 255

/** Ends the key of a compressed object, so that a person sees what it is. */
const COMPRESSED_SUFFIX = '.zst'

/** Bytes that some stores mishandle: control characters, backslash, and `%` itself so that no two names meet. */
function mustEscape(byte: number): boolean {
  return byte < 0x20 || byte === 0x7f || byte === 0x5c || byte === 0x25
}

function percent(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
}

/**
 * The key part for a path of raw bytes: the path itself where every store can hold it, else with the bytes it cannot
 * hold as `%NN`. Reversible, so no two paths share a key. One character per byte, as the path.
 */
export function escapeKeyPath(path: BackupPath): string {
  const text = backupPathText(path)
  const isPlainText = text !== undefined && !/[\u0080-\u009f\ufffe\uffff]/.test(text)
  return path.split('/').map((part) => {
    if (part === '.' || part === '..') return part.replaceAll('.', '%2E')
    let escaped = ''
    for (let index = 0; index < part.length; index++) {
      const byte = part.charCodeAt(index)
      escaped += mustEscape(byte) || (!isPlainText && byte >= 0x80) ? percent(byte) : part[index]
    }
    return escaped
  }).join('/')
}

/** The form for a path whose escaped key would be too long: its digest. `%long` is no escape, so nothing else has it. */
function digestKeyPath(path: BackupPath): string {
  return `%long/${createHash('sha256').update(backupPathBytes(path)).digest('hex')}`
}

function toKeyText(escaped: string): string {
  // Escaped text still holds one character per byte for valid UTF-8 above 0x7f.
  return Buffer.from(escaped, 'latin1').toString('utf8')
}

function escapeName(name: string): string {
  return toKeyText(escapeKeyPath(Buffer.from(name, 'utf8').toString('latin1') as BackupPath).replaceAll('/', '%2F'))
}

/** All keys of one server's archive (design: archive format, version 1). Keys of two servers never meet. */
export class ArchiveKeys {
  /** Ends in `/`. */
  readonly serverPrefix: string

  constructor(root: ArchiveRoot) {
    this.serverPrefix = `${root.prefix === '' ? '' : `${root.prefix}/`}${escapeName(root.server)}/`
  }

  #key(relative: string): ObjectKey {
    return `${this.serverPrefix}${relative}` as ObjectKey
  }

  get identity(): ObjectKey {
    return this.#key('identity.json')
  }

  /** Ends in `/`. */
  get walsPrefix(): string {
    return `${this.serverPrefix}wals/`
  }

  get recordsPrefix(): string {
    return `${this.serverPrefix}barmans3/`
  }

  get basePrefix(): string {
    return `${this.serverPrefix}base/`
  }

  get metaPrefix(): string {
    return `${this.serverPrefix}meta/`
  }

  /** `relativePath` is Barman's path below `wals/`: `<hash dir>/<wal>` or `<tli>.history`. */
  wal(relativePath: string): ObjectKey {
    return this.#key(`wals/${relativePath}`)
  }

  record(backupId: string): ObjectKey {
    return this.#key(`barmans3/${backupId}.json`)
  }

  started(backupId: string): ObjectKey {
    return this.#key(`barmans3/${backupId}.started.json`)
  }

  manifest(backupId: string): ObjectKey {
    return this.#key(`barmans3/${backupId}.manifest.gz`)
  }

  tombstone(backupId: string): ObjectKey {
    return this.#key(`barmans3/${backupId}.deleted.json`)
  }

  /** `place` is where Barman keeps it: `meta` since 3.13.2, `base` before. */
  backupInfo(backupId: string, place: 'meta' | 'base'): ObjectKey {
    return this.#key(place === 'meta' ? `meta/${backupId}-backup.info` : `base/${backupId}/backup.info`)
  }

  keep(backupId: string, place: 'meta' | 'base'): ObjectKey {
    return this.#key(place === 'meta' ? `meta/${backupId}-keep` : `base/${backupId}/annotations/keep`)
  }

  /** Ends in `/`. */
  dataPrefix(backupId: string): string {
    return `${this.serverPrefix}base/${backupId}/`
  }

  /** The object of one file of a backup in layout mirror. Relative to the server's prefix it is what the manifest records. */
  data(backupId: string, path: BackupPath): ObjectKey {
    return this.#dataKey(backupId, path, toKeyText(escapeKeyPath(path)), '')
  }

  /**
   * The object of one large file in layout compact: under its path, with `.zst` behind it when it is compressed. A real
   * name that ends in `.zst`, and a real `packs` at the top, are escaped, so that nothing is taken for something else.
   */
  compactData(backupId: string, path: BackupPath, {isCompressed}: {isCompressed: boolean}): ObjectKey {
    const escaped = toKeyText(escapeKeyPath(path)).replace(/\.zst(?=\/|$)/g, '%2Ezst').replace(/^packs(?=\/|$)/, '%70acks')
    return this.#dataKey(backupId, path, escaped, isCompressed ? COMPRESSED_SUFFIX : '')
  }

  /** The tar pack of that number, from 1, of a backup in layout compact. */
  pack(backupId: string, number: number): ObjectKey {
    return this.#key(`base/${backupId}/packs/${String(number).padStart(4, '0')}.tar`)
  }

  #dataKey(backupId: string, path: BackupPath, escaped: string, suffix: string): ObjectKey {
    const key = `${this.dataPrefix(backupId)}${escaped}${suffix}`
    const tooLong = Buffer.byteLength(key) > MAX_KEY_BYTES
      || `${escaped}${suffix}`.split('/').some((part) => Buffer.byteLength(part) > MAX_SEGMENT_BYTES)
    return (tooLong ? `${this.dataPrefix(backupId)}${digestKeyPath(path)}${suffix}` : key) as ObjectKey
  }

  /** The key without the server's prefix, as records and manifests hold it, so that a bucket can be moved. */
  relative(key: string): string {
    return key.startsWith(this.serverPrefix) ? key.slice(this.serverPrefix.length) : key
  }

  /** The opposite of `relative`. */
  absolute(relative: string): ObjectKey {
    return this.#key(relative)
  }

  /** What a listed key is. */
  classify(key: string): ArchiveKeyKind {
    return classifyRelativeKey(this.relative(key))
  }
}

const RECORD_FILES = {
  '.json': 'record',
  '.started.json': 'started',
  '.manifest.gz': 'manifest',
  '.deleted.json': 'deleted',
  '.keep.json': 'pin',
  '.drill.json': 'drill',
  '.verify.json': 'verify',
} as const

/** What a key is, given relative to the server's prefix. */
export function classifyRelativeKey(relative: string): ArchiveKeyKind {
  if (relative === 'identity.json') return {type: 'identity'}
  const record = /^barmans3\/(\d{8}T\d{6})(\.[a-z.]+)$/.exec(relative)
  if (record?.[1] && record[2] && record[2] in RECORD_FILES) {
    return {type: RECORD_FILES[record[2] as keyof typeof RECORD_FILES], backupId: record[1]}
  }
  const meta = /^meta\/(\d{8}T\d{6})-(backup\.info|keep)$/.exec(relative)
  if (meta?.[1] && meta[2]) return {type: meta[2] as 'backup.info' | 'keep', backupId: meta[1], place: 'meta'}
  const base = /^base\/(\d{8}T\d{6})\/(.+)$/s.exec(relative)
  if (base?.[1] && base[2]) {
    if (base[2] === 'backup.info') return {type: 'backup.info', backupId: base[1], place: 'base'}
    if (base[2] === 'annotations/keep') return {type: 'keep', backupId: base[1], place: 'base'}
    return {type: 'data', backupId: base[1]}
  }
  if (relative.startsWith('wals/')) return {type: 'wal', relativePath: relative.slice('wals/'.length)}
  return {type: 'other'}
}

import {createHash} from 'node:crypto'
import {BarmanFilesError} from '../errors.ts'

/** One file as a backup_manifest names it. */
export interface ManifestFile {
  /** Relative to the data directory, one character per byte; a tablespace's files are below `pg_tblspc/<oid>/`. */
  readonly path: string
  readonly sizeBytes: number
  readonly checksum: ManifestFileChecksum | undefined
}

export interface ManifestFileChecksum {
  /** PostgreSQL's name in upper case: `CRC32C`, `SHA224`, `SHA256`, `SHA384`, `SHA512`. */
  readonly algorithm: string
  /** Hex digits in lower case; those of a CRC32C are its bytes little-endian (pg: pg_checksum_final). */
  readonly hex: string
}

/** An entry has a path of at most 1,024 bytes (pg: MAXPGPATH), six characters each at worst, and some fixed words. */
const MAX_TOKEN_CHARACTERS = 64 * 1024

const HEAD_TEXT = '{"PostgreSQL-Backup-Manifest-Version":'
const HEAD = /[ \t\r\n]*\{[ \t\r\n]*"PostgreSQL-Backup-Manifest-Version"[ \t\r\n]*:[ \t\r\n]*([^ \t\r\n,{}[\]]+)[ \t\r\n]*,/y
const FIELD = /([ \t\r\n]*)"([^"\\]*)"[ \t\r\n]*:/y
const SCALAR = /[ \t\r\n]*("(?:[^"\\]|\\.)*"|[^ \t\r\n,"{}[\]]+)[ \t\r\n]*,/y
const ARRAY_BEGIN = /[ \t\r\n]*\[/y
const EMPTY_ARRAY_END = /[ \t\r\n]*\]/y
/** An object without objects or arrays in it, and what follows it. Each character fits one place only: no backtracking. */
const ENTRY = /[ \t\r\n]*(\{[^"{}[\]]*(?:"[^"\\]*(?:\\.[^"\\]*)*"[^"{}[\]]*)*\})[ \t\r\n]*([,\]])/y
const COMMA = /[ \t\r\n]*,/y
const TAIL = /^[ \t]*"([0-9a-fA-F]{64})"[ \t\r]*\}[ \t\r]*\n$/

/** Which part of the document comes next. */
type Expected = 'head' | 'field' | 'value' | 'first entry' | 'entry' | 'comma' | 'tail'

/**
 * Reads a backup_manifest piece by piece: versions 1 (PostgreSQL 13 to 16, Barman's own) and 2 (from 17 on), in any
 * JSON spelling, every file handed to `onFile` in order. What stands in a document that is not whole has been handed
 * over all the same: believe it only after `end()` has returned.
 *
 * The rules are PostgreSQL's (pg: parse_manifest.c): the version comes first, Manifest-Checksum last, on the last line,
 * which ends with a line feed; it is the SHA-256 of everything before that line. Unlike there, fields that are not known
 * are passed over.
 */
export class BackupManifestParser {
  readonly #filePath: string
  readonly #onFile: (file: ManifestFile) => void
  readonly #digest = createHash('sha256')
  #expected: Expected = 'head'
  /** Bytes not used yet, as latin1, so that no character is cut in two. */
  #text = ''
  #at = 0
  /** Bytes before `#text`. */
  #usedBytes = 0
  #field = ''
  #hasFiles = false
  #systemIdentifier: string | undefined

  /** `filePath` is for error messages only. */
  constructor(filePath: string, onFile: (file: ManifestFile) => void) {
    this.#filePath = filePath
    this.#onFile = onFile
  }

  /** Takes the next bytes. Throws BarmanFilesError as soon as they cannot belong to a manifest it understands. */
  push(chunk: Buffer): void {
    this.#text += chunk.toString('latin1')
    while (this.#step());
    if (this.#text.length - this.#at > MAX_TOKEN_CHARACTERS) throw this.#notWhole()
    if (this.#expected !== 'tail') this.#digest.update(this.#text.slice(0, this.#at), 'latin1')
    this.#usedBytes += this.#at
    this.#text = this.#text.slice(this.#at)
    this.#at = 0
  }

  /** To be called after the last bytes. Throws BarmanFilesError when the document is not whole or fails its checksum. */
  end(): {readonly systemIdentifier: string | undefined} {
    if (this.#expected === 'head' && !isBeginOfHead(this.#text)) throw this.#foreign()
    const expected = this.#expected === 'tail' ? TAIL.exec(this.#text)?.[1] : undefined
    if (expected === undefined || !this.#hasFiles) throw this.#notWhole()
    const actual = this.#digest.digest('hex')
    if (actual !== expected.toLowerCase()) {
      const reason = `its SHA-256 is ${actual}, its Manifest-Checksum says ${expected}`
      throw new BarmanFilesError(`${this.#filePath} was changed or damaged after it was written: ${reason}`, {hint: DAMAGE_HINT})
    }
    return {systemIdentifier: this.#systemIdentifier}
  }

  /** Uses up one token; false when what is there does not suffice. */
  #step(): boolean {
    switch (this.#expected) {
      case 'head': return this.#head()
      case 'field': return this.#fieldName()
      case 'value': return this.#value()
      case 'first entry':
        if (this.#match(EMPTY_ARRAY_END) === undefined) return this.#entry()
        this.#expected = 'comma'
        return true
      case 'entry': return this.#entry()
      case 'comma':
        if (this.#match(COMMA) === undefined) return false
        this.#expected = 'field'
        return true
      case 'tail': return false
    }
  }

  #match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at
    const match = pattern.exec(this.#text)
    if (match === null) return undefined
    this.#at = pattern.lastIndex
    return match
  }

  #head(): boolean {
    const version = this.#match(HEAD)?.[1]
    if (version === undefined) {
      if (!isBeginOfHead(this.#text)) throw this.#foreign()
      return false
    }
    if (version !== '1' && version !== '2') {
      throw new BarmanFilesError(`${this.#filePath} is a backup_manifest of version ${version}, and only 1 and 2 are known`, {
        hint: 'a newer barmans3 may know it',
      })
    }
    this.#expected = 'field'
    return true
  }

  #fieldName(): boolean {
    const begin = this.#at
    const match = this.#match(FIELD)
    if (match === undefined) return false
    const [, space = '', name = ''] = match
    this.#field = name
    this.#expected = 'value'
    if (name !== 'Manifest-Checksum') return true
    // pg: the last line is left out of the checksum. Anything before the field on its line would be, too.
    if (!space.endsWith('\n')) throw this.#notWhole()
    this.#digest.update(this.#text.slice(0, begin + space.length), 'latin1')
    this.#expected = 'tail'
    return true
  }

  #value(): boolean {
    if (this.#match(ARRAY_BEGIN) !== undefined) {
      if (this.#field === 'Files') this.#hasFiles = true
      this.#expected = 'first entry'
      return true
    }
    const scalar = this.#match(SCALAR)?.[1]
    if (scalar === undefined) return false
    if (this.#field === 'Files') throw this.#notWhole()
    if (this.#field === 'System-Identifier') {
      // The digits as they stand: a number in JavaScript would lose the last ones.
      if (!/^\d+$/.test(scalar)) throw this.#notWhole()
      this.#systemIdentifier = scalar
    }
    this.#expected = 'field'
    return true
  }

  #entry(): boolean {
    const begin = this.#at
    const match = this.#match(ENTRY)
    if (match === undefined) return false
    const [, text = '', separator] = match
    try {
      if (this.#field === 'Files') this.#onFile(parseFile(text))
      else JSON.parse(text)
    } catch (error: unknown) {
      if (error instanceof BarmanFilesError) throw error
      this.#at = begin
      throw this.#notWhole(error)
    }
    this.#expected = separator === ',' ? 'entry' : 'comma'
    return true
  }

  #foreign(): BarmanFilesError {
    const reason = 'it does not begin with a PostgreSQL-Backup-Manifest-Version'
    return new BarmanFilesError(`${this.#filePath} is no backup_manifest: ${reason}`, {hint: DAMAGE_HINT})
  }

  #notWhole(cause?: unknown): BarmanFilesError {
    const position = (this.#usedBytes + this.#at).toLocaleString('en-US')
    const reason = `it is cut or damaged after ${position} bytes${cause instanceof EntryFault ? ` (${cause.message})` : ''}`
    return new BarmanFilesError(`${this.#filePath} is no whole backup_manifest: ${reason}`, {hint: DAMAGE_HINT, cause})
  }
}

const DAMAGE_HINT = 'run again if Barman is writing it right now; else the backup is damaged on the Barman host: '
  + 'look with pg_verifybackup, and take a new one'

/** What is wrong with one entry, in words. */
class EntryFault extends Error {}

/** Whether a manifest can begin like this, cut or not. */
function isBeginOfHead(text: string): boolean {
  const packed = text.slice(0, MAX_TOKEN_CHARACTERS).replace(/[ \t\r\n]+/g, '')
  return HEAD_TEXT.startsWith(packed.slice(0, HEAD_TEXT.length))
}

/** pg: json_manifest_finalize_file. */
function parseFile(text: string): ManifestFile {
  // Bytes above 127 stand for themselves until an escape mixes characters with them.
  const isEscaped = text.includes('\\')
  const value: unknown = JSON.parse(isEscaped ? decodeUtf8(text) : text)
  const fields = value as Readonly<Record<string, unknown>>
  const sizeBytes = fields['Size']
  if (typeof sizeBytes !== 'number' || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
    throw new EntryFault('a file without a size')
  }
  return {path: parsePath(fields, isEscaped), sizeBytes, checksum: parseChecksum(fields)}
}

function parsePath(fields: Readonly<Record<string, unknown>>, isEscaped: boolean): string {
  const path = fields['Path']
  const encoded = fields['Encoded-Path']
  if (typeof path === 'string' && encoded === undefined && path !== '') return isEscaped ? encodeName(path) : path
  if (typeof encoded === 'string' && path === undefined && /^(?:[0-9a-fA-F]{2})+$/.test(encoded)) {
    return Buffer.from(encoded, 'hex').toString('latin1')
  }
  throw new EntryFault('a file without a path')
}

function parseChecksum(fields: Readonly<Record<string, unknown>>): ManifestFileChecksum | undefined {
  const algorithm = fields['Checksum-Algorithm']
  const checksum = fields['Checksum']
  if (algorithm === undefined && checksum === undefined) return undefined
  if (typeof algorithm !== 'string') throw new EntryFault('a checksum of no kind')
  const name = algorithm.toUpperCase()
  if (name === 'NONE') return undefined
  if (typeof checksum !== 'string' || !isChecksum(name, checksum)) throw new EntryFault(`a ${name} that is none`)
  return {algorithm: name, hex: checksum.toLowerCase()}
}

function isChecksum(algorithm: string, text: string): boolean {
  const digits = {CRC32C: 8, SHA224: 56, SHA256: 64, SHA384: 96, SHA512: 128}[algorithm] ?? text.length
  return text.length === digits && /^(?:[0-9a-fA-F]{2})+$/.test(text)
}

const utf8 = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true})

function decodeUtf8(text: string): string {
  return utf8.decode(Buffer.from(text, 'latin1'))
}

/** The bytes of a name, one character each. Python, thus Barman, writes a byte that is no UTF-8 as a lone U+DC80…U+DCFF. */
function encodeName(name: string): string {
  return name.replace(/[^\u0000-\u007f]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0
    if (code >= 0xdc80 && code <= 0xdcff) return String.fromCharCode(code - 0xdc00)
    if (code >= 0xd800 && code <= 0xdfff) throw new EntryFault('a path with half a character')
    return Buffer.from(character, 'utf8').toString('latin1')
  })
}

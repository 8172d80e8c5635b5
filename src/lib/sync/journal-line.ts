/** One line of a journal and the files that hold them: an entry of the manifest and what the file system said of it. */
import {createReadStream} from 'node:fs'
import {access} from 'node:fs/promises'
import type {ManifestEntry, ManifestObject} from '../archive/manifest.ts'
import {formatManifestEntry, formatManifestObject, parseManifestLine} from '../archive/manifest-line.ts'
import {LineFile, splitLines} from '../local/line-file.ts'
import type {LocalStat} from './local-stat.ts'

/** So many lines may be lost when the process is killed: their files are sent again. */
const UNFLUSHED_LINES = 16

/** Where an entry of layout compact is stored: in a pack, or in an object of its own or of an earlier backup. */
export interface StoredIn {
  /** Number of the pack. */
  readonly pack?: number
  readonly object?: ManifestObject
  /** The backup through whose manifest an earlier backup's object is referred to. */
  readonly voucher?: string
}

/** An entry of the backup's tree, and its file as it was when it was sent. */
export interface JournalLine {
  readonly entry: ManifestEntry
  readonly local: LocalStat
  /** Left out where the entry says it all: layout mirror, special files. */
  readonly stored?: StoredIn
}

/** The object that holds a file of its own: as noted, or, stored as it is, what the entry says. Undefined for what is in a pack. */
export function objectOfLine({entry, stored}: JournalLine): ManifestObject | undefined {
  if (stored?.object) return stored.object
  if (entry.type !== 'file' || stored?.pack !== undefined) return undefined
  return {key: entry.object, sizeBytes: entry.sizeBytes, crc32c: entry.crc32c, sha256: entry.sha256}
}

/** What a journal is bound to; a journal of anything else is not used. Compared as a whole. */
export type JournalBinding = Readonly<Record<string, string | number | undefined>>

/** The lines of a journal in their order; none when it is missing or bound to something else. A torn last line is left out. */
export async function* readJournal(path: string, binding: JournalBinding): AsyncGenerator<JournalLine, void, undefined> {
  for await (const text of readTexts(path, binding)) {
    const line = parseLine(text)
    if (!line) return
    yield line
  }
}

/** The entries of a journal as they stand in a manifest: not parsed, since they were written as that. */
export async function* readEntryLines(path: string, binding: JournalBinding): AsyncGenerator<string, void, undefined> {
  for await (const text of readTexts(path, binding)) yield `${text.slice(0, text.indexOf('\t'))}\n`
}

/** The objects that hold one file each. Lines of what lies in packs are passed over without parsing. */
export async function* readObjects(path: string, binding: JournalBinding): AsyncGenerator<ManifestObject, void, undefined> {
  for await (const text of readTexts(path, binding)) {
    if (/\t\d+\t\t\t[^\t]*$/.test(text)) continue
    const line = parseLine(text)
    if (!line) return
    const object = objectOfLine(line)
    if (object) yield object
  }
}

async function* readTexts(path: string, binding: JournalBinding): AsyncGenerator<string, void, undefined> {
  if (!(await exists(path))) return
  const input = createReadStream(path, {encoding: 'latin1', highWaterMark: 256 * 1024})
  let isFirst = true
  try {
    for await (const text of splitLines(input as AsyncIterable<string>, {isTornLineKept: false})) {
      if (!isFirst) yield text
      else if (text !== formatBinding(binding)) return
      isFirst = false
    }
  } finally {
    input.destroy()
  }
}

/** Writes lines under their binding so that a process that is killed loses but a few. */
export class JournalFile {
  readonly #file: LineFile
  #unflushed = 0

  private constructor(file: LineFile) {
    this.#file = file
  }

  /** Makes or empties the file. */
  static async create(path: string, binding: JournalBinding): Promise<JournalFile> {
    const file = await LineFile.create(path)
    await file.write(`${formatBinding(binding)}\n`)
    return new JournalFile(file)
  }

  async add(line: JournalLine): Promise<void> {
    await this.#file.write(formatLine(line))
    if (++this.#unflushed >= UNFLUSHED_LINES) await this.flush()
  }

  async flush(): Promise<void> {
    this.#unflushed = 0
    await this.#file.flush()
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}

/** Whether there is a file. */
export async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch {
    return false
  }
}

/** The first line of every file of a journal. */
export function formatBinding(binding: JournalBinding): string {
  return asAscii(JSON.stringify({format: 'barmans3-journal', version: 1, ...binding}))
}

/** JSON text as ASCII, so that one character is one byte whatever the names hold. */
function asAscii(json: string): string {
  return json.replace(/[\u007f-\uffff]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function formatLine({entry, local, stored}: JournalLine): string {
  const numbers = [local.device, local.inode, local.sizeBytes, local.mtimeNs, local.ctimeNs, local.linkCount].join(',')
  // The closing `;` shows that the last number is whole, should the line be cut there.
  return `${asAscii(formatManifestEntry(entry).trimEnd())}\t${formatStored(stored)}${numbers};\n`
}

function formatStored(stored: StoredIn | undefined): string {
  if (!stored) return ''
  const {pack, object, voucher} = stored
  return `${pack ?? ''}\t${voucher ?? ''}\t${object ? asAscii(formatManifestObject(object).trimEnd()) : ''}\t`
}

function parseLine(text: string): JournalLine | undefined {
  const columns = text.split('\t')
  const numbers = columns.at(-1)?.slice(0, -1).split(',') ?? []
  if (!text.endsWith(';') || numbers.length !== 6 || !numbers.every((number) => /^-?\d+$/.test(number))) return undefined
  if (columns.length !== 2 && columns.length !== 5) return undefined
  try {
    const line = parseManifestLine(columns[0]!)
    if (line.line !== 'entry') return undefined
    const [device = '0', inode = '0', sizeBytes = '0', mtimeNs = '0', ctimeNs = '0', linkCount = '0'] = numbers
    const local = {
      device: BigInt(device), inode: BigInt(inode), sizeBytes: Number(sizeBytes), mtimeNs: BigInt(mtimeNs),
      ctimeNs: BigInt(ctimeNs), linkCount: Number(linkCount),
    }
    return columns.length === 2 ? {entry: line.entry, local} : {entry: line.entry, local, stored: parseStored(columns)}
  } catch {
    return undefined
  }
}

/** @throws when it is none */
function parseStored([, pack = '', voucher = '', object = '']: readonly string[]): StoredIn {
  const line = object === '' ? undefined : parseManifestLine(object)
  if (line && line.line !== 'object') throw new TypeError('no object')
  return {
    ...(pack === '' ? {} : {pack: Number(pack)}),
    ...(voucher === '' ? {} : {voucher}),
    ...(line ? {object: line.object} : {}),
  }
}

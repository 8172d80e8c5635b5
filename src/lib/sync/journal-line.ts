/** One line of a journal and the files that hold them: an entry of the manifest and what the file system said of it. */
import {createReadStream} from 'node:fs'
import {access} from 'node:fs/promises'
import {createInterface} from 'node:readline'
import {formatManifestEntry, parseManifestLine, type ManifestEntry} from '../archive/manifest.ts'
import {LineFile} from '../local/line-file.ts'
import type {LocalStat} from './local-stat.ts'

/** So many lines may be lost when the process is killed: their files are sent again. */
export const UNFLUSHED_LINES = 16

/** An entry of the backup's tree, and its file as it was when it was sent. */
export interface JournalLine {
  readonly entry: ManifestEntry
  readonly local: LocalStat
}

/** What a journal is bound to; a journal of anything else is not used. Compared as a whole. */
export type JournalBinding = Readonly<Record<string, string | number | undefined>>

/** The lines of a journal in their order; none when it is missing or bound to something else. A torn last line is left out. */
export async function* readJournal(path: string, binding: JournalBinding): AsyncGenerator<JournalLine, void, undefined> {
  if (!(await exists(path))) return
  const input = createReadStream(path, {encoding: 'latin1'})
  try {
    let isFirst = true
    for await (const line of createInterface({input, crlfDelay: Infinity})) {
      if (isFirst) {
        isFirst = false
        if (line !== formatBinding(binding)) return
        continue
      }
      const parsed = parseLine(line)
      if (!parsed) return
      yield parsed
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

function formatBinding(binding: JournalBinding): string {
  return asAscii(JSON.stringify({format: 'barmans3-journal', version: 1, ...binding}))
}

/** JSON text as ASCII, so that one character is one byte whatever the names hold. */
function asAscii(json: string): string {
  return json.replace(/[\u007f-\uffff]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function formatLine({entry, local}: JournalLine): string {
  const numbers = [local.device, local.inode, local.sizeBytes, local.mtimeNs, local.ctimeNs, local.linkCount].join(',')
  // The closing `;` shows that the last number is whole, should the line be cut there.
  return `${asAscii(formatManifestEntry(entry).trimEnd())}\t${numbers};\n`
}

function parseLine(text: string): JournalLine | undefined {
  const tab = text.lastIndexOf('\t')
  const numbers = text.slice(tab + 1, -1).split(',')
  if (tab < 0 || !text.endsWith(';') || numbers.length !== 6 || !numbers.every((number) => /^-?\d+$/.test(number))) return undefined
  try {
    const line = parseManifestLine(text.slice(0, tab))
    if (line.line !== 'entry') return undefined
    const [device = '0', inode = '0', sizeBytes = '0', mtimeNs = '0', ctimeNs = '0', linkCount = '0'] = numbers
    return {
      entry: line.entry,
      local: {
        device: BigInt(device), inode: BigInt(inode), sizeBytes: Number(sizeBytes), mtimeNs: BigInt(mtimeNs),
        ctimeNs: BigInt(ctimeNs), linkCount: Number(linkCount),
      },
    }
  } catch {
    return undefined
  }
}

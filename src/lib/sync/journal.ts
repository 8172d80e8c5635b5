/**
 * The journal of one backup being copied: JSON lines in the state directory, one per entry of the tree in the order of
 * path bytes, each a manifest entry with what the file system said of it. It is three things at once: what a run that is
 * started again need not send again, what the end check compares the tree with, and what the manifest is made from, so
 * that a backup of a million files never lies in memory.
 */
import {createReadStream} from 'node:fs'
import {access, rename, rm} from 'node:fs/promises'
import {join} from 'node:path'
import {createInterface} from 'node:readline'
import {formatManifestEntry, parseManifestLine, type ManifestEntry} from '../archive/manifest.ts'
import {ensureDirectory, localStateErrorOf} from '../local/durable-file.ts'
import {LineFile} from '../local/line-file.ts'
import {fileNameForServer} from '../local/server-file-name.ts'
import type {LocalStat} from './local-stat.ts'

/** So many lines may be lost when the process is killed: their files are sent again. */
const UNFLUSHED_LINES = 16

export interface JournalLine {
  readonly entry: ManifestEntry
  readonly local: LocalStat
}

/** What a journal is bound to; a journal of anything else is not used. Compared as a whole. */
export type JournalBinding = Readonly<Record<string, string | number | undefined>>

/** Directory of the journals of one server. */
export function journalDirectory(stateDirectory: string, server: string): string {
  return join(stateDirectory, `${fileNameForServer(server)}.journal`)
}

function journalPath(directory: string, backupId: string): string {
  return join(directory, `${backupId}.jsonl`)
}

/**
 * Removes the journal of a backup that is finished or gone.
 * @throws LocalStateError
 */
export async function removeJournal(directory: string, backupId: string): Promise<void> {
  try {
    for (const path of [journalPath, newPath, mergePath]) await rm(path(directory, backupId), {force: true})
  } catch (error) {
    throw localStateErrorOf(error, `cannot remove the journal of ${backupId} in ${directory}`)
  }
}

function mergePath(directory: string, backupId: string): string {
  return `${journalPath(directory, backupId)}.merge`
}

function newPath(directory: string, backupId: string): string {
  return `${journalPath(directory, backupId)}.new`
}

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

/** Writes a journal anew while the old one is still read; `finish` puts it in the old one's place. */
export class JournalWriter {
  readonly directory: string
  readonly backupId: string
  readonly binding: JournalBinding
  readonly #file: LineFile
  readonly #earlier: Lookahead
  /** Earlier lines that were asked for and of which nothing has been written yet: as many as the walk is ahead. */
  #asked: JournalLine[] = []
  #unflushed = 0

  private constructor(directory: string, backupId: string, binding: JournalBinding, file: LineFile, earlier: Lookahead) {
    this.directory = directory
    this.backupId = backupId
    this.binding = binding
    this.#file = file
    this.#earlier = earlier
  }

  /**
   * Opens the journal of a backup. What an earlier run left is kept and can be asked with `earlierLine`.
   * @throws LocalStateError when the state directory cannot be written
   */
  static async open(directory: string, backupId: string, binding: JournalBinding): Promise<JournalWriter> {
    try {
      await ensureDirectory(directory)
      await mergeLeftOver(directory, backupId, binding)
      const file = await LineFile.create(newPath(directory, backupId))
      await file.write(`${formatBinding(binding)}\n`)
      const earlier = new Lookahead(readJournal(journalPath(directory, backupId), binding))
      return new JournalWriter(directory, backupId, binding, file, earlier)
    } catch (error) {
      throw localStateErrorOf(error, `cannot write the journal of ${backupId} in ${directory}`)
    }
  }

  /** The earlier journal's line for this path, if any. Must be asked in the order of path bytes. */
  async earlierLine(path: string): Promise<JournalLine | undefined> {
    const line = await this.#earlier.at(path)
    if (line) this.#asked.push(line)
    return line
  }

  /** Adds a line. What an earlier run knew of this path and those before it is forgotten. */
  async append(line: JournalLine): Promise<void> {
    const known = this.#asked.findIndex(({entry}) => entry.path > line.entry.path)
    this.#asked = known < 0 ? [] : known > 0 ? this.#asked.slice(known) : this.#asked
    try {
      await this.#file.write(formatLine(line))
      if (++this.#unflushed < UNFLUSHED_LINES) return
      this.#unflushed = 0
      await this.#file.flush()
    } catch (error) {
      throw localStateErrorOf(error, `cannot write the journal of ${this.backupId} in ${this.directory}`)
    }
  }

  /**
   * Ends the journal. With `isWhole` the earlier one is dropped; else what it held behind the last line added is kept, so
   * that nothing that was sent is forgotten.
   */
  async finish({isWhole}: {isWhole: boolean}): Promise<void> {
    try {
      if (!isWhole) {
        for (const line of this.#asked) await this.#file.write(formatLine(line))
        for await (const line of this.#earlier.rest()) await this.#file.write(formatLine(line))
      }
      await this.#file.close()
      await rename(newPath(this.directory, this.backupId), journalPath(this.directory, this.backupId))
    } catch (error) {
      throw localStateErrorOf(error, `cannot write the journal of ${this.backupId} in ${this.directory}`)
    }
  }

  /** The finished journal's lines. */
  read(): AsyncGenerator<JournalLine, void, undefined> {
    return readJournal(journalPath(this.directory, this.backupId), this.binding)
  }
}

/** Reads sorted lines one by one, so that two sorted sequences can be compared without memory. */
class Lookahead {
  readonly #lines: AsyncIterator<JournalLine>
  #next: JournalLine | undefined
  #isDone = false

  constructor(lines: AsyncGenerator<JournalLine, void, undefined>) {
    this.#lines = lines
  }

  async at(path: string): Promise<JournalLine | undefined> {
    for (;;) {
      const next = await this.#peek()
      if (!next || next.entry.path > path) return undefined
      this.#next = undefined
      if (next.entry.path === path) return next
    }
  }

  async* rest(): AsyncGenerator<JournalLine, void, undefined> {
    for (let next = await this.#peek(); next; next = await this.#peek()) {
      this.#next = undefined
      yield next
    }
  }

  async #peek(): Promise<JournalLine | undefined> {
    if (this.#next || this.#isDone) return this.#next
    const result = await this.#lines.next()
    if (result.done) this.#isDone = true
    else this.#next = result.value
    return this.#next
  }
}

/** A run that was killed leaves a new journal beside the old one: what either knows is kept. */
async function mergeLeftOver(directory: string, backupId: string, binding: JournalBinding): Promise<void> {
  const left = newPath(directory, backupId)
  const old = journalPath(directory, backupId)
  if (!(await exists(left))) return
  const merged = mergePath(directory, backupId)
  const file = await LineFile.create(merged)
  await file.write(`${formatBinding(binding)}\n`)
  let last: string | undefined
  for await (const line of readJournal(left, binding)) {
    await file.write(formatLine(line))
    last = line.entry.path
  }
  for await (const line of readJournal(old, binding)) if (last === undefined || line.entry.path > last) await file.write(formatLine(line))
  await file.close()
  await rename(merged, old)
  await rm(left, {force: true})
}

async function exists(path: string): Promise<boolean> {
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

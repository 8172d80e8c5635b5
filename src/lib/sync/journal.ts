/**
 * The journal of one backup being copied: JSON lines in the state directory, one per entry of the tree in the order of
 * path bytes, each a manifest entry with what the file system said of it. It is three things at once: what a run that is
 * started again need not send again, what the end check compares the tree with, and what the manifest is made from, so
 * that a backup of a million files never lies in memory.
 */
import {rename, rm} from 'node:fs/promises'
import {join} from 'node:path'
import type {ManifestObject} from '../archive/manifest.ts'
import {ensureDirectory, localStateErrorOf} from '../local/durable-file.ts'
import {fileNameForServer} from '../local/server-file-name.ts'
import {Queue} from './concurrency.ts'
import {exists, JournalFile, readEntryLines, readJournal, readObjects, type JournalBinding, type JournalLine} from './journal-line.ts'
import {PackNotes, removePackNotes} from './pack-notes.ts'
import {byPath, removeSentNotes, SentNotes} from './sent-notes.ts'

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
    await removeSentNotes(sentPath(directory, backupId))
    await removePackNotes(packsPath(directory, backupId))
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

function sentPath(directory: string, backupId: string): string {
  return `${journalPath(directory, backupId)}.sent`
}

function packsPath(directory: string, backupId: string): string {
  return `${journalPath(directory, backupId)}.packs`
}

/** Writes a journal anew while the old one is still read; `finish` puts it in the old one's place. */
export class JournalWriter {
  readonly directory: string
  readonly backupId: string
  readonly binding: JournalBinding
  /** The packs that are stored. */
  readonly packs: PackNotes
  readonly #file: JournalFile
  readonly #notes: SentNotes
  readonly #earlier: Lookahead
  /** Earlier lines that were asked for and of which nothing has been written yet: as many as the walk is ahead. */
  readonly #asked = new Queue<JournalLine>()

  private constructor(
    directory: string, backupId: string, binding: JournalBinding, {file, earlier, packs}: {file: JournalFile; earlier: Lookahead; packs: PackNotes},
  ) {
    this.directory = directory
    this.packs = packs
    this.backupId = backupId
    this.binding = binding
    this.#file = file
    this.#notes = new SentNotes(sentPath(directory, backupId), binding)
    this.#earlier = earlier
  }

  /** Makes sure that journals can be written, and returns their directory. @throws LocalStateError */
  static async prepare(directory: string): Promise<string> {
    await ensureDirectory(directory)
    return directory
  }

  /**
   * Opens the journal of a backup. What an earlier run left is kept and can be asked with `earlierLine`.
   * @throws LocalStateError when the state directory cannot be written
   */
  static async open(directory: string, backupId: string, binding: JournalBinding): Promise<JournalWriter> {
    try {
      await ensureDirectory(directory)
      await mergeLeftOver(directory, backupId, binding)
      await removeSentNotes(sentPath(directory, backupId))
      const file = await JournalFile.create(newPath(directory, backupId), binding)
      const earlier = new Lookahead(readJournal(journalPath(directory, backupId), binding))
      const packs = await PackNotes.open(packsPath(directory, backupId), binding)
      return new JournalWriter(directory, backupId, binding, {file, earlier, packs})
    } catch (error) {
      throw writeError(error, directory, backupId)
    }
  }

  /** The earlier journal's line for this path, if any. Must be asked in the order of path bytes. */
  async earlierLine(path: string): Promise<JournalLine | undefined> {
    const line = await this.#earlier.at(path)
    if (line) this.#asked.push(line)
    return line
  }

  /**
   * Notes that a file was sent, which `append` adds when all those before it are done. May be called in any order. With
   * `isDear` it is written at once: to send it again would cost more than the writing.
   */
  async noteSent(line: JournalLine, {isDear = false} = {}): Promise<void> {
    try {
      await this.#notes.add(line, {isDear})
    } catch (error) {
      throw writeError(error, this.directory, this.backupId)
    }
  }

  /** Adds a line, in the order of path bytes. What an earlier run knew of this path and those before it is forgotten. */
  async append(line: JournalLine): Promise<void> {
    for (let asked = this.#asked.first(); asked && asked.entry.path <= line.entry.path; asked = this.#asked.first()) this.#asked.shift()
    try {
      await this.#file.add(line)
      this.#notes.settle(line.entry.path)
      if (!this.#notes.isLong) return
      await this.#file.flush()
      await this.#notes.compact()
    } catch (error) {
      throw writeError(error, this.directory, this.backupId)
    }
  }

  /**
   * Ends the journal. With `isWhole` the earlier one is dropped; else what it held behind the last line added is kept, with
   * what was noted since, so that nothing that was sent is forgotten.
   */
  async finish({isWhole}: {isWhole: boolean}): Promise<void> {
    try {
      if (!isWhole) {
        for await (const line of mergeByPath(this.#notes.waiting(), this.#unwritten())) await this.#file.add(line)
      }
      try {
        await this.#file.close()
      } finally {
        await this.#notes.close()
        await this.packs.close()
      }
      await rename(newPath(this.directory, this.backupId), journalPath(this.directory, this.backupId))
      await removeSentNotes(sentPath(this.directory, this.backupId))
    } catch (error) {
      throw writeError(error, this.directory, this.backupId)
    }
  }

  async* #unwritten(): AsyncGenerator<JournalLine, void, undefined> {
    yield* this.#asked
    yield* this.#earlier.rest()
  }

  /** The finished journal's lines. */
  read(): AsyncGenerator<JournalLine, void, undefined> {
    return readJournal(journalPath(this.directory, this.backupId), this.binding)
  }

  /** Their entries as lines of a manifest. */
  entryLines(): AsyncGenerator<string, void, undefined> {
    return readEntryLines(journalPath(this.directory, this.backupId), this.binding)
  }

  /** The objects that hold them: packs first, then those of single files. */
  async* objects(): AsyncGenerator<ManifestObject, void, undefined> {
    for (const {object} of this.packs.list()) yield object
    yield* readObjects(journalPath(this.directory, this.backupId), this.binding)
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

/** A run that was killed leaves a new journal and its notes beside the old one: what any of them knows is kept. */
async function mergeLeftOver(directory: string, backupId: string, binding: JournalBinding): Promise<void> {
  const left = newPath(directory, backupId)
  const old = journalPath(directory, backupId)
  if (!(await exists(left))) return
  const merged = mergePath(directory, backupId)
  const file = await JournalFile.create(merged, binding)
  let last = ''
  for await (const line of readJournal(left, binding)) {
    await file.add(line)
    last = line.entry.path
  }
  const isBehind = ({entry}: JournalLine) => entry.path > last
  // As many as the killed run was ahead, and what it had not compacted yet.
  const sent = new Map<string, JournalLine>()
  for await (const line of readJournal(sentPath(directory, backupId), binding)) if (isBehind(line)) sent.set(line.entry.path, line)
  const noted = [...sent.values()].sort(byPath)
  for await (const line of mergeByPath(noted, readJournal(old, binding))) if (isBehind(line)) await file.add(line)
  await file.close()
  await rename(merged, old)
  await rm(left, {force: true})
}

/** Both in the order of path bytes; of two lines of one path the noted one. */
async function* mergeByPath(
  noted: readonly JournalLine[], others: AsyncIterable<JournalLine>,
): AsyncGenerator<JournalLine, void, undefined> {
  let next = 0
  for await (const line of others) {
    for (; next < noted.length && noted[next]!.entry.path < line.entry.path; next++) yield noted[next]!
    if (noted[next]?.entry.path !== line.entry.path) yield line
  }
  yield* noted.slice(next)
}

function writeError(error: unknown, directory: string, backupId: string): Error {
  return localStateErrorOf(error, `cannot write the journal of ${backupId} in ${directory}`)
}

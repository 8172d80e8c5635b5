import {open, readFile, rename, rm} from 'node:fs/promises'
import {formatManifestObject, parseManifestLine} from '../archive/manifest-line.ts'
import {AppendFile} from '../local/append-file.ts'
import {localStateErrorOf} from '../local/durable-file.ts'
import {exists, formatBinding, type JournalBinding} from './journal-line.ts'
import type {StoredPack} from './pack-writer.ts'

/** The packs of one backup that are in S3 already, on disk beside its journal: few, whatever the number of files. */
export class PackNotes {
  readonly #path: string
  readonly #binding: JournalBinding
  readonly #packs: Map<number, StoredPack>
  readonly #earlier: Set<number>
  /** Bytes of the file that are whole lines. */
  #keepBytes: number
  #file: Promise<AppendFile> | undefined

  private constructor(path: string, binding: JournalBinding, {packs, readBytes}: ReadPacks) {
    this.#path = path
    this.#binding = binding
    this.#packs = packs
    this.#earlier = new Set(packs.keys())
    this.#keepBytes = readBytes
  }

  /** What an earlier run noted; nothing when that was bound to something else. @throws the plain error of the file system */
  static async open(path: string, binding: JournalBinding): Promise<PackNotes> {
    return new PackNotes(path, binding, await readPacks(path, binding))
  }

  get(number: number): StoredPack | undefined {
    return this.#packs.get(number)
  }

  /**
   * Whether this pack was noted when the notes were opened. What an earlier journal says to be in a pack is not in one that
   * has got its number since, because the note of the first was lost in a power cut.
   */
  isEarlier(number: number): boolean {
    return this.#earlier.has(number)
  }

  /** All of them, by number. */
  list(): StoredPack[] {
    return [...this.#packs.values()].sort((left, right) => left.number - right.number)
  }

  /** Notes a pack. @throws LocalStateError */
  async add(pack: StoredPack): Promise<void> {
    this.#packs.set(pack.number, pack)
    try {
      this.#file ??= this.#open()
      const text = formatPack(pack)
      await (await this.#file).append(text)
      this.#keepBytes += text.length
    } catch (error) {
      throw localStateErrorOf(error, `cannot write ${this.#path}`)
    }
  }

  /** Forgets packs that hold what the backup no longer has. @throws LocalStateError */
  async forget(numbers: Iterable<number>): Promise<void> {
    for (const number of numbers) {
      this.#packs.delete(number)
      this.#earlier.delete(number)
    }
    try {
      await this.close()
      const next = `${this.#path}.next`
      const text = [`${formatBinding(this.#binding)}\n`, ...this.list().map(formatPack)].join('')
      const file = await open(next, 'w', 0o640)
      await file.appendFile(text)
      await file.close()
      await rename(next, this.#path)
      this.#keepBytes = text.length
    } catch (error) {
      throw localStateErrorOf(error, `cannot write ${this.#path}`)
    }
  }

  async close(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    await (await file)?.close()
  }

  async #open(): Promise<AppendFile> {
    const isNew = this.#keepBytes === 0
    const file = await AppendFile.open(this.#path, {keepBytes: this.#keepBytes})
    if (!isNew) return file
    const head = `${formatBinding(this.#binding)}\n`
    await file.append(head)
    this.#keepBytes += head.length
    return file
  }
}

/** Removes what lies at this path. */
export async function removePackNotes(path: string): Promise<void> {
  for (const each of [path, `${path}.next`]) await rm(each, {force: true})
}

interface ReadPacks {
  readonly packs: Map<number, StoredPack>
  /** Bytes of the file that could be understood. */
  readonly readBytes: number
}

async function readPacks(path: string, binding: JournalBinding): Promise<ReadPacks> {
  const packs = new Map<number, StoredPack>()
  if (!(await exists(path))) return {packs, readBytes: 0}
  // All ASCII, and a line for 16 MiB of small files.
  const [head, ...lines] = (await readFile(path, 'latin1')).split('\n').slice(0, -1)
  if (head !== formatBinding(binding)) return {packs, readBytes: 0}
  let readBytes = head.length + 1
  for (const line of lines) {
    const pack = parsePack(line)
    if (!pack) break
    packs.set(pack.number, pack)
    readBytes += line.length + 1
  }
  return {packs, readBytes}
}

function formatPack({number, members, object}: StoredPack): string {
  return `${number}\t${members}\t${formatManifestObject(object).trimEnd()};\n`
}

function parsePack(line: string): StoredPack | undefined {
  const [, number, members, object] = /^(\d+)\t(\d+)\t(.*);$/.exec(line) ?? []
  if (object === undefined) return undefined
  try {
    const parsed = parseManifestLine(object)
    return parsed.line === 'object' ? {number: Number(number), members: Number(members), object: parsed.object} : undefined
  } catch {
    return undefined
  }
}

import {createReadStream} from 'node:fs'
import {open, rename, rm} from 'node:fs/promises'
import {createInterface} from 'node:readline'
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
  #file: Promise<AppendFile> | undefined

  private constructor(path: string, binding: JournalBinding, packs: Map<number, StoredPack>) {
    this.#path = path
    this.#binding = binding
    this.#packs = packs
  }

  /** What an earlier run noted; nothing when that was bound to something else. @throws the plain error of the file system */
  static async open(path: string, binding: JournalBinding): Promise<PackNotes> {
    return new PackNotes(path, binding, await readPacks(path, binding))
  }

  get(number: number): StoredPack | undefined {
    return this.#packs.get(number)
  }

  /** All of them, by number. */
  list(): StoredPack[] {
    return [...this.#packs.values()].sort((left, right) => left.number - right.number)
  }

  /** Notes a pack. @throws LocalStateError */
  async add(pack: StoredPack): Promise<void> {
    this.#packs.set(pack.number, pack)
    try {
      this.#file ??= this.#open(this.#packs.size === 1)
      await (await this.#file).append(formatPack(pack))
    } catch (error) {
      throw localStateErrorOf(error, `cannot write ${this.#path}`)
    }
  }

  /** Forgets packs that hold what the backup no longer has. @throws LocalStateError */
  async forget(numbers: Iterable<number>): Promise<void> {
    for (const number of numbers) this.#packs.delete(number)
    try {
      await this.close()
      const next = `${this.#path}.next`
      const file = await open(next, 'w', 0o640)
      await file.appendFile([`${formatBinding(this.#binding)}\n`, ...this.list().map(formatPack)].join(''))
      await file.close()
      await rename(next, this.#path)
    } catch (error) {
      throw localStateErrorOf(error, `cannot write ${this.#path}`)
    }
  }

  async close(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    await (await file)?.close()
  }

  async #open(isNew: boolean): Promise<AppendFile> {
    const file = await AppendFile.open(this.#path, {isNew})
    if (isNew) await file.append(`${formatBinding(this.#binding)}\n`)
    return file
  }
}

/** Removes what lies at this path. */
export async function removePackNotes(path: string): Promise<void> {
  for (const each of [path, `${path}.next`]) await rm(each, {force: true})
}

async function readPacks(path: string, binding: JournalBinding): Promise<Map<number, StoredPack>> {
  const packs = new Map<number, StoredPack>()
  if (!(await exists(path))) return packs
  const input = createReadStream(path, {encoding: 'latin1'})
  try {
    let isFirst = true
    for await (const line of createInterface({input, crlfDelay: Infinity})) {
      if (isFirst && line !== formatBinding(binding)) return packs
      const pack = isFirst ? undefined : parsePack(line)
      if (!isFirst && !pack) return packs
      isFirst = false
      if (pack) packs.set(pack.number, pack)
    }
  } finally {
    input.destroy()
  }
  return packs
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

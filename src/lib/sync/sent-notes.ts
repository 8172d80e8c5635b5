import {rename, rm} from 'node:fs/promises'
import {JournalFile, type JournalBinding, type JournalLine} from './journal-line.ts'

/** Beyond so many lines, most of them of no use any more, the file is written anew. */
const MAX_LINES = 8192
/** What the journal does not have by then is written here. */
const PATIENCE_MS = 100

/**
 * Lines of files that are sent while one before them in path order is still on its way: the journal cannot have them yet,
 * but a run that follows a killed one must not send them again. At most as many as the copy is ahead, in no order.
 */
export class SentNotes {
  readonly #path: string
  readonly #binding: JournalBinding
  readonly #waiting = new Map<string, JournalLine>()
  #fresh: JournalLine[] = []
  #timer: NodeJS.Timeout | undefined
  #failure: {error: unknown} | undefined
  #file: JournalFile | undefined
  #lineCount = 0
  #turn: Promise<void> = Promise.resolve()

  constructor(path: string, binding: JournalBinding) {
    this.#path = path
    this.#binding = binding
  }

  /**
   * Notes a line. It is written only if the journal does not have it soon, so that copies in order cost nothing; with
   * `isDear` at once.
   */
  async add(line: JournalLine, {isDear = false} = {}): Promise<void> {
    if (this.#failure) throw this.#failure.error
    this.#waiting.set(line.entry.path, line)
    this.#fresh.push(line)
    if (isDear) {
      await this.#writeFresh()
      return
    }
    this.#timer ??= setTimeout(() => {
      this.#writeFresh().catch((error: unknown) => {
        this.#failure ??= {error}
      })
    }, PATIENCE_MS).unref()
  }

  async #writeFresh(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const lines = this.#fresh.filter(({entry}) => this.#waiting.has(entry.path))
    this.#fresh = []
    if (lines.length > 0) await this.#inTurn(async () => await this.#write(lines))
  }

  /** The journal has the line of this path. */
  settle(path: string): void {
    this.#waiting.delete(path)
  }

  /** Whether the file holds so much that is of no use any more that it should be compacted, once the journal is on disk. */
  get isLong(): boolean {
    return this.#lineCount > MAX_LINES && this.#lineCount > 2 * this.#waiting.size
  }

  async compact(): Promise<void> {
    await this.#inTurn(async () => {
      const old = this.#file
      const path = `${this.#path}.next`
      this.#file = await JournalFile.create(path, this.#binding)
      this.#lineCount = 0
      await this.#write([...this.#waiting.values()])
      await rename(path, this.#path)
      await old?.close()
    })
  }

  /** What was noted and the journal does not have, in the order of path bytes. */
  waiting(): JournalLine[] {
    return [...this.#waiting.values()].sort(byPath)
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer)
    await this.#inTurn(async () => await this.#file?.close())
  }

  async #write(lines: readonly JournalLine[]): Promise<void> {
    this.#file ??= await JournalFile.create(this.#path, this.#binding)
    for (const line of lines) await this.#file.add(line)
    await this.#file.flush()
    this.#lineCount += lines.length
  }

  async #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(work)
    this.#turn = turn.catch(() => undefined)
    await turn
  }
}

/** For sorting lines of different paths by path bytes. */
export function byPath(left: JournalLine, right: JournalLine): number {
  return left.entry.path < right.entry.path ? -1 : 1
}

/** Removes what notes of a run that has ended lie at this path. */
export async function removeSentNotes(path: string): Promise<void> {
  for (const each of [path, `${path}.next`]) await rm(each, {force: true})
}

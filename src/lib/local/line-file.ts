import {constants} from 'node:fs'
import {open, type FileHandle} from 'node:fs/promises'

const FLUSH_CHARACTERS = 64 * 1024

/** A text file written line by line with a small buffer; every failure of the disk is thrown where it happens. */
export class LineFile {
  readonly #file: FileHandle
  #pending = ''

  private constructor(file: FileHandle) {
    this.#file = file
  }

  /** Makes or empties the file (mode 0640); never through a symbolic link. */
  static async create(path: string): Promise<LineFile> {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW
    return new LineFile(await open(path, flags, 0o640))
  }

  /** Adds text, which must be ASCII or UTF-8 text with its own line breaks. */
  async write(text: string): Promise<void> {
    this.#pending += text
    if (this.#pending.length >= FLUSH_CHARACTERS) await this.flush()
  }

  /** Hands everything written so far to the operating system. */
  async flush(): Promise<void> {
    const text = this.#pending
    this.#pending = ''
    if (text !== '') await this.#file.appendFile(text)
  }

  async close(): Promise<void> {
    try {
      await this.flush()
    } finally {
      await this.#file.close()
    }
  }
}

/**
 * The lines of a text that comes in pieces.
 * @param isTornLineKept whether what stands behind the last line break is a line, too
 */
export async function* splitLines(chunks: AsyncIterable<string>, {isTornLineKept}: {isTornLineKept: boolean}): AsyncGenerator<string, void, undefined> {
  let rest = ''
  for await (const chunk of chunks) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    yield* lines
  }
  if (isTornLineKept && rest !== '') yield rest
}

import {constants} from 'node:fs'
import {open, type FileHandle} from 'node:fs/promises'

/**
 * A file that lines are added to one by one. A line is with the operating system when `append` resolves, so that a killed
 * process loses none; it reaches the disk soon after, several at a time, without anybody waiting: a flush takes as long as
 * sending some megabytes.
 */
export class AppendFile {
  readonly #file: FileHandle
  #turn: Promise<void> = Promise.resolve()
  #flushing: Promise<void> | undefined
  #isDirty = false
  #failure: {error: unknown} | undefined

  private constructor(file: FileHandle) {
    this.#file = file
  }

  /**
   * Opens the file, or makes it (mode 0640); never through a symbolic link.
   * @param keepBytes what stays of it, 0 to begin anew: what a power cut left behind the last whole line would spoil the
   *   line that comes next
   * @throws the plain error of the file system, as everything here
   */
  static async open(path: string, {keepBytes}: {keepBytes: number}): Promise<AppendFile> {
    const file = await open(path, constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_APPEND | constants.O_CREAT, 0o640)
    try {
      await file.truncate(keepBytes)
    } catch (error) {
      await file.close()
      throw error
    }
    return new AppendFile(file)
  }

  /** Adds text. A flush that has failed since the last call fails this one. */
  async append(text: string): Promise<void> {
    const turn = this.#turn.then(async () => {
      if (this.#failure) throw this.#failure.error
      await this.#file.appendFile(text)
    })
    this.#turn = turn.catch(() => undefined)
    await turn
    this.#isDirty = true
    this.#flushing ??= this.#flush()
  }

  /** Waits until everything is on disk, and closes. */
  async close(): Promise<void> {
    await this.#turn
    while (this.#flushing) await this.#flushing
    await this.#file.close()
    if (this.#failure) throw this.#failure.error
  }

  async #flush(): Promise<void> {
    try {
      while (this.#isDirty) {
        this.#isDirty = false
        await this.#file.datasync()
      }
    } catch (error) {
      this.#failure ??= {error}
    } finally {
      this.#flushing = undefined
    }
  }
}

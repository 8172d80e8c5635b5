import {closeSync, constants, fstatSync, openSync, readSync} from 'node:fs'
import {LocalFileError, localFileError} from './file-errors.ts'
import {compareLocalStat, localStatOf, type LocalStat} from './local-stat.ts'
import {checkUnchanged, readExactly, withOpenFile} from './open-file.ts'

/** A read that takes longer shows a disk that has to be waited for. */
const SLOW_READ_MS = 5
/** So many reads after a slow one are made in the background, several at a time. */
const BACKGROUND_READS = 64

/** Fills memory of the file's size with its content. @throws LocalFileError */
export type FillContent = (target: Buffer) => void

/**
 * Reads files of a few KiB whole. From the page cache that takes less time than a round through the thread pool, so it is
 * done at once, where the content is wanted; where the disk must be waited for (cold disks, network file systems), reads go
 * to the background.
 */
export class SmallFileReader {
  #background = 0
  readonly #now: () => number

  /** @param now milliseconds of a clock that never goes back */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /**
   * Prepares to read a file, which must be as `expected` before and after reading. The content is read by the time the
   * result is called, at the latest.
   * @throws LocalFileError
   */
  async prepare(path: string | Buffer, shownPath: string, expected: LocalStat): Promise<FillContent> {
    if (this.#background > 0) {
      this.#background--
      const content = await readInBackground(path, shownPath, expected)
      return (target) => void content.copy(target)
    }
    return (target) => {
      const begin = this.#now()
      readAtOnce(path, shownPath, {expected, target})
      if (this.#now() - begin > SLOW_READ_MS) this.#background = BACKGROUND_READS
    }
  }
}

async function readInBackground(path: string | Buffer, shownPath: string, expected: LocalStat): Promise<Buffer> {
  return await withOpenFile({path, shownPath, expected}, async (file) => {
    const content = Buffer.allocUnsafe(expected.sizeBytes)
    await readExactly(file, content, 0)
    await checkUnchanged(file)
    return content
  })
}

function readAtOnce(path: string | Buffer, shownPath: string, {expected, target}: {expected: LocalStat; target: Buffer}): void {
  let file: number
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    throw localFileError(error, shownPath)
  }
  try {
    const isAsExpected = () => compareLocalStat(expected, localStatOf(fstatSync(file, {bigint: true}))) !== 'changed'
    if (!isAsExpected()) throw new LocalFileError('changed', shownPath)
    for (let filled = 0; filled < target.length;) {
      const count = readSync(file, target, filled, target.length - filled, filled)
      if (count === 0) throw new LocalFileError('changed', shownPath, {detail: 'it became shorter'})
      filled += count
    }
    if (!isAsExpected()) throw new LocalFileError('changed', shownPath)
  } catch (error) {
    throw localFileError(error, shownPath)
  } finally {
    closeSync(file)
  }
}

import {closeSync, constants, fstatSync, openSync, readSync} from 'node:fs'
import {LocalFileError, localFileError} from './file-errors.ts'
import {compareLocalStat, localStatOf, type LocalStat} from './local-stat.ts'
import {checkUnchanged, readExactly, withOpenFile} from './open-file.ts'

/** A read that takes longer shows a disk that has to be waited for. */
const SLOW_READ_MS = 2
/** So many reads after a slow one are made in the background, several at a time. */
const BACKGROUND_READS = 256

/**
 * Reads files of a few KiB whole. From the page cache that takes less time than a round through the thread pool, so it is
 * done at once; where the disk must be waited for (cold disks, network file systems), reads go to the background.
 */
export class SmallFileReader {
  #background = 0
  readonly #now: () => number

  /** @param now milliseconds of a clock that never goes back */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /**
   * The whole content of a file that must be as `expected` before and after reading.
   * @throws LocalFileError
   */
  async read(path: Buffer, shownPath: string, expected: LocalStat): Promise<{content: Buffer; local: LocalStat}> {
    if (this.#background > 0) {
      this.#background--
      return await readInBackground(path, shownPath, expected)
    }
    const begin = this.#now()
    const read = readAtOnce(path, shownPath, expected)
    if (this.#now() - begin > SLOW_READ_MS) this.#background = BACKGROUND_READS
    return read
  }
}

async function readInBackground(path: Buffer, shownPath: string, expected: LocalStat): Promise<{content: Buffer; local: LocalStat}> {
  return await withOpenFile({path, shownPath, expected}, async (file) => {
    const content = Buffer.allocUnsafe(file.sizeBytes)
    await readExactly(file, content, 0)
    await checkUnchanged(file)
    return {content, local: file.local}
  })
}

function readAtOnce(path: Buffer, shownPath: string, expected: LocalStat): {content: Buffer; local: LocalStat} {
  let file: number
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    throw localFileError(error, shownPath)
  }
  try {
    const stats = fstatSync(file, {bigint: true})
    if (!stats.isFile()) throw new LocalFileError('changed', shownPath, {detail: 'it is no regular file'})
    const local = localStatOf(stats)
    if (compareLocalStat(expected, local) === 'changed') throw new LocalFileError('changed', shownPath)
    const content = Buffer.allocUnsafe(local.sizeBytes)
    for (let filled = 0; filled < content.length;) {
      const count = readSync(file, content, filled, content.length - filled, filled)
      if (count === 0) throw new LocalFileError('changed', shownPath, {detail: 'it became shorter'})
      filled += count
    }
    if (compareLocalStat(local, localStatOf(fstatSync(file, {bigint: true}))) === 'changed') throw new LocalFileError('changed', shownPath)
    return {content, local}
  } catch (error) {
    throw localFileError(error, shownPath)
  } finally {
    closeSync(file)
  }
}

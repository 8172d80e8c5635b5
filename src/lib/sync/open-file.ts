import {constants, type BigIntStats} from 'node:fs'
import {open, type FileHandle} from 'node:fs/promises'
import {combineCrc32c} from '../store/checksum.ts'
import type {BodyPool} from './body-pool.ts'
import {LocalFileError, localFileError} from './file-errors.ts'
import type {HashPool} from './hash-pool.ts'
import {compareLocalStat, localStatOf, type LocalStat} from './local-stat.ts'

/** Which file to read, and what an earlier look said of it. */
export interface FileRequest {
  readonly path: string | Buffer
  /** The path as people see it. */
  readonly shownPath: string
  /** What an earlier look at the file said; anything else now is `changed`. */
  readonly expected?: LocalStat
}

/** What reading a file needs. */
export interface ReadDeps {
  readonly pool: BodyPool
  readonly hashes: HashPool
  /** Bytes that are read at a time. */
  readonly partSizeBytes: number
  readonly signal: AbortSignal
}

/** What a file holds. */
export interface FileContent {
  readonly sizeBytes: number
  readonly crc32c: number
  /** 64 hex digits. */
  readonly sha256: string
}

/** A local file that is open for reading, and must stay as it was when it was opened. */
export interface OpenFile {
  readonly handle: FileHandle
  readonly shownPath: string
  readonly stats: BigIntStats
  readonly sizeBytes: number
  readonly local: LocalStat
}

/**
 * Opens a local file without following links and without waiting (a FIFO cannot hang it), and closes it after `work`.
 * @throws LocalFileError when it vanished, changed or cannot be read
 */
export async function withOpenFile<Result>(request: FileRequest, work: (file: OpenFile) => Promise<Result>): Promise<Result> {
  const {shownPath, expected} = request
  let handle: FileHandle
  try {
    handle = await open(request.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    throw localFileError(error, shownPath)
  }
  try {
    const stats = await handle.stat({bigint: true})
    if (!stats.isFile()) throw new LocalFileError('changed', shownPath, {detail: 'it is no regular file'})
    const local = localStatOf(stats)
    if (expected && compareLocalStat(expected, local) === 'changed') throw new LocalFileError('changed', shownPath)
    return await work({handle, shownPath, stats, sizeBytes: local.sizeBytes, local})
  } finally {
    await handle.close()
  }
}

/**
 * Fills `buffer` from `position` of the file on.
 * @throws LocalFileError when the file ends before, or cannot be read
 */
export async function readExactly({handle, shownPath}: OpenFile, buffer: Buffer, position: number): Promise<void> {
  let filled = 0
  try {
    while (filled < buffer.length) {
      const {bytesRead} = await handle.read(buffer, filled, buffer.length - filled, position + filled)
      if (bytesRead === 0) throw new LocalFileError('changed', shownPath, {detail: 'it became shorter'})
      filled += bytesRead
    }
  } catch (error) {
    throw localFileError(error, shownPath)
  }
}

/**
 * Looks at the file again, after its last byte was read.
 * @throws LocalFileError `changed`
 */
export async function checkUnchanged({handle, shownPath, local}: OpenFile): Promise<void> {
  const after = localStatOf(await handle.stat({bigint: true}))
  if (compareLocalStat(local, after) === 'changed') throw new LocalFileError('changed', shownPath)
}

/** Reads an open file once and returns what it holds. @throws LocalFileError */
export async function digestOpenFile(deps: ReadDeps, file: OpenFile): Promise<FileContent> {
  const {pool, hashes, partSizeBytes, signal} = deps
  const {sizeBytes} = file
  const sha = hashes.begin(sizeBytes)
  let isDone = false
  let sum = 0
  const buffer = await pool.take(Math.max(1, Math.min(sizeBytes, partSizeBytes)), signal)
  try {
    for (let position = 0; position < sizeBytes; position += buffer.length) {
      signal.throwIfAborted()
      const chunk = buffer.subarray(0, Math.min(buffer.length, sizeBytes - position))
      await readExactly(file, chunk, position)
      sum = combineCrc32c(sum, await sha.update(chunk), chunk.length)
    }
    await checkUnchanged(file)
    isDone = true
    return {sizeBytes, crc32c: sum, sha256: await sha.digest()}
  } finally {
    if (!isDone) sha.drop()
    pool.give(buffer)
  }
}

/**
 * Reads one local file and returns what it holds, without sending it.
 * @throws LocalFileError
 */
export async function digestFile(deps: ReadDeps, request: FileRequest): Promise<FileContent & {local: LocalStat}> {
  return await withOpenFile(request, async (file) => ({...(await digestOpenFile(deps, file)), local: file.local}))
}

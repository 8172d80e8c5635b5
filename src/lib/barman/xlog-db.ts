import {constants} from 'node:fs'
import {open, stat, type FileHandle} from 'node:fs/promises'
import path from 'node:path'
import type {BarmanServer} from './server-directories.ts'
import {isMissing, unreadable} from './small-file.ts'
import {parseWalName} from './wal-name.ts'

/** One line of xlog.db: a WAL file Barman has archived. */
export interface XlogDbLine {
  readonly name: string
  /** Bytes on disk, after compression. */
  readonly sizeBytes: number
  /** Seconds since 1970, with fraction. */
  readonly mtimeSeconds: number
  readonly compression: string | undefined
  readonly encryption: string | undefined
}

/** Longer lines cannot be xlog.db's; they are skipped so that a foreign file does not fill the memory. */
const MAX_LINE_CHARACTERS = 4096
const CHUNK_BYTES = 256 * 1024

/**
 * One line of xlog.db (barman: `WalFileInfo.from_xlogdb_line`): name, size and time, then compression (4 fields), then
 * encryption (5 fields), `None` for nothing. Undefined for anything else, as a line cut by a crash.
 */
export function parseXlogDbLine(line: string): XlogDbLine | undefined {
  const parts = line.trim().split(/\s+/)
  const [name = '', size = '', time = '', compression, encryption] = parts
  if (parts.length < 3 || parts.length > 5 || parseWalName(name) === undefined) return undefined
  if (!/^\d+$/.test(size) || !/^\d+(\.\d*)?$/.test(time)) return undefined
  return {
    name,
    sizeBytes: Number(size),
    mtimeSeconds: Number(time),
    compression: compression === 'None' ? undefined : compression,
    encryption: encryption === 'None' ? undefined : encryption,
  }
}

/**
 * The lines of the xlog.db at `filePath` as they come, in bounded memory; none when the file does not exist. Lines that
 * cannot be parsed, and a last one without line end (Barman may be writing it), are left out. A passive node has every
 * name twice, and Barman rewrites the file in place: use it as a hint, never as the list of WAL files. Throws
 * BarmanFilesError when the file cannot be read.
 */
export async function* readXlogDb(filePath: string, options: {signal?: AbortSignal} = {}): AsyncGenerator<XlogDbLine> {
  let file: FileHandle
  try {
    file = await open(filePath, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error: unknown) {
    if (isMissing(error)) return
    throw unreadable(filePath, error)
  }
  try {
    yield* readLines(file, options.signal)
  } catch (error: unknown) {
    if (options.signal?.aborted) throw error
    throw unreadable(filePath, error)
  } finally {
    await file.close()
  }
}

async function* readLines(file: FileHandle, signal: AbortSignal | undefined): AsyncGenerator<XlogDbLine> {
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
  let pending = ''
  for (;;) {
    signal?.throwIfAborted()
    const {bytesRead} = await file.read(chunk, 0, chunk.length)
    if (bytesRead === 0) return
    // Names and numbers are ASCII; latin1 cannot split a character between two chunks.
    const lines = (pending + chunk.toString('latin1', 0, bytesRead)).split('\n')
    pending = lines.pop() ?? ''
    for (const line of lines) {
      const parsed = line.length > MAX_LINE_CHARACTERS ? undefined : parseXlogDbLine(line)
      if (parsed !== undefined) yield parsed
    }
    // Of an endless line only enough is kept to know that it is too long.
    if (pending.length > MAX_LINE_CHARACTERS) pending = pending.slice(0, MAX_LINE_CHARACTERS + 1)
  }
}

/** The WAL names in the xlog.db at `filePath`, as `readXlogDb` gives its lines. */
export async function* readXlogDbNames(filePath: string, options: {signal?: AbortSignal} = {}): AsyncGenerator<string> {
  for await (const line of readXlogDb(filePath, options)) yield line.name
}

/**
 * Where the server's xlog.db is: the place the server names, else `<server>-xlog.db` (3.13 and later) or `xlog.db` in
 * `wals/`, the first that exists; undefined when none does.
 */
export async function findXlogDb(server: BarmanServer): Promise<string | undefined> {
  const inWals = [`${server.name}-xlog.db`, 'xlog.db'].map((name) => path.join(server.walsDirectory, name))
  for (const candidate of server.xlogDbPath === undefined ? inWals : [server.xlogDbPath, ...inWals]) {
    try {
      if ((await stat(candidate)).isFile()) return candidate
    } catch (error: unknown) {
      if (!isMissing(error)) throw unreadable(candidate, error)
    }
  }
  return undefined
}

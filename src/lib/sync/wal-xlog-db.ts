import {hashDirectory, parseWalName} from '../barman/wal-name.ts'
import {findXlogDb, readXlogDbNames} from '../barman/xlog-db.ts'
import {BarmanFilesError, messageOf} from '../errors.ts'
import type {ListedObject} from '../store/object-store.ts'
import type {ServerContext} from './server-context.ts'

/**
 * The names of xlog.db, one at a time; none when there is no such file. It is a hint and never decides what is copied, so
 * one that cannot be read is a warning.
 */
async function* readNames({server, progress, signal}: ServerContext): AsyncGenerator<string, void, undefined> {
  try {
    const path = await findXlogDb(server)
    if (path !== undefined) yield* readXlogDbNames(path, {signal})
  } catch (error) {
    if (!(error instanceof BarmanFilesError)) throw error
    progress.warn(`xlog.db of "${server.name}" cannot be used: ${messageOf(error)}`)
  }
}

/** Which of `wanted` xlog.db has a line for. */
export async function findXlogDbNames(context: ServerContext, wanted: ReadonlySet<string>): Promise<Set<string>> {
  const found = new Set<string>()
  for await (const name of readNames(context)) if (wanted.has(name)) found.add(name)
  return found
}

/**
 * What xlog.db names in hash directories that are not on disk (C16: lines that point nowhere). Reads the whole of
 * xlog.db, which may have millions of lines, and keeps one number for each line that points nowhere: so only `full-sync`
 * asks for it, never the `wal sync` that runs every few minutes.
 */
export class MissingDirectories {
  readonly #progress: ServerContext['progress']
  readonly #segments: ReadonlyMap<string, readonly number[]>
  #count = 0
  #first: string | undefined

  private constructor(progress: ServerContext['progress'], segments: ReadonlyMap<string, readonly number[]>) {
    this.#progress = progress
    this.#segments = segments
  }

  /** @param present names of the hash directories that are on disk */
  static async find(context: ServerContext, present: readonly string[]): Promise<MissingDirectories> {
    const known = new Set(present)
    const segments = new Map<string, number[]>()
    for await (const name of readNames(context)) {
      const file = parseWalName(name)
      const directory = file && hashDirectory(file)
      if (file?.kind !== 'segment' || directory === undefined || known.has(directory)) continue
      const found = segments.get(directory)
      if (found) found.push(file.logSegment)
      else segments.set(directory, [file.logSegment])
    }
    return new MissingDirectories(context.progress, segments)
  }

  names(): string[] {
    return [...this.#segments.keys()]
  }

  has(directory: string): boolean {
    return this.#segments.has(directory)
  }

  /** Compares one of them with what S3 holds of it; nothing is wrong with WAL that is there. */
  compare(directory: string, remote: ReadonlyMap<string, ListedObject>): void {
    const names = (this.#segments.get(directory) ?? []).map((segment) => `${directory}${segment.toString(16).toUpperCase().padStart(8, '0')}`)
    const missing = names.find((name) => !remote.has(`${directory}/${name}`))
    if (missing === undefined) return
    this.#count++
    this.#first ??= `${directory}, such as ${missing}`
  }

  /** One warning for all of them; none when S3 has everything. */
  warn(): void {
    if (this.#first === undefined) return
    const more = this.#count > 1 ? ` (and of ${this.#count - 1} more hash directories)` : ''
    this.#progress.warn(`xlog.db names WAL of the hash directory ${this.#first}${more}, which is neither on disk nor in S3`)
  }
}

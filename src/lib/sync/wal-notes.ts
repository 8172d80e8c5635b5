import {join} from 'node:path'
import {writeDurably} from '../local/durable-file.ts'
import {isJsonObject, readJsonFile, type JsonFile} from '../local/json-file.ts'
import {fileNameForServer} from '../local/server-file-name.ts'
import type {ServerContext} from './server-context.ts'

/**
 * Up to which ctime the files of a hash directory were compared with S3 by content. After Barman's disk was moved every
 * file has a new ctime: without these notes each run would read the whole archive again. A cache bound to one bucket and
 * cluster: losing it costs one comparison.
 */
export class WalNotes {
  readonly #path: string
  readonly #binding: {readonly archiveUri: string; readonly systemId: string | undefined}
  readonly #comparedNs = new Map<string, bigint>()
  readonly #seen = new Map<string, {ctimeNs: bigint; isGood: boolean}>()

  private constructor(path: string, binding: {archiveUri: string; systemId: string | undefined}) {
    this.#path = path
    this.#binding = binding
  }

  static async load(context: Pick<ServerContext, 'stateDirectory' | 'server' | 'archiveUri'>, systemId: string | undefined): Promise<WalNotes> {
    const path = join(context.stateDirectory, `${fileNameForServer(context.server.name)}.wal-compared.json`)
    const notes = new WalNotes(path, {archiveUri: context.archiveUri, systemId})
    const file = await readJsonFile(path).catch((): JsonFile => ({type: 'absent'}))
    if (file.type !== 'read' || !isJsonObject(file.value) || !isJsonObject(file.value.directories)) return notes
    if (file.value.archiveUri !== context.archiveUri || file.value.systemId !== systemId) return notes
    for (const [directory, text] of Object.entries(file.value.directories)) {
      if (typeof text === 'string' && /^\d+$/.test(text)) notes.#comparedNs.set(directory, BigInt(text))
    }
    return notes
  }

  /** Files of this directory with a ctime up to this were compared and found equal; undefined when none were. */
  comparedNs(relativePath: string): bigint | undefined {
    return this.#comparedNs.get(directoryOf(relativePath))
  }

  /** What became of one comparison. One that did not end well keeps its whole directory from being noted. */
  add(relativePath: string, ctimeNs: bigint, isEqual: boolean): void {
    const directory = directoryOf(relativePath)
    const seen = this.#seen.get(directory) ?? {ctimeNs: 0n, isGood: true}
    this.#seen.set(directory, {ctimeNs: ctimeNs > seen.ctimeNs ? ctimeNs : seen.ctimeNs, isGood: seen.isGood && isEqual})
  }

  /** Writes what this run has learnt. Call it only after every planned comparison was made. */
  async save(): Promise<void> {
    let isChanged = false
    for (const [directory, {ctimeNs, isGood}] of this.#seen) {
      if (!isGood) continue
      this.#comparedNs.set(directory, ctimeNs)
      isChanged = true
    }
    if (!isChanged) return
    const directories = Object.fromEntries([...this.#comparedNs].map(([directory, ctimeNs]) => [directory, ctimeNs.toString()]))
    await writeDurably(this.#path, `${JSON.stringify({version: 1, ...this.#binding, directories}, undefined, 1)}\n`)
  }
}

/** The hash directory of a path below `wals/`; the empty name for history files. */
function directoryOf(relativePath: string): string {
  const slash = relativePath.indexOf('/')
  return slash < 0 ? '' : relativePath.slice(0, slash)
}

/** The manifest of a backup in S3, fetched to local disk and checked: it may be as large as a million lines. */
import {createHash} from 'node:crypto'
import {createReadStream, createWriteStream} from 'node:fs'
import {rm} from 'node:fs/promises'
import {pipeline} from 'node:stream'
import {pipeline as pipe} from 'node:stream/promises'
import {createGunzip} from 'node:zlib'
import type {BackupRecord} from '../archive/backup-record.ts'
import {parseManifestLine, type ManifestLine} from '../archive/manifest-line.ts'
import type {ManifestEntry, ManifestObject} from '../archive/manifest.ts'
import {BarmanFilesError, ConflictError} from '../errors.ts'
import {localStateErrorOf} from '../local/durable-file.ts'
import {splitLines} from '../local/line-file.ts'
import type {ServerContext} from './server-context.ts'

/** A manifest on local disk whose bytes are those the record names. */
export class ManifestFile {
  readonly #path: string

  private constructor(path: string) {
    this.#path = path
  }

  /**
   * Fetches the manifest of a record to `path`, which is replaced.
   * @throws ConflictError when it is gone, cut or not the one the record names; errors of the store as they are
   */
  static async fetch({store, keys, signal}: Pick<ServerContext, 'store' | 'keys' | 'signal'>, record: BackupRecord, path: string): Promise<ManifestFile> {
    const key = keys.absolute(record.manifest.key)
    const chunks = await store.getStream(key, {signal})
    if (!chunks) throw new ConflictError(`the manifest of backup ${record.backupId} is gone from S3`, {hint: 'nothing of that backup is referred to'})
    const sha = createHash('sha256')
    let sizeBytes = 0
    async function* counted(): AsyncGenerator<Uint8Array> {
      for await (const chunk of chunks!) {
        sha.update(chunk)
        sizeBytes += chunk.length
        yield chunk
      }
    }
    const file = createWriteStream(path, {mode: 0o640})
    const wasWritten = new Promise<Error | undefined>((resolve) => {
      file.once('error', resolve)
      file.once('close', () => resolve(undefined))
    })
    try {
      await pipe(counted(), file)
    } catch (error) {
      file.destroy()
      if ((await wasWritten) === error) throw localStateErrorOf(error, `cannot write ${path}`)
      throw error
    }
    if (sizeBytes !== record.manifest.sizeBytes || sha.digest('hex') !== record.manifest.sha256) {
      throw new ConflictError(`the manifest of backup ${record.backupId} in S3 is not the one its record names`, {hint: 'nothing of that backup is referred to'})
    }
    return new ManifestFile(path)
  }

  /** Directories, links and files, in the order of path bytes. @throws BarmanFilesError for a line that cannot be understood */
  async* entries(): AsyncGenerator<ManifestEntry, void, undefined> {
    for await (const line of this.#lines()) {
      if (line.line === 'object' || line.line === 'end') return
      if (line.line === 'entry') yield line.entry
    }
  }

  /** The stored objects: packs first, then in the order of the files they hold. @throws BarmanFilesError */
  async* objects(): AsyncGenerator<ManifestObject, void, undefined> {
    let isWhole = false
    for await (const line of this.#lines({skipEntries: true})) {
      if (line.line === 'object') yield line.object
      if (line.line === 'end') isWhole = true
    }
    if (!isWhole) throw new BarmanFilesError('the manifest is cut: its last line is missing')
  }

  async remove(): Promise<void> {
    await rm(this.#path, {force: true})
  }

  async* #lines({skipEntries = false} = {}): AsyncGenerator<ManifestLine, void, undefined> {
    const file = createReadStream(this.#path)
    const gunzip = createGunzip()
    // What goes wrong shows where the chunks are read.
    pipeline(file, gunzip, () => undefined)
    try {
      for await (const line of splitLines(gunzip.setEncoding('utf8') as AsyncIterable<string>, {isTornLineKept: true})) {
        if (skipEntries && !line.startsWith('{"type":"object"') && !line.startsWith('{"type":"end"')) continue
        yield parseManifestLine(line)
      }
    } catch (error) {
      if (error instanceof BarmanFilesError) throw error
      throw new BarmanFilesError('the manifest cannot be unpacked', {cause: error})
    } finally {
      file.destroy()
      gunzip.destroy()
    }
  }
}

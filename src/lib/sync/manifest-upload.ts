import {createHash} from 'node:crypto'
import {pipeline, Readable} from 'node:stream'
import {createGzip} from 'node:zlib'
import type {BackupLayout, ManifestObject} from '../archive/manifest.ts'
import {formatManifestEnd, formatManifestHeader, formatManifestObject} from '../archive/manifest-line.ts'
import {LocalStateError, StoreRefusedError} from '../errors.ts'
import type {CopySummary} from './copy-summary.ts'
import type {ServerContext} from './server-context.ts'

/** What a backup consists of, readable as often as needed. */
export interface CopiedBackup {
  readonly layout: BackupLayout
  readonly summary: CopySummary
  /** Lines of the manifest, one for each entry, in their order. */
  entryLines(): AsyncIterable<string>
  /** All objects: packs, then those of the files in their order. */
  objects(): AsyncIterable<ManifestObject>
}

export interface StoredManifest {
  /** Of the gzip'd object. */
  readonly sizeBytes: number
  readonly sha256: string
}

/** Writes the manifest of a backup to S3 from its journal, as a stream: a million files take no memory. */
export async function uploadManifest(context: ServerContext, backupId: string, copied: CopiedBackup): Promise<StoredManifest> {
  const {store, keys, signal, server} = context
  const {layout, summary} = copied
  const key = keys.manifest(backupId)
  async function* lines(): AsyncGenerator<string> {
    yield formatManifestHeader({server: server.name, backupId, layout})
    let entryCount = 0
    for await (const line of copied.entryLines()) {
      entryCount++
      yield line
    }
    let objectCount = 0
    for await (const object of copied.objects()) {
      objectCount++
      yield formatManifestObject(object)
    }
    const {objects, referencedObjects} = summary.counts
    if (entryCount !== summary.entryCount || objectCount !== objects + referencedObjects) {
      throw new LocalStateError(`the journal of ${backupId} has ${entryCount} entries and ${objectCount} objects, not the ${summary.entryCount} and ${objects + referencedObjects} that were written to it`, {
        hint: 'the backup is not recorded as complete; look at the disk of the state directory, and run again',
      })
    }
    yield formatManifestEnd(summary.counts)
  }
  const sha = createHash('sha256')
  let sizeBytes = 0
  async function* counted(chunks: AsyncIterable<Buffer>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      sizeBytes += chunk.length
      sha.update(chunk)
      yield chunk
    }
  }
  const source = Readable.from(inChunks(lines()), {objectMode: false, encoding: 'utf8'})
  const gzip = createGzip()
  // Closes both whichever ends first; what went wrong shows where the chunks are read.
  pipeline(source, gzip, () => undefined)
  await store.putStream(key, counted(gzip), {kind: 'meta', contentType: 'application/gzip', signal})
  const stat = await store.head(key, {signal})
  if (stat?.sizeBytes !== sizeBytes) {
    throw new StoreRefusedError(`the store holds ${stat?.sizeBytes ?? 'no'} bytes of "${key}", ${sizeBytes} were sent`, {
      storeCode: 'SizeMismatch', scope: 'request', hint: 'the backup is not recorded as complete; run again',
    })
  }
  return {sizeBytes, sha256: sha.digest('hex')}
}

/** Lines in pieces that are worth a turn of the stream. */
async function* inChunks(lines: AsyncIterable<string>): AsyncGenerator<string> {
  let chunk = ''
  for await (const line of lines) {
    chunk += line
    if (chunk.length < 32 * 1024) continue
    yield chunk
    chunk = ''
  }
  yield chunk
}

import {createHash} from 'node:crypto'
import {pipeline, Readable} from 'node:stream'
import {createGzip} from 'node:zlib'
import {
  countLine, EMPTY_COUNTS, formatManifestEnd, formatManifestEntry, formatManifestHeader, formatManifestObject, type ManifestCounts,
} from '../archive/manifest.ts'
import {StoreRefusedError} from '../errors.ts'
import type {JournalLine} from './journal-line.ts'
import type {ServerContext} from './server-context.ts'

export interface StoredManifest {
  readonly counts: ManifestCounts
  /** Of the gzip'd object. */
  readonly sizeBytes: number
  readonly sha256: string
}

/** Writes the manifest of a backup to S3 from its journal, as a stream: a million files take no memory. */
export async function uploadManifest(
  context: ServerContext, backupId: string, copied: () => AsyncIterable<JournalLine>,
): Promise<StoredManifest> {
  const {store, keys, signal, server} = context
  const key = keys.manifest(backupId)
  let counts = EMPTY_COUNTS
  async function* lines(): AsyncGenerator<string> {
    yield formatManifestHeader({server: server.name, backupId, layout: 'mirror'})
    for await (const {entry} of copied()) {
      counts = countLine(counts, entry)
      yield formatManifestEntry(entry)
    }
    for await (const {entry} of copied()) {
      if (entry.type !== 'file') continue
      // Layout mirror: one object per file, stored as it is.
      const object = {key: entry.object, sizeBytes: entry.sizeBytes, crc32c: entry.crc32c, sha256: entry.sha256}
      counts = countLine(counts, object)
      yield formatManifestObject(object)
    }
    yield formatManifestEnd(counts)
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
  const source = Readable.from(lines(), {objectMode: false, encoding: 'utf8'})
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
  return {counts, sizeBytes, sha256: sha.digest('hex')}
}

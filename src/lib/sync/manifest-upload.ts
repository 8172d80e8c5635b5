import {createHash} from 'node:crypto'
import {pipeline, Readable} from 'node:stream'
import {createGzip} from 'node:zlib'
import {countEntry, countObject, EMPTY_COUNTS, ownerOfObject, type BackupLayout, type ManifestCounts, type ManifestObject} from '../archive/manifest.ts'
import {formatManifestEnd, formatManifestEntry, formatManifestHeader, formatManifestObject} from '../archive/manifest-line.ts'
import {StoreRefusedError} from '../errors.ts'
import {objectOfLine, type JournalLine} from './journal-line.ts'
import type {StoredPack} from './pack-writer.ts'
import type {ServerContext} from './server-context.ts'

/** What a backup consists of, readable as often as needed. */
export interface CopiedBackup {
  readonly packs: readonly StoredPack[]
  lines(): AsyncIterable<JournalLine>
}

/** All objects of a copied backup: packs, then those of the files in their order. */
export async function* objectsOf(copied: CopiedBackup): AsyncGenerator<ManifestObject, void, undefined> {
  for (const {object} of copied.packs) yield object
  for await (const line of copied.lines()) {
    const object = objectOfLine(line)
    if (object) yield object
  }
}

export interface StoredManifest {
  readonly counts: ManifestCounts
  /** Of the gzip'd object. */
  readonly sizeBytes: number
  readonly sha256: string
  /** What a reader of the backup must know. */
  readonly features: readonly string[]
  readonly owners: readonly string[]
  readonly vouchers: readonly string[]
}

/** Writes the manifest of a backup to S3 from its journal, as a stream: a million files take no memory. */
export async function uploadManifest(context: ServerContext, backupId: string, layout: BackupLayout, copied: CopiedBackup): Promise<StoredManifest> {
  const {store, keys, signal, server} = context
  const key = keys.manifest(backupId)
  let counts = EMPTY_COUNTS
  const features = new Set<string>(layout === 'mirror' ? ['mirror'] : [])
  const owners = new Set<string>()
  const vouchers = new Set<string>()
  if (copied.packs.length > 0) features.add('packs')
  async function* lines(): AsyncGenerator<string> {
    yield formatManifestHeader({server: server.name, backupId, layout})
    for await (const {entry, stored} of copied.lines()) {
      counts = countEntry(counts, entry)
      if (stored?.voucher !== undefined) vouchers.add(stored.voucher)
      yield formatManifestEntry(entry)
    }
    for await (const object of objectsOf(copied)) {
      counts = countObject(counts, object, backupId)
      const owner = ownerOfObject(object.key)
      if (owner !== undefined && owner !== backupId) owners.add(owner)
      if (object.zstd) features.add('zstd')
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
  if (owners.size > 0) features.add('references')
  return {
    counts, sizeBytes, sha256: sha.digest('hex'),
    features: [...features].sort(), owners: [...owners].sort(), vouchers: [...vouchers].sort(),
  }
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

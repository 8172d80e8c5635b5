import {createHash} from 'node:crypto'
import {join} from 'node:path'
import {readFile} from 'node:fs/promises'
import type {CatalogBackup} from '../barman/catalog.ts'
import type {BarmanServer} from '../barman/server-directories.ts'
import {BarmanFilesError, errnoOf} from '../errors.ts'
import {writeDurably} from '../local/durable-file.ts'
import {fileNameForServer} from '../local/server-file-name.ts'
import {isJsonObject, readJsonFile, type JsonFile} from '../local/json-file.ts'
import type {ObjectKey} from '../store/object-store.ts'
import {deleteObject} from './delete-object.ts'
import {MAX_DOCUMENT_BYTES} from './remote-identity.ts'
import type {ServerContext} from './server-context.ts'

/** One of Barman's small files of a backup, and where it belongs in S3. */
interface MetadataFile {
  readonly key: ObjectKey
  readonly bytes: Buffer
}

/**
 * Copies of `backup.info` (in both places where Barman left one) and `keep`, as they are on disk now.
 * @throws BarmanFilesError when one is there and cannot be read
 */
export async function readMetadataFiles({keys, server}: ServerContext, backup: CatalogBackup): Promise<MetadataFile[]> {
  const files: MetadataFile[] = []
  for (const path of [backup.oldInfoPath, backup.infoPath]) {
    const bytes = path === undefined ? undefined : await readIfThere(path)
    if (path !== undefined && bytes) files.push({key: keys.backupInfo(backup.id, isInMeta(server, path) ? 'meta' : 'base'), bytes})
  }
  const keep = backup.keepPath === undefined ? undefined : await readIfThere(backup.keepPath)
  if (backup.keepPath !== undefined && keep) files.push({key: keys.keep(backup.id, isInMeta(server, backup.keepPath) ? 'meta' : 'base'), bytes: keep})
  return files
}

function isInMeta(server: BarmanServer, path: string): boolean {
  return path.startsWith(`${server.metaDirectory}/`)
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw new BarmanFilesError(`cannot read "${path}"`, {cause: error, hint: 'run barmans3 as the user barman'})
  }
}

/**
 * What was last written of each backup's metadata, so that a run with nothing new asks S3 for nothing. A cache bound to
 * one bucket: losing it costs one GET per file.
 */
export class MetadataNotes {
  readonly #path: string
  readonly #archiveUri: string
  #digests: Record<string, string> = {}
  #own: Record<string, boolean> = {}
  #isChanged = false

  private constructor(path: string, archiveUri: string) {
    this.#path = path
    this.#archiveUri = archiveUri
  }

  static async load(context: ServerContext): Promise<MetadataNotes> {
    const path = join(context.stateDirectory, `${fileNameForServer(context.server.name)}.metadata.json`)
    const notes = new MetadataNotes(path, context.archiveUri)
    const file = await readJsonFile(path).catch((): JsonFile => ({type: 'absent'}))
    if (file.type === 'read' && isJsonObject(file.value) && file.value.archiveUri === context.archiveUri && isJsonObject(file.value.digests)) {
      for (const [key, digest] of Object.entries(file.value.digests)) if (typeof digest === 'string') notes.#digests[key] = digest
      const own = isJsonObject(file.value.own) ? file.value.own : {}
      for (const [id, isOwn] of Object.entries(own)) if (typeof isOwn === 'boolean') notes.#own[id] = isOwn
    }
    return notes
  }

  /** Whether this installation wrote the record of a backup; `look` answers when it is not noted. */
  async isOwn(backupId: string, look: () => Promise<boolean>): Promise<boolean> {
    const noted = this.#own[backupId]
    if (noted !== undefined) return noted
    const isOwn = await look()
    this.#own[backupId] = isOwn
    this.#isChanged = true
    return isOwn
  }

  /** Whether exactly these bytes were last written under the key. */
  isKnown(key: ObjectKey, bytes: Buffer): boolean {
    return this.#digests[key] === digestOf(bytes)
  }

  /** Whether it was seen that the bucket has no such object. */
  isKnownAbsent(key: ObjectKey): boolean {
    return this.#digests[key] === ''
  }

  set(key: ObjectKey, bytes: Buffer): void {
    this.#digests[key] = digestOf(bytes)
    this.#isChanged = true
  }

  setAbsent(key: ObjectKey): void {
    this.#digests[key] = ''
    this.#isChanged = true
  }

  async save(): Promise<void> {
    if (!this.#isChanged) return
    await writeDurably(this.#path, `${JSON.stringify({version: 1, archiveUri: this.#archiveUri, own: this.#own, digests: this.#digests}, undefined, 1)}\n`)
    this.#isChanged = false
  }
}

function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/**
 * Brings the copies of a backup's metadata up to date: Barman rewrites `backup.info` after the hook (WAITING_FOR_WALS to
 * DONE, children of an incremental), and `keep` comes and goes. Only for backups of which we wrote the record.
 * @returns the keys written or removed
 */
export async function syncMetadata(context: ServerContext, backup: CatalogBackup, notes: MetadataNotes, isDryRun = false): Promise<ObjectKey[]> {
  const {store, keys, signal} = context
  const changed: ObjectKey[] = []
  const files = await readMetadataFiles(context, backup)
  for (const {key, bytes} of files) {
    if (notes.isKnown(key, bytes)) continue
    const stored = await store.get(key, {maxBytes: MAX_DOCUMENT_BYTES, signal})
    if (!stored?.equals(bytes)) {
      changed.push(key)
      if (!isDryRun) await store.put(key, bytes, {kind: 'meta', signal})
    }
    if (!isDryRun) notes.set(key, bytes)
  }
  if (backup.info && backup.keepPath === undefined) {
    for (const place of placesWithoutKeep(context, backup)) {
      const key = keys.keep(backup.id, place)
      if (notes.isKnownAbsent(key)) continue
      const isThere = (await store.head(key, {signal})) !== undefined
      if (isThere) changed.push(key)
      if (isDryRun) continue
      if (isThere) await deleteObject(context, key, 'Barman no longer keeps this backup, the copy in S3 still says it does')
      notes.setAbsent(key)
    }
  }
  return changed
}

/**
 * Where a missing keep means that there is none: next to something of the backup that could be read. A disk that is not
 * mounted has no keep files either.
 */
function placesWithoutKeep({server}: ServerContext, backup: CatalogBackup): ('meta' | 'base')[] {
  return [
    ...(isInMeta(server, backup.infoPath) ? ['meta' as const] : []),
    ...(backup.hasDataDirectory ? ['base' as const] : []),
  ]
}

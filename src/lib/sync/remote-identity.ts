import {readFile} from 'node:fs/promises'
import {join} from 'node:path'
import {parseBackupRecord} from '../archive/backup-record.ts'
import {parseBackupInfo} from '../barman/backup-info.ts'
import {parseIdentity, readSystemId} from '../barman/identity.ts'
import type {BarmanCatalog} from '../barman/catalog.ts'
import {BarmanFilesError, ConflictError, StoreRefusedError, errnoOf} from '../errors.ts'
import type {ObjectKey} from '../store/object-store.ts'
import type {ServerContext} from './server-context.ts'

/** Largest of our small documents and of Barman's metadata that is read into memory. */
export const MAX_DOCUMENT_BYTES = 16 * 1024 * 1024

export interface GuardedIdentity {
  /** PostgreSQL's system identifier; undefined when Barman does not know it (before 2.10). */
  readonly systemId: string | undefined
  /** Whether Barman has an identity.json for this server: a passive node has none. */
  readonly hasIdentityFile: boolean
}

/**
 * Makes sure that what is to be uploaded belongs to the cluster whose data is in the bucket, and brings identity.json
 * there. Must come before the first upload of a run.
 * @throws ConflictError (exit 12) naming both system identifiers when the bucket holds another cluster
 */
export async function guardSystemId(context: ServerContext, catalog?: BarmanCatalog): Promise<GuardedIdentity> {
  const {server, keys, store, signal} = context
  const identityText = await readIdentityFile(join(server.directory, 'identity.json'))
  const local = await readSystemId(server, catalog ? {catalog, signal} : {signal})
  const remote = await readRemoteSystemId(context)
  if (local !== undefined && remote.systemId !== undefined && local !== remote.systemId) {
    throw new ConflictError(
      `server "${server.name}" is the cluster with system identifier ${local}, but ${context.archiveUri} holds `
      + `${remote.systemId} under that name (seen in "${remote.source}"); nothing was uploaded`, {
        hint: 'after pg_upgrade or for another cluster give this server another place: set servers.<name>.uri, or use another server name',
      })
  }
  if (local === undefined && remote.systemId === undefined) {
    context.progress.warn(`the system identifier of server "${server.name}" is not known, so another cluster's data would not be noticed`)
  }
  if (identityText && !remote.hasIdentityObject) {
    const outcome = await store.put(keys.identity, identityText, {kind: 'meta', ifAbsent: true, signal})
    // Somebody else's first run at the same moment: look again, now it must be there.
    if (outcome === 'exists') {
      if (!(await store.head(keys.identity, {signal}))) throw inconsistent(keys.identity)
      return await guardSystemId(context, catalog)
    }
  }
  return {systemId: local ?? remote.systemId, hasIdentityFile: identityText !== undefined}
}

/** The error of a store that says a key exists and does not show it. */
export function inconsistent(key: ObjectKey): StoreRefusedError {
  return new StoreRefusedError(`the store says that "${key}" exists and does not show it`, {
    storeCode: 'Inconsistent', scope: 'request', hint: 'run again; if it stays so, look at that key with another client',
  })
}

interface RemoteSystemId {
  readonly systemId: string | undefined
  readonly source: string
  readonly hasIdentityObject: boolean
}

/** The cluster the bucket belongs to: identity.json, else any record, else any backup.info of the old scripts. */
async function readRemoteSystemId({store, keys, signal}: ServerContext): Promise<RemoteSystemId> {
  const identity = await store.get(keys.identity, {maxBytes: MAX_DOCUMENT_BYTES, signal})
  if (identity) {
    try {
      return {systemId: parseIdentity(identity.toString('utf8'), keys.identity).systemId, source: keys.identity, hasIdentityObject: true}
    } catch (error) {
      throw new ConflictError(`"${keys.identity}" in the bucket is not Barman's identity.json; nothing was uploaded`, {
        cause: error, hint: 'look at that object; barmans3 never replaces it',
      })
    }
  }
  for await (const {key} of store.list(keys.recordsPrefix, {signal})) {
    if (keys.classify(key).type !== 'record') continue
    const bytes = await store.get(key, {maxBytes: MAX_DOCUMENT_BYTES, signal})
    const systemId = bytes && readRecordSystemId(bytes, key)
    if (systemId) return {systemId, source: key, hasIdentityObject: false}
  }
  for (const key of await legacyInfoKeys({store, keys, signal})) {
    const bytes = await store.get(key, {maxBytes: MAX_DOCUMENT_BYTES, signal})
    const systemId = bytes && readInfoSystemId(bytes)
    if (systemId) return {systemId, source: key, hasIdentityObject: false}
  }
  return {systemId: undefined, source: '', hasIdentityObject: false}
}

/** Where a bucket filled by `aws s3 sync` has metadata: meta/, and base/<id>/backup.info. Newest last ids first. */
async function legacyInfoKeys({store, keys, signal}: Pick<ServerContext, 'store' | 'keys' | 'signal'>): Promise<ObjectKey[]> {
  const found: ObjectKey[] = []
  for await (const {key} of store.list(keys.metaPrefix, {signal})) {
    if (keys.classify(key).type === 'backup.info') found.push(key)
  }
  const ids = (await store.listDirectories(keys.basePrefix, {signal})).filter((name) => /^\d{8}T\d{6}$/.test(name))
  return [...found, ...ids.map((id) => keys.backupInfo(id, 'base'))].reverse()
}

/** A record that nobody can read says nothing here; it is a conflict where that backup itself is looked at. */
function readRecordSystemId(bytes: Buffer, key: ObjectKey): string | undefined {
  try {
    return parseBackupRecord(bytes, key).identity.systemId
  } catch (error) {
    if (error instanceof ConflictError) return undefined
    throw error
  }
}

function readInfoSystemId(bytes: Buffer): string | undefined {
  try {
    return parseBackupInfo(bytes.toString('utf8')).systemId
  } catch {
    return undefined
  }
}

async function readIdentityFile(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw new BarmanFilesError(`cannot read "${path}"`, {cause: error, hint: 'run barmans3 as the user barman'})
  }
}

import {remoteBackupState, type RemoteBackupState} from '../archive/backup-state.ts'
import {listRemoteFiles, type RemoteFiles} from './remote-records.ts'
import type {ServerContext} from './server-context.ts'

type Context = Pick<ServerContext, 'store' | 'keys' | 'signal'>

/** The backups of one server as the bucket shows them, with two LISTs and little more for each that has no record. */
export class RemoteBackups {
  readonly #context: Context
  readonly files: RemoteFiles
  readonly #directories: ReadonlySet<string>
  readonly #metaInfos: ReadonlySet<string>

  private constructor(context: Context, files: RemoteFiles, directories: ReadonlySet<string>, metaInfos: ReadonlySet<string>) {
    this.#context = context
    this.files = files
    this.#directories = directories
    this.#metaInfos = metaInfos
  }

  static async load(context: Context): Promise<RemoteBackups> {
    const {store, keys, signal} = context
    const files = await listRemoteFiles(context)
    const directories = new Set(await store.listDirectories(keys.basePrefix, {signal}))
    const metaInfos = new Set<string>()
    for await (const {key} of store.list(keys.metaPrefix, {signal})) {
      const kind = keys.classify(key)
      if (kind.type === 'backup.info') metaInfos.add(kind.backupId)
    }
    return new RemoteBackups(context, files, directories, metaInfos)
  }

  /** Every id of which the bucket has anything, sorted. */
  ids(): string[] {
    const {started, recorded, tombstoned} = this.files
    const all = new Set([...started, ...recorded, ...tombstoned, ...this.#metaInfos, ...this.#directories])
    return [...all].filter((id) => /^\d{8}T\d{6}$/.test(id)).sort()
  }

  /** State and tombstone: a tombstone alone is not listed, but still stops the backup from being sent again. */
  async look(backupId: string): Promise<{state: RemoteBackupState; isTombstoned: boolean}> {
    return {state: await this.state(backupId), isTombstoned: this.files.tombstoned.has(backupId)}
  }

  async state(backupId: string): Promise<RemoteBackupState> {
    const {started, recorded, tombstoned} = this.files
    const needsLook = !recorded.has(backupId) && (!started.has(backupId) || tombstoned.has(backupId))
    const found = needsLook ? await this.#lookAt(backupId) : {hasData: true, hasBackupInfo: true}
    return remoteBackupState({
      hasRecord: recorded.has(backupId),
      hasStartedMarker: started.has(backupId),
      hasTombstone: tombstoned.has(backupId),
      ...found,
    })
  }

  /** Whether there is data of the backup that no barmans3 announced. */
  async hasUnannouncedData(backupId: string): Promise<boolean> {
    const {started, recorded} = this.files
    return !started.has(backupId) && !recorded.has(backupId) && (await this.#lookAt(backupId)).hasData
  }

  async #lookAt(backupId: string): Promise<{hasData: boolean; hasBackupInfo: boolean}> {
    const {store, keys, signal} = this.#context
    let hasBackupInfo = this.#metaInfos.has(backupId)
    // Some stores still name a folder that has been emptied: only an object is a proof.
    if (!this.#directories.has(backupId)) return {hasData: false, hasBackupInfo}
    let hasData = false
    for await (const {key} of store.list(keys.dataPrefix(backupId), {signal})) {
      const kind = keys.classify(key)
      if (kind.type === 'backup.info') hasBackupInfo = true
      if (kind.type === 'data') hasData = true
      if (hasData) break
    }
    hasBackupInfo ||= (await store.head(keys.backupInfo(backupId, 'base'), {signal})) !== undefined
    return {hasData, hasBackupInfo}
  }
}

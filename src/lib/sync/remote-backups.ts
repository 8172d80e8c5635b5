import {remoteBackupState, type RemoteBackupState} from '../archive/backup-state.ts'
import {readStartedMarker} from './claim.ts'
import {isOfOneObject, listRemoteFiles, type RemoteFiles} from './remote-records.ts'
import type {ServerContext} from './server-context.ts'

type Context = Pick<ServerContext, 'store' | 'keys' | 'signal'>

/** What lies in `base/<id>/` and `meta/` of one backup. */
interface Found {
  readonly hasData: boolean
  readonly hasBackupInfo: boolean
  readonly hasOtherKeys: boolean
}

/** The backups of one server as the bucket shows them, with two LISTs and little more for each that has no record. */
export class RemoteBackups {
  readonly #context: Context
  files: RemoteFiles
  readonly #directories: ReadonlySet<string>
  readonly #metaInfos: ReadonlySet<string>
  readonly #metaKeeps: ReadonlySet<string>

  private constructor(
    context: Context, files: RemoteFiles, directories: ReadonlySet<string>, meta: {infos: ReadonlySet<string>; keeps: ReadonlySet<string>},
  ) {
    this.#context = context
    this.files = files
    this.#directories = directories
    this.#metaInfos = meta.infos
    this.#metaKeeps = meta.keeps
  }

  static async load(context: Context): Promise<RemoteBackups> {
    const {store, keys, signal} = context
    const infos = new Set<string>()
    const keeps = new Set<string>()
    async function listMetadata(): Promise<void> {
      for await (const {key} of store.list(keys.metaPrefix, {signal})) {
        const kind = keys.classify(key)
        if (kind.type === 'backup.info') infos.add(kind.backupId)
        if (kind.type === 'keep') keeps.add(kind.backupId)
      }
    }
    const [files, names] = await Promise.all([listRemoteFiles(context), store.listDirectories(keys.basePrefix, {signal}), listMetadata()])
    const directories = new Set(names)
    return new RemoteBackups(context, files, directories, {infos, keeps})
  }

  /** A backup that this run has recorded. */
  addRecorded(backupId: string): void {
    this.files = {...this.files, recorded: new Set([...this.files.recorded, backupId]), started: new Set([...this.files.started, backupId])}
  }

  /** Every id of which the bucket has anything, sorted. */
  ids(): string[] {
    const {started, recorded, tombstoned, others} = this.files
    const all = new Set([...started, ...recorded, ...tombstoned, ...others, ...this.#metaInfos, ...this.#metaKeeps, ...this.#directories])
    return [...all].filter((id) => /^\d{8}T\d{6}$/.test(id)).sort()
  }

  /** State and tombstone: a tombstone alone is not listed, but still stops the backup from being sent again. */
  async look(backupId: string): Promise<{state: RemoteBackupState; isTombstoned: boolean}> {
    return {state: await this.state(backupId), isTombstoned: this.files.tombstoned.has(backupId)}
  }

  async state(backupId: string): Promise<RemoteBackupState> {
    const {started, recorded, tombstoned, others} = this.files
    const hasTombstone = tombstoned.has(backupId)
    const hasStartedMarker = started.has(backupId)
    const hadLegacyData = hasStartedMarker && !hasTombstone && !recorded.has(backupId) && (await this.#hadLegacyData(backupId))
    const needsLook = !recorded.has(backupId) && (!hasStartedMarker || hadLegacyData)
    const found = needsLook ? await this.#lookAt(backupId) : {hasData: false, hasBackupInfo: false, hasOtherKeys: false}
    return remoteBackupState({
      hasRecord: recorded.has(backupId), hasStartedMarker, hasTombstone, hadLegacyData,
      ...found,
      hasOtherKeys: found.hasOtherKeys || others.has(backupId),
    })
  }

  async #hadLegacyData(backupId: string): Promise<boolean> {
    try {
      return (await readStartedMarker(this.#context, backupId))?.hadLegacyData ?? false
    } catch (error) {
      // A marker nobody can read is a problem for who wants to go on with that backup, not for the list.
      if (isOfOneObject(error)) return false
      throw error
    }
  }

  async #lookAt(backupId: string): Promise<Found> {
    const {store, keys, signal} = this.#context
    let hasBackupInfo = this.#metaInfos.has(backupId)
    let hasOtherKeys = this.#metaKeeps.has(backupId)
    // Some stores still name a folder that has been emptied: only an object is a proof.
    if (!this.#directories.has(backupId)) return {hasData: false, hasBackupInfo, hasOtherKeys}
    let hasData = false
    for await (const {key} of store.list(keys.dataPrefix(backupId), {signal})) {
      const kind = keys.classify(key)
      if (kind.type === 'backup.info') hasBackupInfo = true
      if (kind.type === 'keep') hasOtherKeys = true
      if (kind.type === 'data') hasData = true
      if (hasData) break
    }
    hasBackupInfo ||= (await store.head(keys.backupInfo(backupId, 'base'), {signal})) !== undefined
    return {hasData, hasBackupInfo, hasOtherKeys}
  }
}

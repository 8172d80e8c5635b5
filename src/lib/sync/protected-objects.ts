import {join} from 'node:path'
import type {BackupRecord} from '../archive/backup-record.ts'
import {ownerOfObject, type ManifestObject} from '../archive/manifest.ts'
import {BarmanFilesError, ConflictError, messageOf} from '../errors.ts'
import {ManifestFile} from './manifest-file.ts'
import {readRecords} from './remote-records.ts'
import type {ServerContext} from './server-context.ts'

interface Protected {
  readonly object: ManifestObject
  readonly sha256: string
}

/**
 * Objects below `base/<id>/` of a backup without a record that the records of other backups refer to. They stay as they
 * are: a copy that is made again uses them if the content is equal, and otherwise stops (design, promise 2).
 */
export class ProtectedObjects {
  readonly #byKey: ReadonlyMap<string, Protected>

  private constructor(byKey: ReadonlyMap<string, Protected>) {
    this.#byKey = byKey
  }

  /** For a backup that is copied for the first time: nobody can refer to it. */
  static none(): ProtectedObjects {
    return new ProtectedObjects(new Map())
  }

  /**
   * @param directory where manifests are put while they are read
   * @throws ConflictError when a record or its manifest cannot be read: it could refer to anything
   */
  static async load(context: ServerContext, backupId: string, directory: string): Promise<ProtectedObjects> {
    const {records, problems} = await readRecords(context)
    if (problems[0]) throw unreadable(backupId, problems[0].message)
    const byKey = new Map<string, Protected>()
    for (const record of records) if (record.owners.includes(backupId)) await addFrom(context, record, backupId, {directory, byKey})
    return new ProtectedObjects(byKey)
  }

  /** What is at one of these keys and must stay. */
  find(...keys: readonly string[]): Protected | undefined {
    for (const key of keys) {
      const found = this.#byKey.get(key)
      if (found) return found
    }
    return undefined
  }
}

async function addFrom(
  context: ServerContext, record: BackupRecord, backupId: string, {directory, byKey}: {directory: string; byKey: Map<string, Protected>},
): Promise<void> {
  const manifest = await ManifestFile.fetch(context, record, join(directory, `${backupId}.referring-${record.backupId}.gz`))
  try {
    const contents = new Map<string, string>()
    for await (const entry of manifest.entries()) {
      if (entry.type === 'file' && ownerOfObject(entry.object) === backupId) contents.set(entry.object, entry.sha256)
    }
    for await (const object of manifest.objects()) {
      const sha256 = contents.get(object.key)
      if (sha256 !== undefined) byKey.set(object.key, {object, sha256})
    }
  } catch (error) {
    throw error instanceof BarmanFilesError ? unreadable(backupId, `backup ${record.backupId}: ${messageOf(error)}`) : error
  } finally {
    await manifest.remove()
  }
}

function unreadable(backupId: string, problem: string): ConflictError {
  return new ConflictError(`backup ${backupId} cannot be sent again: ${problem}; that backup may refer to it`, {
    hint: 'see `barmans3 base ls` for what is wrong with that record',
  })
}

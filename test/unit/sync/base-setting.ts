import {execFileSync} from 'node:child_process'
import {join} from 'node:path'
import {gunzipSync} from 'node:zlib'
import {parseBackupRecord, type BackupRecord} from '../../../src/lib/archive/backup-record.ts'
import type {ManifestEntry} from '../../../src/lib/archive/manifest.ts'
import {parseManifestLine} from '../../../src/lib/archive/manifest-line.ts'
import type {BackupId} from '../../../src/lib/barman/backup-id.ts'
import {StoreRefusedError} from '../../../src/lib/errors.ts'
import {addTask} from '../../../src/lib/queue/task-store.ts'
import {listBase, type BaseListRow} from '../../../src/lib/sync/base-list.ts'
import type {BaseSyncResult} from '../../../src/lib/sync/base-result.ts'
import {syncBase, type BaseSyncOptions} from '../../../src/lib/sync/base-sync.ts'
import type {ServerContext} from '../../../src/lib/sync/server-context.ts'
import type {SyncSetting} from '../../support/sync-setting.ts'

/** The backup of the sample tree. */
export const ID = '20261101T020000'

const SCAN: BaseSyncOptions = {queue: undefined, backupIds: undefined, scan: true, again: false, adopt: false, isDryRun: false}

/** A base sync that takes what is finished and not in S3, unless told otherwise. */
export async function sync(
  setting: SyncSetting, options: Partial<BaseSyncOptions> = {}, changes: Partial<ServerContext> = {},
): Promise<BaseSyncResult> {
  return await syncBase(setting.context(changes), {...SCAN, ...options})
}

/** The entries of a backup's manifest in the bucket. */
export function readManifest({store, keys}: SyncSetting, id = ID): ManifestEntry[] {
  const text = gunzipSync(store.objects.get(keys.manifest(id))!.body).toString()
  return text.trim().split('\n').map(parseManifestLine).flatMap((line) => (line.line === 'entry' ? [line.entry] : []))
}

/** The record of a backup in the bucket. */
export function record({store, keys}: SyncSetting, id = ID): BackupRecord | undefined {
  const key = keys.record(id)
  const object = store.objects.get(key)
  return object && parseBackupRecord(object.body, key)
}

/** Every regular file of the backup, below its directory; links are not followed. */
export function listFiles({tree}: SyncSetting, id = ID): string[] {
  return execFileSync('find', [join(tree.baseDirectory, id), '-type', 'f', '-printf', '%P\\n'], {encoding: 'utf8'}).trim().split('\n')
}

/** The row of `base ls`. */
export async function stateOf(setting: SyncSetting, id = ID): Promise<BaseListRow | undefined> {
  return (await listBase(setting.context())).backups.find(({backupId}) => backupId === id)
}

/** Puts a backup into the queue, as the hook does. */
export async function enqueue(setting: SyncSetting, backupId: string): Promise<void> {
  await addTask(setting.queueDirectory, {server: 'pg', backupId: backupId as BackupId}, new Date())
}

/** A store that refuses one request, or with `run` everything. */
export class StoreRefused extends StoreRefusedError {
  constructor(scope: 'request' | 'run' = 'request') {
    super('refused', {storeCode: 'AccessDenied', scope})
  }
}

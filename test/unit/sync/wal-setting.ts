import {join} from 'node:path'
import type {ServerContext} from '../../../src/lib/sync/server-context.ts'
import type {WalSyncResult} from '../../../src/lib/sync/wal-result.ts'
import {syncWal, type WalSyncOptions} from '../../../src/lib/sync/wal-sync.ts'
import type {SyncSetting} from '../../support/sync-setting.ts'

/** The hash directory of the sample tree's WAL. */
export const DIRECTORY = '0000000100000000'

/** Where a WAL file of the sample tree lies. */
export function walPath({tree}: SyncSetting, name: string): string {
  return join(tree.walsDirectory, name.endsWith('.history') ? name : `${name.slice(0, 16)}/${name}`)
}

/** A WAL sync as cron starts it, unless told otherwise. */
export async function sync(
  setting: SyncSetting, changes: Partial<ServerContext> = {}, options: Partial<WalSyncOptions> = {},
): Promise<WalSyncResult> {
  return await syncWal(setting.context(changes), {isDryRun: false, ...options})
}

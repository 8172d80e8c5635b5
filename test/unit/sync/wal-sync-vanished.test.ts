import {rmSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {syncBase} from '../../../src/lib/sync/base-sync.ts'
import {createSyncSetting, useSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'
import {ID} from './base-setting.ts'
import {sync, walPath} from './wal-setting.ts'

describe('a WAL that vanishes before it is read', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})

  async function vanish(setting: SyncSetting) {
    const store = watchStore(setting.store, {before: ({method, args}) => {
      if (method === 'put' && String(args[0]).endsWith('05')) rmSync(walPath(setting, '000000010000000000000008'))
    }})
    return await sync(setting, {store, concurrency: 1})
  }

  it('is no error when no backup in S3 needs it', async () => {
    const result = await vanish(use())
    expect(result).to.deep.include({exitCode: 0})
    expect(result.vanished.items.map(({name}) => name)).to.deep.equal(['000000010000000000000008'])
  })

  it('is one when a complete backup in S3 does', async () => {
    const setting = use()
    await copyBackups(setting)
    const result = await vanish(setting)
    expect(result).to.deep.include({exitCode: 13})
    expect(result.lost.items.map(({name}) => name)).to.deep.equal(['000000010000000000000008'])
  })

  it('is one when the backup that needs it began on an earlier timeline', async () => {
    const setting = use()
    await copyBackups(setting)
    setting.tree.addHistoryFile(2, [{timeline: 1, lsn: '0/900000'}])
    setting.tree.addWal('000000020000000000000009')
    const store = watchStore(setting.store, {before: ({method, args}) => {
      if (method === 'put' && String(args[0]).endsWith('05')) rmSync(walPath(setting, '000000020000000000000009'))
    }})
    const result = await sync(setting, {store, concurrency: 1})
    expect(result.lost.items.map(({name}) => name)).to.deep.equal(['000000020000000000000009'])
  })

  it('is one when a record that cannot be read may need it', async () => {
    const setting = use()
    await setting.store.put(setting.keys.record(ID), Buffer.from('{"cut'), {kind: 'meta'})
    expect(await vanish(setting)).to.deep.include({exitCode: 13})
  })

  it('that is a history file is one only when there is a backup to need it', async () => {
    for (const hasBackup of [false, true]) {
      const setting = createSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})
      try {
        if (hasBackup) await copyBackups(setting)
        setting.tree.addHistoryFile(2, [{timeline: 1, lsn: '0/900000'}])
        setting.tree.addHistoryFile(3, [{timeline: 2, lsn: '0/A00000'}])
        const store = watchStore(setting.store, {before: ({method, args}) => {
          if (method === 'put' && String(args[0]).endsWith('00000002.history')) rmSync(walPath(setting, '00000003.history'))
        }})
        const result = await sync(setting, {store, concurrency: 1})
        expect([result.lost.count, result.vanished.count]).to.deep.equal(hasBackup ? [1, 0] : [0, 1])
      } finally {
        setting.remove()
      }
    }
  })

  it('with its whole hash directory is a warning, and the rest goes on', async () => {
    const setting = use()
    setting.tree.addWal('000000010000000100000000')
    const store = watchStore(setting.store, {before: ({method}) => {
      if (method === 'list') rmSync(join(setting.tree.walsDirectory, '0000000100000001'), {recursive: true, force: true})
    }})
    const result = await sync(setting, {store})
    expect(result).to.deep.include({exitCode: 0})
    expect(result.uploaded.files).to.equal(5)
    expect(setting.said.join()).to.contain('0000000100000001 vanished')
  })
})

async function copyBackups(setting: SyncSetting): Promise<void> {
  await syncBase(setting.context(), {queue: undefined, backupIds: undefined, scan: true, again: false, adopt: false, isDryRun: false})
}

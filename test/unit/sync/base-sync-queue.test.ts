import {readdirSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {useSyncSetting, watchStore} from '../../support/sync-setting.ts'
import {ID, StoreRefused, enqueue, sync} from './base-setting.ts'

describe('base sync and the queue', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})

  it('is worked through, oldest first: done, error with the reason, or back for the next run', async () => {
    const setting = use()
    setting.tree.addBackup({id: '20261102T020000', status: 'FAILED'})
    setting.tree.addBackup({id: '20261103T020000', status: 'DONE'})
    setting.tree.changeBackupInfo('20261103T020000', {status: 'STARTED'})
    for (const id of [ID, '20261102T020000', '20261103T020000', '20200101T000000']) await enqueue(setting, id)
    const result = await sync(setting, {queue: setting.queue()})
    expect(result.backups.map(({backupId, outcome}) => [backupId, outcome])).to.deep.equal([
      [ID, 'copied'], ['20261102T020000', 'refused'], ['20261103T020000', 'not-finished'], ['20200101T000000', 'refused'],
    ])
    expect(result.exitCode).to.equal(10)
    expect(readdirSync(join(setting.queueDirectory, 'pg')).filter((name) => !name.startsWith('.')).sort()).to.deep.equal([
      '20200101T000000.error', `${ID}.done`, '20261102T020000.error', '20261103T020000.run',
    ])
  })

  it('C11: what a dead run left running is taken up at once', async () => {
    const setting = use()
    await enqueue(setting, ID)
    await setting.queue().takeNext(new Set())
    expect(readdirSync(join(setting.queueDirectory, 'pg'))).to.include(`${ID}.running`)
    expect((await sync(setting, {queue: setting.queue()})).backups[0]).to.deep.include({outcome: 'copied', origin: 'queue'})
  })

  it('a store that refuses everybody leaves the task in the queue', async () => {
    const setting = use()
    await enqueue(setting, ID)
    const store = watchStore(setting.store, {before: ({method, args}) => {
      if (method === 'put' && String(args[0]).endsWith('PG_VERSION')) throw new StoreRefused('run')
    }})
    const result = await sync(setting, {queue: setting.queue()}, {store})
    expect(result).to.deep.include({exitCode: 1})
    expect(result.stoppedBy?.message).to.equal('refused')
    expect(readdirSync(join(setting.queueDirectory, 'pg'))).to.include(`${ID}.run`)
  })
})

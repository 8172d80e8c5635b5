import {readFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {formatTombstone} from '../../../src/lib/archive/markers.ts'
import {createSyncSetting, relativeKeys, useSyncSetting, watchStore} from '../../support/sync-setting.ts'
import {ID, StoreRefused, listFiles, record, stateOf, sync} from './base-setting.ts'

describe('base sync and who else wrote to the bucket', () => {
  const use = useSyncSetting()

  it('another Barman host made another backup with the same id: conflict, exit 12, nothing replaced', async () => {
    const setting = use()
    await sync(setting)
    const before = Buffer.from(setting.store.objects.get(setting.keys.record(ID))!.body)
    const other = createSyncSetting({sharedStore: setting.store, writer: {id: 'two', host: 'barman-two'}, tree: {backup: {beginTime: new Date('2026-11-01T01:00:00Z')}}})
    try {
      const result = await sync(other, {backupIds: [ID]})
      expect(result.exitCode).to.equal(12)
      expect(result.backups[0]?.reason).to.contain('barman-one')
      expect(Buffer.from(setting.store.objects.get(setting.keys.record(ID))!.body).equals(before)).to.equal(true)
    } finally {
      other.remove()
    }
  })

  it('another installation is copying it: exit 11, host and time named; --adopt takes over', async () => {
    const setting = use()
    await sync(setting, {}, {store: watchStore(setting.store, {before: ({method, args}) => {
      if (method === 'put' && String(args[0]).endsWith('PG_VERSION')) throw new StoreRefused()
    }})})
    const two = {writer: {id: 'two', host: 'barman-two'}}
    const refused = await sync(setting, {backupIds: [ID]}, two)
    expect(refused.exitCode).to.equal(11)
    expect(refused.backups[0]?.reason).to.contain('barman-one')
    const adopted = await sync(setting, {backupIds: [ID], adopt: true}, two)
    expect(adopted.exitCode).to.equal(0)
    expect(record(setting)?.writer.id).to.equal('two')
  })

  it('a tombstone stops it from being sent again, alone too; --again lifts it', async () => {
    const setting = use()
    await setting.store.put(setting.keys.tombstone(ID), formatTombstone({backupId: ID, writer: {id: 'x', host: 'h'}, deletedAt: '2026-11-02T00:00:00Z', reason: 'explicit'}), {kind: 'meta'})
    expect((await sync(setting)).backups).to.deep.equal([])
    expect((await sync(setting, {backupIds: [ID]})).backups[0]).to.deep.include({outcome: 'skipped'})
    expect((await sync(setting, {backupIds: [ID], again: true})).backups[0]).to.deep.include({outcome: 'copied'})
    expect(relativeKeys(setting)).not.to.include(`barmans3/${ID}.deleted.json`)
  })

  it('the old scripts copied it: legacy, unproven, not sent again; --again sends it, and names what does not belong', async () => {
    const setting = use()
    for (const file of listFiles(setting)) {
      await setting.store.put(setting.keys.data(ID, file as never), readFileSync(join(setting.tree.baseDirectory, ID, file)), {kind: 'base'})
    }
    await setting.store.put(setting.keys.data(ID, 'data/pg_notify/.barmans3' as never), Buffer.alloc(0), {kind: 'base'})
    await setting.store.put(setting.keys.backupInfo(ID, 'base'), readFileSync(setting.tree.backupInfoPath(ID)), {kind: 'meta'})
    expect(await stateOf(setting)).to.deep.include({state: 'legacy', restorable: 'unproven'})
    expect((await sync(setting)).backups).to.deep.equal([])
    const again = await sync(setting, {backupIds: [ID], again: true})
    expect(again.backups[0]).to.deep.include({outcome: 'copied'})
    expect(setting.said.join()).to.match(/warn: 1 objects below base\/20261101T020000\/ do not belong/)
  })

  it('a cut or foreign record is a conflict, never replaced', async () => {
    const setting = use()
    await setting.store.put(setting.keys.record(ID), Buffer.from('{"format":"barmans3-ba'), {kind: 'meta'})
    const result = await sync(setting, {backupIds: [ID]})
    expect(result.exitCode).to.equal(12)
    expect(Buffer.from(setting.store.objects.get(setting.keys.record(ID))!.body).toString()).to.equal('{"format":"barmans3-ba')
  })
})

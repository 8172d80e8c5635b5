import {readFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {formatStartedMarker, formatTombstone} from '../../../src/lib/archive/markers.ts'
import {createSyncSetting, relativeKeys, useSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'
import {ID, StoreRefused, listFiles, record, stateOf, sync} from './base-setting.ts'

describe('base sync and who else wrote to the bucket', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})

  it('another Barman host made another backup with the same id: conflict, exit 12, nothing replaced', async () => {
    const setting = use()
    await sync(setting)
    const before = Buffer.from(setting.store.objects.get(setting.keys.record(ID))!.body)
    const other = createSyncSetting({sharedStore: setting.store, writer: {id: 'two', host: 'barman-two'}, tree: {segmentSizeBytes: 1024 ** 2, backup: {beginTime: new Date('2026-11-01T01:00:00Z')}}})
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

  it('C19: another Barman host made another backup with the same id, and no hook tells: each run says so, exit 12, nothing is replaced', async () => {
    const setting = use()
    await sync(setting)
    const before = new Map([...setting.store.objects].map(([key, {body}]) => [key, body.toString('hex')]))
    const other = createSyncSetting({sharedStore: setting.store, writer: {id: 'two', host: 'barman-two'}, tree: {segmentSizeBytes: 1024 ** 2, backup: {beginTime: new Date('2026-11-01T01:00:00Z'), keep: 'full'}}})
    try {
      for (let run = 0; run < 2; run++) {
        const result = await sync(other)
        expect(result.exitCode).to.equal(12)
        expect(result.backups.map(({backupId, outcome}) => [backupId, outcome])).to.deep.equal([[ID, 'failed']])
        expect(result.backups[0]?.reason).to.contain('barman-one')
      }
      expect(new Map([...setting.store.objects].map(([key, {body}]) => [key, body.toString('hex')]))).to.deep.equal(before)
    } finally {
      other.remove()
    }
  })

  it('the same backup on another host (a passive node) is done there too, and its metadata is left to who wrote the record', async () => {
    const setting = use()
    await sync(setting)
    const other = createSyncSetting({sharedStore: setting.store, writer: {id: 'two', host: 'barman-two'}, tree: {segmentSizeBytes: 1024 ** 2}})
    try {
      other.tree.changeBackupInfo(ID, {status: 'WAITING_FOR_WALS'})
      expect(await sync(other)).to.deep.include({exitCode: 0, metadataUpdated: 0})
      expect(setting.store.objects.get(setting.keys.backupInfo(ID, 'meta'))!.body.toString()).to.contain('status=DONE')
    } finally {
      other.remove()
    }
  })

  it('--again does not call off the deletion of another backup with the same id', async () => {
    const setting = use()
    await sync(setting)
    await putTombstone(setting)
    const other = createSyncSetting({sharedStore: setting.store, writer: {id: 'two', host: 'barman-two'}, tree: {segmentSizeBytes: 1024 ** 2, backup: {beginTime: new Date('2026-11-01T01:00:00Z')}}})
    try {
      expect((await sync(other, {backupIds: [ID], again: true})).exitCode).to.equal(12)
      expect(relativeKeys(setting)).to.include(`barmans3/${ID}.deleted.json`)
      expect((await sync(setting, {backupIds: [ID], again: true})).backups[0]).to.deep.include({outcome: 'already-complete'})
      expect(relativeKeys(setting)).not.to.include(`barmans3/${ID}.deleted.json`)
    } finally {
      other.remove()
    }
  })

  it('what a deletion has left never passes for a backup of the old scripts, whenever --again dies', async () => {
    for (let point = 0; point < 30; point += 2) {
      const setting = createSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})
      try {
        await setting.store.put(setting.keys.data(ID, 'data/PG_VERSION' as never), Buffer.from('left'), {kind: 'base'})
        await setting.store.put(setting.keys.backupInfo(ID, 'meta'), readFileSync(setting.tree.backupInfoPath(ID)), {kind: 'meta'})
        await putTombstone(setting)
        const store = watchStore(setting.store, {before: ({index}) => {
          if (index >= point) throw new Error('dead')
        }})
        await sync(setting, {backupIds: [ID], again: true}, {store, concurrency: 1}).then(() => undefined, () => undefined)
        expect((await stateOf(setting))?.state, `call ${point}`).to.be.oneOf(['deleting', 'incomplete'])
      } finally {
        setting.remove()
      }
    }
  })

  it('a started marker of another backup with the same id is a conflict, --adopt or not; one nobody can read is too', async () => {
    const setting = use()
    const marker = {server: 'pg', backupId: ID, writer: {id: 'two', host: 'barman-two'}, attempt: 'a', startedAt: '2026-11-01T03:00:00Z', hadLegacyData: false}
    const identity = {systemId: undefined, beginTime: '2026-11-01T01:00:00.000000Z', beginXlog: '0/1', beginWal: undefined}
    for (const body of [formatStartedMarker({...marker, identity}), Buffer.from('{"cut')]) {
      await setting.store.put(setting.keys.started(ID), body, {kind: 'meta'})
      for (const adopt of [false, true]) expect((await sync(setting, {backupIds: [ID], adopt})).exitCode).to.equal(12)
      expect(setting.store.objects.get(setting.keys.started(ID))!.body.equals(body)).to.equal(true)
    }
    expect(relativeKeys(setting)).to.deep.equal([`barmans3/${ID}.started.json`, 'identity.json'])
  })

  it('two that announce it at the same moment: one goes on, the other is told', async () => {
    const setting = use()
    let isRaced = false
    const store = watchStore(setting.store, {before: async ({method, args}) => {
      if (isRaced || method !== 'put' || args[0] !== setting.keys.started(ID)) return
      isRaced = true
      await sync(setting, {backupIds: [ID]}, {writer: {id: 'two', host: 'barman-two'}, stateDirectory: `${setting.stateDirectory}-two`, store: watchStore(setting.store, {before: ({method: inner, args: [key]}) => {
        if (inner === 'put' && String(key).endsWith('PG_VERSION')) throw new StoreRefused('run')
      }})})
    }})
    const result = await sync(setting, {backupIds: [ID]}, {store})
    expect(result.exitCode).to.equal(11)
    expect(result.backups[0]?.reason).to.contain('barman-two')
    expect(record(setting)).to.equal(undefined)
  })
})

async function putTombstone({store, keys}: SyncSetting): Promise<void> {
  await store.put(keys.tombstone(ID), formatTombstone({backupId: ID, writer: {id: 'x', host: 'h'}, deletedAt: '2026-11-02T00:00:00Z', reason: 'explicit'}), {kind: 'meta'})
}

import {expect} from 'chai'
import {StoreRefusedError} from '../../../src/lib/errors.ts'
import type {ObjectStore} from '../../../src/lib/store/object-store.ts'
import {syncWal} from '../../../src/lib/sync/wal-sync.ts'
import {useSyncSetting, type SyncSetting} from '../../support/sync-setting.ts'
import {ID, record, sync} from './base-setting.ts'

/** A store that says of one key that it exists and never shows it, as one whose replicas disagree. */
function hiding({store}: SyncSetting, hidden: string): ObjectStore {
  return new Proxy(store, {get(target, name) {
    const value: unknown = Reflect.get(target, name, target)
    if (typeof value !== 'function') return value
    return (...args: unknown[]) => {
      if (args[0] === hidden && name === 'put') return Promise.resolve('exists')
      if (args[0] === hidden && (name === 'get' || name === 'head')) return Promise.resolve(undefined)
      return (value as (...all: unknown[]) => unknown).apply(target, args)
    }
  }})
}

describe('a store that says a key exists and does not show it', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})

  it('is refused for the started marker, not asked for ever', async () => {
    const setting = use()
    const result = await sync(setting, {}, {store: hiding(setting, setting.keys.started(ID))})
    expect(result.exitCode).to.equal(1)
    expect(result.backups[0]?.reason).to.contain(`${ID}.started.json`)
    expect(record(setting)).to.equal(undefined)
  })

  it('is refused for identity.json, before anything is uploaded', async () => {
    const setting = use()
    const error = await syncWal(setting.context({store: hiding(setting, setting.keys.identity)}), {isDryRun: false}).then(() => undefined, (thrown: unknown) => thrown)
    expect(error).to.be.instanceOf(StoreRefusedError).and.include({storeCode: 'Inconsistent'})
    expect((error as StoreRefusedError).hint).to.be.a('string')
    expect(setting.store.objects.size).to.equal(0)
  })

  it('is refused for a WAL file, and the others go up', async () => {
    const setting = use()
    const key = setting.keys.wal('0000000100000000/000000010000000000000006')
    const result = await syncWal(setting.context({store: hiding(setting, key)}), {isDryRun: false})
    expect(result.failed.items.map(({name}) => name)).to.deep.equal(['000000010000000000000006'])
    expect(result.uploaded.files).to.equal(4)
  })

  it('is refused for the record: the backup is not taken for complete', async () => {
    const setting = use()
    const result = await sync(setting, {}, {store: hiding(setting, setting.keys.record(ID))})
    expect(result.exitCode).not.to.equal(0)
    expect(result.backups[0]?.outcome).to.equal('failed')
  })
})

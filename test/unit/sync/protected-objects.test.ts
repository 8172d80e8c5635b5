import {linkSync, mkdirSync, rmSync, writeFileSync} from 'node:fs'
import {expect} from 'chai'
import {relativeKeys, useSyncSetting, type SyncSetting} from '../../support/sync-setting.ts'
import {ID, readManifest, record} from './base-setting.ts'
import {content, expectFaithful} from './faithful.ts'
import {big, bury, other, pathOf, prepare, rewriteManifest, run, SECOND, snapshot, spoiltLines} from './two-backups.ts'

const MIB = 1024 ** 2

describe('--again of a deleted backup whose objects another one refers to', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: MIB}})
  const at = (path: string, id = ID) => pathOf(use(), path, id)

  for (const layout of ['compact', 'mirror'] as const) {
    it(`${layout}: equal content is used as it lies there, and the rest is sent`, async () => {
      const setting = await prepare(use(), {recorded: true, firstLayout: layout})
      await bury(setting, ID, {withRecord: true})
      const keys = [big, other].map((path) => `base/${ID}/${path}${layout === 'compact' ? '.zst' : ''}`)
      const before = snapshot(setting)
      const puts: string[] = []
      const {exitCode} = await run(setting, layout, {backupIds: [ID], again: true}, ({method, key}) => void (method === 'put' && puts.push(key)))
      expect(exitCode).to.equal(0)
      expect(puts).not.to.include.members(keys.slice(0, 1)).and.not.to.include.members(keys.slice(1))
      expect(snapshot(setting)).to.include(Object.fromEntries(keys.map((key) => [key, before[key]])))
      expect(record(setting)).to.deep.include({layout, owners: []})
      expectFaithful(setting)
      expectFaithful(setting, SECOND)
    })

    it(`${layout}: other content is a conflict, exit 12, named, and nothing that is referred to is replaced`, async () => {
      const setting = await prepare(use(), {recorded: true, firstLayout: layout})
      await bury(setting, ID, {withRecord: true})
      rmSync(at(big))
      writeFileSync(at(big), content(MIB, 'not what it was'))
      const before = snapshot(setting)
      const {exitCode, reason} = await run(setting, layout, {backupIds: [ID], again: true})
      expect(exitCode).to.equal(12)
      expect(reason).to.match(new RegExp(`"base/${ID}/${big}[.zst]*" holds another content than ${big}, and other backups refer to it; it was not replaced`))
      expect(record(setting)).to.equal(undefined)
      for (const [key, sum] of Object.entries(before)) if (/^base\/.*(big|other)/.test(key)) expect(snapshot(setting)[key], key).to.equal(sum)
      expectFaithful(setting, SECOND)
    })
  }

  it('in the other layout, beside what is there', async () => {
    const setting = await prepare(use(), {recorded: true})
    await bury(setting, ID, {withRecord: true})
    expect((await run(setting, 'mirror', {backupIds: [ID], again: true})).exitCode).to.equal(0)
    expectFaithful(setting)
    expectFaithful(setting, SECOND)
  })

  it('a pack never takes the place of an object that another backup refers to', async () => {
    const setting = use()
    mkdirSync(at('packs'))
    writeFileSync(at('packs/0001.tar'), content(MIB, 'no pack'))
    await prepare(use(), {recorded: false, firstLayout: 'mirror'})
    mkdirSync(at('packs', SECOND), {recursive: true})
    linkSync(at('packs/0001.tar'), at('packs/0001.tar', SECOND))
    expect((await run(setting, 'compact')).exitCode).to.equal(0)
    expect(readManifest(setting, SECOND).find(({path}) => path === 'packs/0001.tar')).to.include({object: `base/${ID}/packs/0001.tar`})
    await bury(setting, ID, {withRecord: true})
    expect((await run(setting, 'compact', {backupIds: [ID], again: true})).exitCode).to.equal(0)
    expectFaithful(setting, SECOND)
    expectFaithful(setting)
    expect(relativeKeys(setting)).to.include(`base/${ID}/packs/0002.tar`)
  })

  for (const [what, spoil] of [
    ['record that is cut', ({store, keys}: SyncSetting) => store.objects.set(keys.record(SECOND), {...store.objects.get(keys.record(SECOND))!, body: Buffer.from('{"format"')})],
    ['record of a newer format', ({store, keys}: SyncSetting) => {
      const object = store.objects.get(keys.record(SECOND))!
      store.objects.set(keys.record(SECOND), {...object, body: Buffer.from(object.body.toString().replace(/"version": ?1/, '"version": 99'))})
    }],
    ['manifest that is cut', ({store, keys}: SyncSetting) => {
      const object = store.objects.get(keys.manifest(SECOND))!
      store.objects.set(keys.manifest(SECOND), {...object, body: object.body.subarray(0, 100)})
    }],
    ['manifest that is gone', ({store, keys}: SyncSetting) => store.objects.delete(keys.manifest(SECOND))],
    ...spoiltLines.map(([what, change]) => [`manifest that is ${what}`, (setting: SyncSetting) => rewriteManifest(setting, SECOND, change)] as const),
  ] as const) {
    it(`a ${what}: exit 12, since it could refer to anything; nothing is sent`, async () => {
      const setting = await prepare(use(), {recorded: true})
      await bury(setting, ID, {withRecord: true})
      spoil(setting)
      const before = snapshot(setting)
      const {exitCode, reason} = await run(setting, 'compact', {backupIds: [ID], again: true})
      expect(exitCode).to.equal(12)
      expect(reason).to.match(/20261102T020000/)
      const data = (all: Record<string, string>) => Object.fromEntries(Object.entries(all).filter(([key]) => key.startsWith('base/')))
      expect(data(snapshot(setting))).to.deep.equal(data(before))
      expect(record(setting)).to.equal(undefined)
    })
  }
})

import {createHash} from 'node:crypto'
import {linkSync, mkdirSync, rmSync, utimesSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {gunzipSync, gzipSync} from 'node:zlib'
import {expect} from 'chai'
import {formatTombstone} from '../../../src/lib/archive/markers.ts'
import type {BackupLayout} from '../../../src/lib/archive/manifest.ts'
import {InterruptedError} from '../../../src/lib/errors.ts'
import type {BaseSyncOptions} from '../../../src/lib/sync/base-sync.ts'
import {createSyncSetting, relativeKeys, useSyncSetting, watchStore, type StoreCall, type SyncSetting} from '../../support/sync-setting.ts'
import {ID, readManifest, record, StoreRefused, sync} from './base-setting.ts'
import {content, expectFaithful} from './faithful.ts'

const MIB = 1024 ** 2
const SECOND = '20261102T020000'
const THIRD = '20261103T020000'
const big = 'data/base/1/big'
const other = 'data/base/1/other'

/** What is wrong with a manifest that has the digest its record names. */
const spoiltLines = [
  ['of a newer format', (text: string) => text.replace('"version":1', '"version":99')],
  ['cut inside a line', (text: string) => text.slice(0, text.indexOf('"path":"data/base/1/big"') - 20)],
  ['cut before its last line', (text: string) => text.slice(0, text.indexOf('{"type":"end"'))],
  ['cut behind a line, before all objects', (text: string) => text.slice(0, text.indexOf('{"type":"object"'))],
  ['foreign', () => 'hello\n'],
] as const

/** Puts another manifest into the bucket, and its digest into the record. */
function rewriteManifest({store, keys}: SyncSetting, id: string, change: (text: string) => string): void {
  const [manifest, described] = [store.objects.get(keys.manifest(id))!, store.objects.get(keys.record(id))!]
  const text = gunzipSync(manifest.body).toString()
  expect(change(text)).not.to.equal(text)
  const body = gzipSync(change(text))
  const {manifest: named, ...rest} = JSON.parse(described.body.toString()) as {manifest: object}
  const digest = {...named, sizeBytes: body.length, sha256: createHash('sha256').update(body).digest('hex')}
  store.objects.set(keys.manifest(id), {...manifest, body})
  store.objects.set(keys.record(id), {...described, body: Buffer.from(JSON.stringify({...rest, manifest: digest}))})
}

describe('who else uses the bucket, in either layout', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: MIB}})
  const at = (path: string, id = ID) => join(use().tree.baseDirectory, id, path)

  async function run(
    setting: SyncSetting, layout: BackupLayout, options: Partial<BaseSyncOptions> = {}, before?: (call: StoreCall & {key: string}) => void | Promise<void>,
  ) {
    const store = watchStore(setting.store, {before: async (call) => await before?.({...call, key: setting.keys.relative(String(call.args[0]))})})
    const result = await sync(setting, options, {store, base: {...setting.context().base, layout}})
    return {...result, reason: result.backups.at(-1)?.reason ?? ''}
  }

  function snapshot({store, keys}: SyncSetting): Record<string, string> {
    return Object.fromEntries([...store.objects].map(([key, {body}]) => [keys.relative(key), createHash('sha256').update(body).digest('hex')]))
  }

  async function bury({store, keys}: SyncSetting, id: string, {withRecord}: {withRecord: boolean}): Promise<void> {
    await store.put(keys.tombstone(id), formatTombstone({backupId: id, writer: {id: 'x', host: 'h'}, deletedAt: '2026-11-02T00:00:00Z', reason: 'explicit'}), {kind: 'meta'})
    if (withRecord) for (const key of [keys.record(id), keys.manifest(id), keys.started(id)]) store.objects.delete(key)
  }

  /** Adds a backup whose large files are hard links to those of the one before. */
  function addLinked(setting: SyncSetting, id: string, linkTo: string): void {
    setting.tree.addBackup({id, linkTo})
    rmSync(at('data/backup_manifest', id), {force: true})
    for (const path of [big, other]) linkSync(at(path, linkTo), at(path, id))
  }

  /** The first backup in S3, and a second one here; `recorded`: in S3 too, as one that refers to the first. */
  async function prepare({recorded, firstLayout = 'compact'}: {recorded: boolean; firstLayout?: BackupLayout}): Promise<SyncSetting> {
    const setting = use()
    for (const path of [big, other]) {
      writeFileSync(at(path), content(MIB, path))
      utimesSync(at(path), 1_700_000_000, 1_700_000_000)
    }
    rmSync(at('data/backup_manifest'))
    expect((await run(setting, firstLayout)).exitCode).to.equal(0)
    addLinked(setting, SECOND, ID)
    if (!recorded) return setting
    expect((await run(setting, 'compact')).exitCode).to.equal(0)
    expect(record(setting, SECOND)).to.deep.include({owners: [ID]})
    return setting
  }

  for (const layout of ['compact', 'mirror'] as const) {
    it(`C19: ${layout}: another Barman host has another backup with the same id: exit 12, nothing is replaced, the record least of all`, async () => {
      const setting = use()
      await run(setting, layout)
      const before = snapshot(setting)
      const elsewhere = createSyncSetting({
        sharedStore: setting.store, writer: {id: 'two', host: 'barman-two'}, tree: {segmentSizeBytes: MIB, backup: {beginTime: new Date('2026-11-01T01:00:00Z')}},
      })
      try {
        for (const options of [{}, {backupIds: [ID]}, {backupIds: [ID], again: true}, {backupIds: [ID], adopt: true}]) {
          const {exitCode, reason} = await run(elsewhere, layout, options)
          expect(exitCode).to.equal(12)
          expect(reason).to.contain('barman-one')
        }
        expect(snapshot(setting)).to.deep.equal(before)
      } finally {
        elsewhere.remove()
      }
    })

    it(`${layout}: a second writer at the same time: exit 11, host named, and it sends nothing; the first one ends`, async () => {
      const setting = use()
      let second: Awaited<ReturnType<typeof run>> | undefined
      const puts: string[] = []
      const first = await run(setting, layout, {}, async ({method, key}) => {
        if (second || method !== 'put' || !key.startsWith('base/')) return
        second = {exitCode: 0} as never
        const store = watchStore(setting.store, {before: (call) => void (call.method.startsWith('put') && puts.push(setting.keys.relative(String(call.args[0]))))})
        const result = await sync(setting, {backupIds: [ID]}, {
          store, base: {...setting.context().base, layout}, writer: {id: 'two', host: 'barman-two'}, stateDirectory: `${setting.stateDirectory}-two`,
        })
        second = {...result, reason: result.backups[0]?.reason ?? ''}
      })
      expect(second?.exitCode).to.equal(11)
      expect(second?.reason).to.contain('barman-one')
      expect(puts.filter((key) => key !== `barmans3/${ID}.started.json`)).to.deep.equal([])
      expect(first.exitCode).to.equal(0)
      expect(record(setting)?.writer.host).to.equal('barman-one')
      expectFaithful(setting)
    })
  }

  it('a referenced object of another size is named, its file is sent, and the others are still referred to', async () => {
    const setting = await prepare({recorded: false})
    const key = setting.keys.absolute(`base/${ID}/${big}.zst`)
    setting.store.objects.set(key, {...setting.store.objects.get(key)!, body: Buffer.alloc(10)})
    expect((await run(setting, 'compact')).exitCode).to.equal(0)
    expect(setting.said.join('\n')).to.match(/warn: 1 objects of earlier backups are gone from S3 or of another size.*big\.zst/)
    const owner = Object.fromEntries(readManifest(setting, SECOND).flatMap((entry) => (entry.type === 'file' ? [[entry.path, entry.object.split('/')[1]]] : [])))
    expect(owner).to.include({[big]: SECOND, [other]: ID})
    expectFaithful(setting, SECOND)
  })

  it('something deletes in the bucket all the time: exit 10, no record; once it has stopped, the next run ends right', async () => {
    const setting = await prepare({recorded: false})
    const left = [big, other].map((path) => setting.keys.absolute(`base/${ID}/${path}.zst`))
    const {exitCode, reason} = await run(setting, 'compact', {}, ({method, key}) => {
      if (method === 'list' && key === `base/${ID}/`) setting.store.objects.delete(left.shift()!)
    })
    expect([exitCode, left]).to.deep.equal([10, []])
    expect(reason).to.match(/1 objects of earlier backups are gone from S3 or of another size, such as .*other\.zst/)
    expect(record(setting, SECOND)).to.equal(undefined)
    expect((await run(setting, 'compact')).exitCode).to.equal(0)
    expect(record(setting, SECOND)).to.deep.include({owners: []})
    expectFaithful(setting, SECOND)
  })

  // Who has found all it asked for does not come to the last line.
  for (const [what, change] of spoiltLines.filter(([each]) => each !== 'cut before its last line')) {
    it(`an earlier manifest that its record names and that is ${what} is named, and what it does not tell is sent`, async () => {
      const setting = await prepare({recorded: false})
      rewriteManifest(setting, ID, change)
      expect((await run(setting, 'compact')).exitCode).to.equal(0)
      expect(setting.said.join('\n')).to.match(/warn: nothing more is taken over from backup 20261101T020000/)
      expectFaithful(setting, SECOND)
    })
  }

  describe('a backup that vouches for what is referred to', () => {
    it('gets its tombstone between the copy and the record: exit 10, no record; the next run sends what it needs', async () => {
      const setting = await prepare({recorded: false})
      const {exitCode, reason} = await run(setting, 'compact', {}, async ({method, key}) => {
        if (method === 'put' && key === `meta/${SECOND}-backup.info`) await bury(setting, ID, {withRecord: false})
      })
      expect(exitCode).to.equal(10)
      expect(reason).to.match(new RegExp(`refers to objects through backup ${ID}, which is being deleted`))
      expect(record(setting, SECOND)).to.equal(undefined)
      expect((await run(setting, 'compact')).exitCode).to.equal(0)
      expect(record(setting, SECOND)).to.deep.include({owners: [], vouchers: []})
      expectFaithful(setting, SECOND)
    })

    it('loses its record before ours is written: exit 10, no record', async () => {
      const setting = await prepare({recorded: false})
      const {exitCode} = await run(setting, 'compact', {}, ({method, key}) => {
        if (method === 'put' && key === `meta/${SECOND}-backup.info`) setting.store.objects.delete(setting.keys.record(ID))
      })
      expect([exitCode, record(setting, SECOND)]).to.deep.equal([10, undefined])
    })

    it('gets its tombstone just when the record is written: the record is removed again, exit 10; the next run sends what it needs', async () => {
      const setting = await prepare({recorded: false})
      let isWritten = false
      const {exitCode, reason} = await run(setting, 'compact', {}, async ({method, key}) => {
        if (method !== 'put' || key !== `barmans3/${SECOND}.json`) return
        isWritten = true
        await bury(setting, ID, {withRecord: false})
      })
      expect([exitCode, isWritten]).to.deep.equal([10, true])
      expect(reason).to.contain('which is being deleted')
      expect(record(setting, SECOND)).to.equal(undefined)
      expect((await run(setting, 'compact')).exitCode).to.equal(0)
      expect(record(setting, SECOND)).to.deep.include({owners: [], vouchers: []})
      expectFaithful(setting, SECOND)
    })

    it('a record that cannot be removed again is for a human: exit 12, named, with what to do', async () => {
      const setting = await prepare({recorded: false})
      const {exitCode, backups} = await run(setting, 'compact', {}, async ({method, key, args}) => {
        if (method === 'put' && key === `barmans3/${SECOND}.json`) await bury(setting, ID, {withRecord: false})
        if (method === 'delete' && (args[0] as string[]).some((each) => each.endsWith(`${SECOND}.json`))) throw new StoreRefused()
      })
      expect(exitCode).to.equal(12)
      expect(backups.at(-1)?.reason).to.match(new RegExp(`refers to objects through backup ${ID}.*its record could not be removed: refused`))
      expect(backups.at(-1)?.hint).to.contain(`remove "barman/pg/barmans3/${SECOND}.json" by hand`)
    })

    it('a run that is stopped before they were looked at once more takes its record back', async () => {
      const setting = await prepare({recorded: false})
      let isWritten = false
      const store = watchStore(setting.store, {after: ({method, args}) => {
        if (method !== 'put' || args[0] !== setting.keys.record(SECOND)) return
        isWritten = true
        setting.abort.abort(new InterruptedError('SIGTERM'))
      }})
      const {exitCode} = await sync(setting, {}, {store, base: {...setting.context().base, layout: 'compact'}})
      expect([exitCode, isWritten]).to.deep.equal([143, true])
      expect(record(setting, SECOND)).to.equal(undefined)
    })

    it('the owner may be tombstoned, as long as the voucher stands: its data stays', async () => {
      const setting = await prepare({recorded: true})
      await bury(setting, ID, {withRecord: true})
      addLinked(setting, THIRD, SECOND)
      expect((await run(setting, 'compact')).exitCode).to.equal(0)
      // Without the owner's record nobody knows how old the data is: it is sent again.
      expect(record(setting, THIRD)).to.deep.include({owners: [], vouchers: []})
      expectFaithful(setting, THIRD)
    })
  })

  describe('--again of a deleted backup whose objects another one refers to', () => {
    for (const layout of ['compact', 'mirror'] as const) {
      it(`${layout}: equal content is used as it lies there, and the rest is sent`, async () => {
        const setting = await prepare({recorded: true, firstLayout: layout})
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
        const setting = await prepare({recorded: true, firstLayout: layout})
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
      const setting = await prepare({recorded: true})
      await bury(setting, ID, {withRecord: true})
      expect((await run(setting, 'mirror', {backupIds: [ID], again: true})).exitCode).to.equal(0)
      expectFaithful(setting)
      expectFaithful(setting, SECOND)
    })

    it('a pack never takes the place of an object that another backup refers to', async () => {
      const setting = use()
      mkdirSync(at('packs'))
      writeFileSync(at('packs/0001.tar'), content(MIB, 'no pack'))
      await prepare({recorded: false, firstLayout: 'mirror'})
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
        const setting = await prepare({recorded: true})
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
})

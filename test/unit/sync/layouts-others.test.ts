import {expect} from 'chai'
import {InterruptedError} from '../../../src/lib/errors.ts'
import {createSyncSetting, useSyncSetting, watchStore} from '../../support/sync-setting.ts'
import {ID, readManifest, record, StoreRefused, sync} from './base-setting.ts'
import {expectFaithful} from './faithful.ts'
import {addLinked, big, bury, other, prepare, rewriteManifest, run, SECOND, snapshot, spoiltLines} from './two-backups.ts'

const MIB = 1024 ** 2
const THIRD = '20261103T020000'

describe('who else uses the bucket, in either layout', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: MIB}})

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
    const setting = await prepare(use(), {recorded: false})
    const key = setting.keys.absolute(`base/${ID}/${big}.zst`)
    setting.store.objects.set(key, {...setting.store.objects.get(key)!, body: Buffer.alloc(10)})
    expect((await run(setting, 'compact')).exitCode).to.equal(0)
    expect(setting.said.join('\n')).to.match(/warn: 1 objects of earlier backups are gone from S3 or of another size.*big\.zst/)
    const owner = Object.fromEntries(readManifest(setting, SECOND).flatMap((entry) => (entry.type === 'file' ? [[entry.path, entry.object.split('/')[1]]] : [])))
    expect(owner).to.include({[big]: SECOND, [other]: ID})
    expectFaithful(setting, SECOND)
  })

  it('something deletes in the bucket all the time: exit 10, no record; once it has stopped, the next run ends right', async () => {
    const setting = await prepare(use(), {recorded: false})
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
      const setting = await prepare(use(), {recorded: false})
      rewriteManifest(setting, ID, change)
      expect((await run(setting, 'compact')).exitCode).to.equal(0)
      expect(setting.said.join('\n')).to.match(/warn: nothing more is taken over from backup 20261101T020000/)
      expectFaithful(setting, SECOND)
    })
  }

  describe('a backup that vouches for what is referred to', () => {
    it('gets its tombstone between the copy and the record: exit 10, no record; the next run sends what it needs', async () => {
      const setting = await prepare(use(), {recorded: false})
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
      const setting = await prepare(use(), {recorded: false})
      const {exitCode} = await run(setting, 'compact', {}, ({method, key}) => {
        if (method === 'put' && key === `meta/${SECOND}-backup.info`) setting.store.objects.delete(setting.keys.record(ID))
      })
      expect([exitCode, record(setting, SECOND)]).to.deep.equal([10, undefined])
    })

    it('gets its tombstone just when the record is written: the record is removed again, exit 10; the next run sends what it needs', async () => {
      const setting = await prepare(use(), {recorded: false})
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
      const setting = await prepare(use(), {recorded: false})
      const {exitCode, backups} = await run(setting, 'compact', {}, async ({method, key, args}) => {
        if (method === 'put' && key === `barmans3/${SECOND}.json`) await bury(setting, ID, {withRecord: false})
        if (method === 'delete' && (args[0] as string[]).some((each) => each.endsWith(`${SECOND}.json`))) throw new StoreRefused()
      })
      expect(exitCode).to.equal(12)
      expect(backups.at(-1)?.reason).to.match(new RegExp(`refers to objects through backup ${ID}.*its record could not be removed: refused`))
      expect(backups.at(-1)?.hint).to.contain(`remove "barman/pg/barmans3/${SECOND}.json" by hand`)
    })

    it('a run that is stopped before they were looked at once more takes its record back', async () => {
      const setting = await prepare(use(), {recorded: false})
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

    it('an owner whose record is gone is referred to no more, though the voucher stands', async () => {
      const setting = await prepare(use(), {recorded: true})
      await bury(setting, ID, {withRecord: true})
      addLinked(setting, THIRD, SECOND)
      expect((await run(setting, 'compact')).exitCode).to.equal(0)
      // Without the owner's record nobody knows how old the data is: it is sent again.
      expect(record(setting, THIRD)).to.deep.include({owners: [], vouchers: []})
      expectFaithful(setting, THIRD)
    })
  })
})

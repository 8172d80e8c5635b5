import {readFileSync, rmSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {formatStartedMarker, formatTombstone, type StartedMarker} from '../../../src/lib/archive/markers.ts'
import {StoreRefusedError} from '../../../src/lib/errors.ts'
import type {ObjectKey} from '../../../src/lib/store/object-store.ts'
import {nextSegmentName} from '../../../src/lib/barman/wal-name.ts'
import {listBase, type BaseListRow} from '../../../src/lib/sync/base-list.ts'
import {syncBase} from '../../../src/lib/sync/base-sync.ts'
import {syncWal} from '../../../src/lib/sync/wal-sync.ts'
import {createSyncSetting, useSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'

const ID = '20261101T020000'
const NEXT = '20261102T020000'

async function copy(setting: SyncSetting): Promise<void> {
  await syncBase(setting.context(), {queue: undefined, backupIds: undefined, scan: true, again: false, adopt: false, isDryRun: false})
  await syncWal(setting.context(), {isDryRun: false})
}

async function rowOf(setting: SyncSetting, id = ID): Promise<BaseListRow | undefined> {
  return (await listBase(setting.context())).backups.find(({backupId}) => backupId === id)
}

async function put({store, keys}: SyncSetting, relative: string, body: string | Buffer = 'x'): Promise<void> {
  await store.put(keys.absolute(relative), Buffer.from(body), {kind: 'meta'})
}

function change({store, keys}: SyncSetting, relative: string, edit: (text: string) => string): void {
  const key: ObjectKey = keys.absolute(relative)
  const object = store.objects.get(key)!
  store.objects.set(key, {...object, body: Buffer.from(edit(object.body.toString()))})
}

function changeSummary(setting: SyncSetting, id: string, fields: Readonly<Record<string, unknown>>): void {
  change(setting, `barmans3/${id}.json`, (text) => {
    const document = JSON.parse(text) as {summary: object}
    return JSON.stringify({...document, summary: {...document.summary, ...fields}})
  })
}

const tombstone = formatTombstone({backupId: ID, writer: {id: 'x', host: 'h'}, deletedAt: '2026-11-02T00:00:00Z', reason: 'explicit'})

function marker(changes: Partial<StartedMarker> = {}): Buffer {
  const identity = {systemId: undefined, beginTime: '2026-11-01T02:00:00.000000Z', beginXlog: undefined, beginWal: undefined}
  return formatStartedMarker({server: 'pg', backupId: ID, identity, writer: {id: 'x', host: 'h'}, attempt: 'a', startedAt: '2026-11-01T03:00:00Z', hadLegacyData: false, ...changes})
}

describe('the list of base backups', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})

  it('tells of a copied backup what there is to tell, and which one is the latest', async () => {
    const setting = use()
    await copy(setting)
    const {backups, latestRestorable, problems, isCatalogRead} = await listBase(setting.context())
    expect(backups).to.have.length(1)
    expect(backups[0]).to.deep.include({
      server: 'pg', backupId: ID, beginTime: '2026-11-01T02:00:00.000Z', endTime: '2026-11-01T02:04:00.000Z', layout: 'mirror',
      barmanStatus: 'DONE', state: 'complete', restorable: 'yes', reason: undefined, isLocal: true,
    })
    expect(backups[0]?.sizeBytes).to.be.greaterThan(1000).and.equal(backups[0]?.storedBytes)
    expect({latestRestorable, problems, isCatalogRead}).to.deep.equal({latestRestorable: ID, problems: [], isCatalogRead: true})
  })

  it('C04: half-born, failed and running backups are listed beside the others, nothing crashes', async () => {
    const setting = use()
    setting.tree.addBackup({id: '20261103T020000', status: 'STARTED'})
    setting.tree.addBackup({id: '20261104T020000', status: 'FAILED'})
    setting.tree.writeBackupInfo('20261105T020000', 'status=EMPTY\nbegin_time=None\nend_time=None\nbegin_wal=None\nsize=None\n')
    writeFileSync(join(setting.tree.metaDirectory, '20261106T020000-backup.info'), Buffer.from([0xff, 0xfe, 0]))
    const {backups} = await listBase(setting.context())
    expect(backups.map(({backupId, barmanStatus, state, restorable}) => [backupId, barmanStatus, state, restorable])).to.have.deep.members([
      [ID, 'DONE', 'absent', 'no'], ['20261103T020000', 'STARTED', 'absent', 'no'], ['20261104T020000', 'FAILED', 'absent', 'no'],
      ['20261105T020000', 'EMPTY', 'absent', 'no'], ['20261106T020000', 'UNREADABLE', 'absent', 'no'],
    ])
    expect(backups.at(-1)?.beginTime).to.equal(undefined)
  })

  it('C06: in the night the clock was put back, order and latest follow the begin time, not the id', async () => {
    const setting = createSyncSetting({tree: {backup: {id: '20261025T033000', beginTime: new Date('2026-10-25T00:30:00Z')}}})
    try {
      setting.tree.addBackup({id: '20261025T031500', beginTime: new Date('2026-10-25T01:15:00Z')})
      await copy(setting)
      const {backups, latestRestorable} = await listBase(setting.context())
      expect(backups.map(({backupId}) => backupId)).to.deep.equal(['20261025T033000', '20261025T031500'])
      expect(latestRestorable).to.equal('20261025T031500')
    } finally {
      setting.remove()
    }
  })

  it('a WAL that is missing in S3 is named; an older backup stays the latest', async () => {
    const setting = use()
    setting.tree.addBackup({id: NEXT})
    await copy(setting)
    const {endWal} = JSON.parse(setting.store.objects.get(setting.keys.record(NEXT))!.body.toString()).summary as {endWal: string}
    setting.store.objects.delete(setting.keys.wal(`${endWal.slice(0, 16)}/${endWal}`))
    expect(await rowOf(setting, NEXT)).to.deep.include({restorable: 'no', reason: `WAL ${endWal} is missing in S3`})
    expect((await listBase(setting.context())).latestRestorable).to.equal(ID)
  })

  for (const [what, sizeBytes, begin] of [['64 MiB', 64 * 1024 ** 2, '00000001000000000000003F'], ['1 MiB', 1024 ** 2, '000000010000000000000FFF']] as const) {
    it(`segments of ${what} are counted over the border of a log, and on timeline 0000000A`, async () => {
      for (const timeline of ['00000001', '0000000A']) {
        const beginWal = `${timeline}${begin.slice(8)}`
        const setting = createSyncSetting({tree: {segmentSizeBytes: sizeBytes, backup: {beginWal, withWal: false}, walBytes: 40, withBackup: false}})
        try {
          setting.tree.addBackup({id: ID, beginWal, withWal: false})
          await syncBase(setting.context(), {queue: undefined, backupIds: undefined, scan: true, again: false, adopt: false, isDryRun: false})
          const needed = [beginWal, nextSegmentName(beginWal, sizeBytes)]
          expect(needed[1]).to.match(/000000010{8}$/)
          for (const name of needed) {
            expect(await rowOf(setting)).to.deep.include({restorable: 'no', reason: `WAL ${name} is missing in S3`})
            await put(setting, `wals/${name.slice(0, 16)}/${name}`)
          }
          expect(await rowOf(setting)).to.deep.include({restorable: 'yes'})
        } finally {
          setting.remove()
        }
      }
    })
  }

  it('an incremental needs every ancestor complete: none, tombstoned or half-copied will not do', async () => {
    const setting = use()
    setting.tree.addBackup({id: NEXT, parentId: ID})
    await copy(setting)
    expect(await rowOf(setting, NEXT)).to.deep.include({restorable: 'yes', parentBackupId: ID})
    await put(setting, `barmans3/${ID}.deleted.json`, tombstone)
    expect(await rowOf(setting)).to.deep.include({state: 'deleting', restorable: 'no'})
    expect(await rowOf(setting, NEXT)).to.deep.include({restorable: 'no', reason: `its ancestor ${ID} is not complete in S3`})
    setting.store.objects.delete(setting.keys.tombstone(ID))
    setting.store.objects.delete(setting.keys.record(ID))
    expect(await rowOf(setting)).to.deep.include({state: 'incomplete', restorable: 'no'})
    expect(await rowOf(setting, NEXT)).to.deep.include({restorable: 'no'})
  })

  describe('from a bucket with nonsense in it', () => {
    it('a marker with a begin time nobody can read is listed without one', async () => {
      const setting = use()
      rmSync(setting.tree.backupInfoPath(ID))
      for (const beginTime of ['soon', '', '2026-13-45T99:99:99Z']) {
        await put(setting, `barmans3/${ID}.started.json`, marker({identity: {systemId: undefined, beginTime, beginXlog: undefined, beginWal: undefined}}))
        expect(await rowOf(setting), beginTime).to.deep.include({state: 'incomplete', beginTime: undefined, restorable: 'no'})
      }
    })

    it('cut, foreign and newer markers and records are problems, named, and hide nothing else', async () => {
      const setting = use()
      setting.tree.addBackup({id: NEXT})
      await copy(setting)
      change(setting, `barmans3/${NEXT}.json`, (text) => text.replace('"version": 1', '"version": 2'))
      await put(setting, 'barmans3/20260101T000000.json', '{"format": "barmans3-ba')
      await put(setting, 'barmans3/20260102T000000.started.json', 'no json')
      await put(setting, 'barmans3/20260103T000000.started.json', '[]')
      await put(setting, 'barmans3/99999999T999999.json', '{}')
      await put(setting, 'barmans3/nonsense.json')
      await put(setting, 'base/nonsense/x')
      const {backups, problems, latestRestorable} = await listBase(setting.context())
      expect(latestRestorable).to.equal(ID)
      const byId = new Map(backups.map((row) => [row.backupId, row]))
      expect(byId.get(NEXT)).to.deep.include({state: 'complete', restorable: 'no', reason: 'its record cannot be read'})
      expect(byId.get('20260101T000000')).to.deep.include({state: 'complete', restorable: 'no'})
      expect(byId.get('20260102T000000')).to.deep.include({state: 'incomplete'})
      expect(problems.join()).to.contain(`${NEXT}.json`).and.contain('20260101T000000.json').and.contain('20260102T000000.started.json')
    })

    it('a record with times and WAL names that make no sense is listed and not restorable', async () => {
      const setting = use()
      setting.tree.addBackup({id: NEXT})
      await copy(setting)
      const before = setting.store.objects.get(setting.keys.record(NEXT))!
      for (const [field, value] of [['beginTime', 'soon'], ['beginWal', 'x'], ['beginWal', '00000002.history'], ['endWal', '000000020000000000000001'], ['endWal', 'ÿ'], ['xlogSegmentSizeBytes', 7]] as const) {
        changeSummary(setting, NEXT, {[field]: value})
        const row = await rowOf(setting, NEXT)
        // When it began is not known, so it cannot be the latest.
        if (field === 'beginTime') expect(row).to.deep.include({restorable: 'yes', beginTime: undefined})
        else expect(row?.restorable, `${field} ${value}`).to.equal('no')
        expect((await listBase(setting.context())).latestRestorable).to.equal(ID)
        setting.store.objects.set(before.key, before)
      }
    })

    it('times with another zone are put in their order', async () => {
      const setting = use()
      setting.tree.addBackup({id: NEXT})
      await copy(setting)
      // 2026-11-02 09:00 in Tokyo is midnight UTC, before 02:00 UTC of the same day.
      changeSummary(setting, ID, {beginTime: '2026-11-02T09:00:00+09:00'})
      const {backups, latestRestorable} = await listBase(setting.context())
      expect(backups.map(({backupId}) => backupId)).to.deep.equal([ID, NEXT])
      expect(latestRestorable).to.equal(NEXT)
      expect(backups[0]?.beginTime).to.equal('2026-11-02T00:00:00.000Z')
    })

    it('one object that may not be read does not hide the others', async () => {
      const setting = use()
      setting.tree.addBackup({id: NEXT})
      await copy(setting)
      for (const forbidden of [`${NEXT}.json`, `${NEXT}-backup.info`]) {
        if (forbidden.endsWith('.info')) setting.store.objects.delete(setting.keys.record(NEXT))
        rmSync(setting.tree.backupInfoPath(NEXT), {force: true})
        const store = watchStore(setting.store, {before: ({method, args}) => {
          if (method === 'get' && String(args[0]).endsWith(forbidden)) throw new StoreRefusedError('denied', {storeCode: 'AccessDenied', scope: 'request'})
        }})
        const {backups, problems, latestRestorable} = await listBase(setting.context({store}))
        expect(latestRestorable).to.equal(ID)
        expect(backups.map(({backupId}) => backupId)).to.include(NEXT)
        expect(problems.join()).to.contain('denied')
      }
    })
  })

  describe('states', () => {
    it('legacy: data and backup.info in either place, without a marker', async () => {
      for (const info of [`base/${ID}/backup.info`, `meta/${ID}-backup.info`]) {
        const setting = createSyncSetting()
        try {
          await put(setting, `base/${ID}/data/PG_VERSION`)
          expect(await rowOf(setting)).to.deep.include({state: 'incomplete', restorable: 'no'})
          await put(setting, info, readFileSync(setting.tree.backupInfoPath(ID)))
          rmSync(setting.tree.backupInfoPath(ID))
          expect(await rowOf(setting)).to.deep.include({state: 'legacy', restorable: 'unproven', beginTime: '2026-11-01T02:00:00.000Z', isLocal: false, layout: undefined})
          expect((await listBase(setting.context())).latestRestorable).to.equal(undefined)
        } finally {
          setting.remove()
        }
      }
    })

    it('legacy stays what it is while it is sent again', async () => {
      const setting = use()
      await put(setting, `base/${ID}/data/PG_VERSION`)
      await put(setting, `meta/${ID}-backup.info`, readFileSync(setting.tree.backupInfoPath(ID)))
      await put(setting, `barmans3/${ID}.started.json`, marker({hadLegacyData: true}))
      expect(await rowOf(setting)).to.deep.include({state: 'legacy', restorable: 'unproven'})
      await put(setting, `barmans3/${ID}.started.json`, marker())
      expect(await rowOf(setting)).to.deep.include({state: 'incomplete', restorable: 'no'})
    })

    it('a tombstone alone is not listed; with anything left of the backup it is being deleted', async () => {
      const setting = use()
      rmSync(setting.tree.backupInfoPath(ID))
      await put(setting, `barmans3/${ID}.deleted.json`, tombstone)
      expect(await rowOf(setting)).to.equal(undefined)
      for (const left of [`base/${ID}/data/x`, `base/${ID}/backup.info`, `base/${ID}/annotations/keep`, `meta/${ID}-backup.info`, `meta/${ID}-keep`,
        `barmans3/${ID}.json`, `barmans3/${ID}.started.json`, `barmans3/${ID}.manifest.gz`, `barmans3/${ID}.keep.json`, `barmans3/${ID}.verify.json`]) {
        await put(setting, left)
        expect(await rowOf(setting), left).to.deep.include({state: 'deleting', restorable: 'no', reason: 'deleting in S3'})
        setting.store.objects.delete(setting.keys.absolute(left))
      }
    })

    it('what only lies in meta/ is no backup', async () => {
      const setting = use()
      rmSync(setting.tree.backupInfoPath(ID))
      await put(setting, `meta/${ID}-backup.info`)
      expect(await rowOf(setting)).to.equal(undefined)
    })
  })

  it("works where Barman's directory is gone: the day the host burnt", async () => {
    const setting = use()
    await copy(setting)
    rmSync(setting.tree.serverDirectory, {recursive: true})
    const {backups, isCatalogRead, problems} = await listBase(setting.context())
    expect(backups[0]).to.deep.include({backupId: ID, state: 'complete', restorable: 'yes', isLocal: undefined, barmanStatus: undefined})
    expect(isCatalogRead).to.equal(false)
    expect(problems).to.have.length(1)
  })

  it('asks for one GET per record and a handful of LISTs', async () => {
    const setting = use()
    setting.tree.addBackup({id: NEXT})
    await copy(setting)
    const before = {...setting.store.requestCounts()}
    await listBase(setting.context())
    const requests = Object.entries(setting.store.requestCounts()).map(([name, count]) => [name, count - (before[name] ?? 0)] as const).filter(([, count]) => count > 0)
    expect(Object.fromEntries(requests)).to.deep.equal({GetObject: 2, ListObjectsV2: 5})
  })
})

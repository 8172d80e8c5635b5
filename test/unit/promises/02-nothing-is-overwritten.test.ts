import {randomBytes} from 'node:crypto'
import {existsSync, readFileSync, rmSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import fc from 'fast-check'
import {parseStartedMarker} from '../../../src/lib/archive/markers.ts'
import {BarmansError} from '../../../src/lib/errors.ts'
import type {ObjectStore} from '../../../src/lib/store/object-store.ts'
import {createMemoryStore} from '../../../src/lib/store/memory.ts'
import {syncBase} from '../../../src/lib/sync/base-sync.ts'
import {syncFull} from '../../../src/lib/sync/full-sync.ts'
import {syncWal} from '../../../src/lib/sync/wal-sync.ts'
import {createSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'

const ID = '20261101T020000'
const IDS = [ID, '20261102T020000']
const MIB = 1024 ** 2

/** Keys that the design lets be rewritten whatever they hold. */
const MUTABLE = /^(meta\/\d{8}T\d{6}-(backup\.info|keep)|base\/\d{8}T\d{6}\/(backup\.info|annotations\/keep)|barmans3\/\d{8}T\d{6}\.(started|deleted|keep|drill|verify)\.json)$/

/** A store that notes every object whose content was replaced or taken away against the promise. */
function guard(setting: SyncSetting, violations: string[]): ObjectStore {
  const {store, keys} = setting
  let before = new Map<string, Buffer>()
  const look = () => new Map([...store.objects].map(([key, {body}]) => [key, body]))
  return watchStore(store, {
    before: ({method}) => {
      if (['put', 'putStream', 'copy', 'completeUpload', 'delete'].includes(method)) before = look()
    },
    after: ({method, args}) => {
      if (!['put', 'putStream', 'copy', 'completeUpload', 'delete'].includes(method)) return
      for (const [key, body] of before) {
        const now = store.objects.get(key)?.body
        if (now && body.equals(now)) continue
        const relative = keys.relative(key)
        if (!MUTABLE.test(relative) && !isOwnUnfinished(setting, relative)) violations.push(`${method} ${String(args[0])} changed ${relative}`)
      }
    },
  })
}

/** Data or manifest of a backup without record, announced by this very writer. */
function isOwnUnfinished({store, keys, context}: SyncSetting, relative: string): boolean {
  const id = /^(?:base\/|barmans3\/)(\d{8}T\d{6})(?:\/|\.manifest\.gz$)/.exec(relative)?.[1]
  if (id === undefined || store.objects.has(keys.record(id))) return false
  const marker = store.objects.get(keys.started(id))
  return marker !== undefined && parseStartedMarker(marker.body, marker.key).writer.id === context().writer.id
}

/** What may happen on either of two Barman hosts that, against all advice, share one place. */
type Step = (setting: SyncSetting, store: ObjectStore) => unknown
const base = {queue: undefined, backupIds: undefined, scan: true, again: false, adopt: false, isDryRun: false}

function walPath({tree}: SyncSetting, name: string): string {
  return join(tree.walsDirectory, name.slice(0, 16), name)
}

const STEPS: Readonly<Record<string, Step>> = {
  'full sync': (setting, store) => syncFull(setting.context({store}), {queue: setting.queue(), isDryRun: false}),
  'wal sync': (setting, store) => syncWal(setting.context({store}), {isDryRun: false}),
  'base sync --again --adopt': (setting, store) => syncBase(setting.context({store}), {...base, backupIds: IDS, again: true, adopt: true}),
  'base sync, broken off': (setting, store) => {
    let puts = 0
    const broken = watchStore(store, {before: ({method}) => {
      if (method === 'put' && ++puts > 20) throw new Error('broken off')
    }})
    return syncBase(setting.context({store: broken}), base).catch((error: unknown) => {
      if ((error as Error).message !== 'broken off') throw error
    })
  },
  'another backup': ({tree}) => {
    if (!existsSync(tree.backupInfoPath(IDS[1]!))) tree.addBackup({id: IDS[1]!})
  },
  'a backup goes': ({tree}) => tree.removeBackup(ID),
  'a file of a backup changes': ({tree}) => {
    const path = join(tree.dataDirectory(ID), 'PG_VERSION')
    if (existsSync(path)) writeFileSync(path, '17\n')
  },
  'metadata changes': ({tree}) => {
    if (!existsSync(tree.backupInfoPath(ID))) return
    tree.changeBackupInfo(ID, {size: 7})
    tree.keep(ID, 'full')
  },
  'a WAL more': ({tree}) => tree.addWal(tree.nextWal()),
  'a WAL rots': (setting) => {
    const path = walPath(setting, '000000010000000000000006')
    const body = readFileSync(path)
    randomBytes(8).copy(body, 9000)
    writeFileSync(path, body)
  },
  'a WAL is cut': (setting) => writeFileSync(walPath(setting, '000000010000000000000007'), readFileSync(walPath(setting, '000000010000000000000007')).subarray(0, 9000)),
  'a WAL is compressed afterwards': (setting) => writeFileSync(walPath(setting, '000000010000000000000008'), Buffer.concat([Buffer.from('1f8b0800', 'hex'), randomBytes(50)])),
  'another cluster': ({tree}) => writeFileSync(join(tree.serverDirectory, 'identity.json'), '{"systemid": "7300000000000000002", "version": "16"}'),
  'notes are lost': (setting) => rmSync(setting.stateDirectory, {recursive: true, force: true}),
}

describe('promise 2: nothing in S3 is overwritten with different content', function () {
  this.timeout(120_000)

  it('whatever happens on two hosts that share one place, in any order (only the closed list is ever rewritten)', async () => {
    const steps = fc.array(fc.tuple(fc.constantFrom(...Object.keys(STEPS)), fc.nat({max: 1})), {minLength: 4, maxLength: 9})
    await fc.assert(fc.asyncProperty(steps, fc.boolean(), async (script, isSameBackup) => {
      const store = createMemoryStore()
      const tree = {segmentSizeBytes: MIB}
      const hosts = [
        createSyncSetting({sharedStore: store, tree}),
        createSyncSetting({sharedStore: store, writer: {id: 'two', host: 'barman-two'}, tree: {...tree, ...(isSameBackup ? {} : {backup: {beginTime: new Date('2026-11-01T01:00:00Z')}})}}),
      ]
      const violations: string[] = []
      try {
        for (const [name, host] of [['full sync', 0] as const, ...script, ['full sync', 1] as const]) {
          const setting = hosts[host]!
          const work = (async () => await STEPS[name]!(setting, guard(setting, violations)))()
          await work.catch((error: unknown) => {
            if (!(error instanceof BarmansError)) throw error
          })
          expect(violations, name).to.deep.equal([])
        }
      } finally {
        for (const host of hosts) host.remove()
      }
    }), {numRuns: 12, endOnFailure: true})
  })

  it('the guard of this test sees an overwritten WAL, record and data of somebody else', async () => {
    const setting = createSyncSetting({tree: {segmentSizeBytes: MIB}})
    try {
      await syncFull(setting.context(), {queue: setting.queue(), isDryRun: false})
      const violations: string[] = []
      const guarded = guard(setting, violations)
      const {keys} = setting
      for (const key of [keys.identity, keys.record(ID), keys.manifest(ID), keys.data(ID, 'data/PG_VERSION' as never), keys.wal('0000000100000000/000000010000000000000006')]) {
        await guarded.put(key, Buffer.from('other'), {kind: 'meta'})
      }
      await guarded.put(keys.backupInfo(ID, 'meta'), Buffer.from('other'), {kind: 'meta'})
      expect(violations).to.have.length(5)
    } finally {
      setting.remove()
    }
  })
})

import {execFileSync} from 'node:child_process'
import {appendFileSync, chmodSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {formatStartedMarker} from '../../../src/lib/archive/markers.ts'
import {BarmansError} from '../../../src/lib/errors.ts'
import {acquireServerLock} from '../../../src/lib/local/server-lock.ts'
import {systemClock} from '../../../src/lib/local/system-clock.ts'
import type {ObjectStore} from '../../../src/lib/store/object-store.ts'
import {syncBase} from '../../../src/lib/sync/base-sync.ts'
import {syncWal} from '../../../src/lib/sync/wal-sync.ts'
import {createSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'
import {asUnprivilegedUser} from '../barman/as-other-user.ts'

const ID = '20261101T020000'

interface Told {
  readonly message: string
  readonly hint: string | undefined
}

/** Everything that went wrong in one base sync and one WAL sync, as commands tell it. */
async function run(setting: SyncSetting, store: ObjectStore = setting.store, named = false): Promise<Told[]> {
  const told: Told[] = []
  const attempt = async <Result>(work: () => Promise<Result>): Promise<Result | undefined> => {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof BarmansError)) throw error
      told.push(error)
      return undefined
    }
  }
  const base = await attempt(() => syncBase(setting.context({store, concurrency: 1}), {
    queue: undefined, backupIds: named ? [ID] : undefined, scan: true, again: false, adopt: false, isDryRun: false,
  }))
  const wal = await attempt(() => syncWal(setting.context({store, concurrency: 1}), {isDryRun: false}))
  for (const {outcome, reason, hint} of base?.backups ?? []) if (outcome === 'failed' || outcome === 'refused') told.push({message: reason ?? '', hint})
  for (const {items} of wal ? [wal.conflicts, wal.lost, wal.failed] : []) told.push(...items.map(({message, hint}) => ({message, hint})))
  for (const stop of [base?.stoppedBy, wal?.stoppedBy]) if (stop) told.push(stop)
  return told
}

/** Does `change` before the first file of the backup that ends in `name` is stored. */
function during({store}: SyncSetting, name: string, change: () => void): ObjectStore {
  let isDone = false
  return watchStore(store, {before: ({method, args}) => {
    if (isDone || method !== 'put' || !String(args[0]).endsWith(name)) return
    isDone = true
    change()
  }})
}

type Scenario = (setting: SyncSetting) => Promise<Told[]> | Told[]

const file = (setting: SyncSetting, name: string) => join(setting.tree.baseDirectory, ID, 'data', name)
const segment = ({tree}: SyncSetting, name: string) => join(tree.walsDirectory, name.slice(0, 16), name)
const identity = {systemId: undefined, beginTime: '2026-11-01T02:00:00.000000Z', beginXlog: undefined, beginWal: undefined}
const marker = (writer: string, begin = identity) => formatStartedMarker({
  server: 'pg', backupId: ID, identity: begin, writer: {id: writer, host: 'barman-two'}, attempt: 'a', startedAt: '2026-11-01T03:00:00Z', hadLegacyData: false,
})

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'the server directory is missing': (setting) => {
    rmSync(setting.tree.serverDirectory, {recursive: true})
    return run(setting)
  },
  'it is empty': (setting) => {
    rmSync(setting.tree.serverDirectory, {recursive: true})
    mkdirSync(setting.tree.serverDirectory)
    return run(setting)
  },
  'it is not of Barman': (setting) => {
    rmSync(setting.tree.serverDirectory, {recursive: true})
    mkdirSync(join(setting.tree.serverDirectory, 'photos'), {recursive: true})
    return run(setting)
  },
  'base/ is missing': (setting) => {
    rmSync(setting.tree.baseDirectory, {recursive: true})
    return run(setting)
  },
  'a backup has no data': (setting) => {
    rmSync(join(setting.tree.baseDirectory, ID), {recursive: true})
    return run(setting)
  },
  'a backup.info cannot be understood': (setting) => {
    writeFileSync(setting.tree.backupInfoPath(ID), 'half')
    return run(setting)
  },
  'identity.json cannot be understood': (setting) => {
    writeFileSync(join(setting.tree.serverDirectory, 'identity.json'), '')
    return run(setting)
  },
  'the bucket holds another cluster': async (setting) => {
    await run(setting)
    writeFileSync(join(setting.tree.serverDirectory, 'identity.json'), '{"systemid": "7300000000000000002"}')
    return await run(setting)
  },
  'identity.json in the bucket is foreign': async (setting) => {
    await setting.store.put(setting.keys.identity, Buffer.from('x'), {kind: 'meta'})
    return await run(setting)
  },
  'FAILED, asked for by name': (setting) => {
    setting.tree.changeBackupInfo(ID, {status: 'FAILED', error: 'failure copying files'})
    return run(setting, setting.store, true)
  },
  'being deleted, asked for by name': (setting) => {
    writeFileSync(join(setting.tree.metaDirectory, `${ID}-delete_this`), '')
    return run(setting, setting.store, true)
  },
  'gone, asked for by name': (setting) => {
    setting.tree.removeBackup(ID)
    return run(setting, setting.store, true)
  },
  'a record is cut': async (setting) => {
    await setting.store.put(setting.keys.record(ID), Buffer.from('{"'), {kind: 'meta'})
    return await run(setting, setting.store, true)
  },
  'another installation is copying it': async (setting) => {
    await setting.store.put(setting.keys.started(ID), marker('two'), {kind: 'meta'})
    return await run(setting)
  },
  'another backup is being copied under its id': async (setting) => {
    await setting.store.put(setting.keys.started(ID), marker('two', {...identity, beginTime: '2026-01-01T00:00:00.000000Z'}), {kind: 'meta'})
    return await run(setting)
  },
  'another backup is recorded under its id': async (setting) => {
    await run(setting)
    setting.tree.changeBackupInfo(ID, {begin_time: '2026-11-01 01:00:00+00:00', begin_xlog: '0/1000028'})
    rmSync(setting.stateDirectory, {recursive: true})
    return await run(setting)
  },
  'it is taken over in the middle': (setting) => run(setting, during(setting, 'PG_VERSION', () => {
    const key = setting.keys.started(ID)
    setting.store.objects.set(key, {...setting.store.objects.get(key)!, body: marker('two')})
  })),
  'its marker vanishes in the middle': (setting) => run(setting, during(setting, 'PG_VERSION', () => setting.store.objects.delete(setting.keys.started(ID)))),
  'a file vanishes': (setting) => run(setting, during(setting, 'PG_VERSION', () => rmSync(file(setting, 'postgresql.conf'), {force: true}))),
  'a file changes': (setting) => run(setting, during(setting, 'pg_hba.conf', () => appendFileSync(file(setting, 'PG_VERSION'), 'x'))),
  'Barman deletes it': (setting) => run(setting, during(setting, 'PG_VERSION', () => rmSync(setting.tree.backupInfoPath(ID)))),
  'Barman begins to delete it': (setting) => run(setting, during(setting, 'PG_VERSION', () => writeFileSync(join(setting.tree.metaDirectory, `${ID}-delete_this`), ''))),
  'it becomes another backup': (setting) => run(setting, during(setting, 'PG_VERSION', () => setting.tree.changeBackupInfo(ID, {begin_xlog: '0/1'}))),
  'an object is lost in the bucket': (setting) => run(setting, during(setting, 'pg_hba.conf', () => setting.store.objects.delete(setting.keys.data(ID, 'data/PG_VERSION' as never)))),
  'files may not be read': async (setting) => {
    execFileSync('chmod', ['-R', 'a+rwX', setting.root])
    chmodSync(file(setting, 'PG_VERSION'), 0)
    chmodSync(segment(setting, '000000010000000000000006'), 0)
    return await asUnprivilegedUser(() => run(setting))
  },
  'the catalogue may not be read': async (setting) => {
    execFileSync('chmod', ['-R', 'a+rwX', setting.root])
    chmodSync(setting.tree.metaDirectory, 0)
    return await asUnprivilegedUser(() => run(setting))
  },
  'the WAL directory may not be read': async (setting) => {
    execFileSync('chmod', ['-R', 'a+rwX', setting.root])
    chmodSync(setting.tree.walsDirectory, 0)
    return await asUnprivilegedUser(() => run(setting))
  },
  'a WAL has other content': async (setting) => {
    await run(setting)
    writeFileSync(segment(setting, '000000010000000000000006'), readFileSync(segment(setting, '000000010000000000000007')))
    const key = setting.keys.wal('0000000100000000/000000010000000000000006')
    setting.store.objects.set(key, {...setting.store.objects.get(key)!, lastModified: new Date(0)})
    return await run(setting)
  },
  'a WAL is of another cluster': (setting) => {
    setting.tree.addWal('000000010000000000000009', {systemId: '7300000000000000009'})
    return run(setting)
  },
  'a WAL that a backup needs vanishes': async (setting) => {
    await run(setting)
    setting.tree.addWals('000000010000000000000009', 2)
    return await run(setting, during(setting, '000000010000000000000009', () => rmSync(segment(setting, '00000001000000000000000A'))))
  },
  'both locks are held': async (setting) => {
    const locks = await Promise.all((['base', 'wal'] as const).map((kind) => acquireServerLock(setting.stateDirectory, 'pg', kind, {clock: systemClock})))
    const told = await run(setting)
    for (const lock of locks) await lock.release()
    return told
  },
  'the state directory cannot be written': (setting) => {
    mkdirSync(setting.stateDirectory, {recursive: true})
    writeFileSync(join(setting.stateDirectory, 'pg.journal'), '')
    return run(setting)
  },
}

describe('promise 10: errors say what failed, what is still safe, and what to do next', () => {
  for (const [what, scenario] of Object.entries(SCENARIOS)) {
    it(what, async () => {
      const setting = createSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})
      utimesSync(file(setting, 'PG_VERSION'), 1, 1)
      try {
        const told = await scenario(setting)
        expect(told.length).to.be.greaterThan(0)
        for (const {message, hint} of told) {
          expect(hint, message).to.be.a('string').and.match(/^[^\n]+[^.\n]$/)
          expect(message).to.match(/^([a-z"0-9(/]|Barman|WAL|FAILED|S3)[^\n]*[^.\n]$/)
        }
      } finally {
        setting.remove()
      }
    })
  }
})

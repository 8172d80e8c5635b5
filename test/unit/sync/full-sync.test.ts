import {mkdirSync, rmSync, writeFileSync} from 'node:fs'
import {dirname, join} from 'node:path'
import {expect} from 'chai'
import {InterruptedError, LocalStateError, StoreUnreachableError} from '../../../src/lib/errors.ts'
import {acquireServerLock} from '../../../src/lib/local/server-lock.ts'
import {systemClock} from '../../../src/lib/local/system-clock.ts'
import {createDryRunStore} from '../../../src/lib/store/dry-run.ts'
import type {ServerContext} from '../../../src/lib/sync/server-context.ts'
import {syncFull, type FullSyncResult} from '../../../src/lib/sync/full-sync.ts'
import {relativeKeys, useSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'
import {ID, StoreRefused, enqueue, record} from './base-setting.ts'

async function sync(setting: SyncSetting, changes: Partial<ServerContext> = {}, isDryRun = false): Promise<FullSyncResult> {
  return await syncFull(setting.context(changes), {queue: setting.queue(), isDryRun})
}

describe('full sync', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})

  it('copies base backups and WAL, and the second time nothing', async () => {
    const setting = use()
    const first = await sync(setting)
    expect(first).to.deep.include({server: 'pg', exitCode: 0, baseError: undefined, walError: undefined, stoppedBy: undefined})
    expect(first.base?.backups.map(({outcome}) => outcome)).to.deep.equal(['copied'])
    expect(first.wal?.uploaded.files).to.equal(5)
    const second = await sync(setting)
    expect(second.base?.backups).to.deep.equal([])
    expect(second.wal?.uploaded.files).to.equal(0)
  })

  describe('WAL is copied even when the base backups failed, and the worse exit code wins', () => {
    for (const [what, prepare, exitCode] of [
      ['no catalogue of base backups', (setting: SyncSetting) => rmSync(setting.tree.baseDirectory, {recursive: true}), 13],
      ['a backup without its data', (setting: SyncSetting) => rmSync(join(setting.tree.baseDirectory, ID), {recursive: true}), 13],
      ['a queue that cannot be read', (setting: SyncSetting) => {
        mkdirSync(setting.queueDirectory)
        writeFileSync(join(setting.queueDirectory, 'pg'), '')
      }, 3],
      ['a conflict', (setting: SyncSetting) => setting.store.put(setting.keys.started(ID), Buffer.from('{"cut'), {kind: 'meta'}), 12],
      ['a FAILED backup in the queue', async (setting: SyncSetting) => {
        setting.tree.changeBackupInfo(ID, {status: 'FAILED'})
        await enqueue(setting, ID)
      }, 10],
    ] as const) {
      it(what, async () => {
        const setting = use()
        await prepare(setting)
        const result = await sync(setting)
        expect(result.exitCode).to.equal(exitCode)
        expect(result.wal?.uploaded.files).to.equal(5)
        expect(result.stoppedBy).to.equal(undefined)
        expect(record(setting)).to.equal(undefined)
      })
    }

    it('notes of our own that cannot be written', async () => {
      const setting = use()
      const {stateDirectory} = setting
      mkdirSync(join(stateDirectory, 'pg.journal'), {recursive: true})
      rmSync(join(stateDirectory, 'pg.journal'), {recursive: true})
      writeFileSync(join(stateDirectory, 'pg.journal'), '')
      const result = await sync(setting)
      expect(result.exitCode).to.equal(3)
      expect(result.wal?.uploaded.files).to.equal(5)
    })

    it('a queue that breaks in the middle', async () => {
      const setting = use()
      const broken = {...setting.queue(), takeNext: () => Promise.reject(new LocalStateError('disk full', {hint: 'free some space'}))}
      const result = await syncFull(setting.context(), {queue: broken, isDryRun: false})
      expect(result).to.deep.include({exitCode: 3, stoppedBy: undefined})
      expect(result.base?.stoppedBy?.message).to.equal('disk full')
      expect(result.wal?.uploaded.files).to.equal(5)
    })

    it('another base sync that is running', async () => {
      const setting = use()
      const lock = await acquireServerLock(setting.stateDirectory, 'pg', 'base', {clock: systemClock})
      const result = await sync(setting)
      await lock.release()
      expect(result.baseError?.code).to.equal('LOCKED')
      expect(result.exitCode).to.equal(11)
      expect(result.wal?.uploaded.files).to.equal(5)
    })
  })

  it('base backups are copied though the WAL cannot be', async () => {
    const setting = use()
    rmSync(setting.tree.walsDirectory, {recursive: true})
    const result = await sync(setting)
    expect(record(setting)).not.to.equal(undefined)
    expect(result).to.deep.include({exitCode: 13})
    expect(result.walError?.message).to.contain(setting.tree.walsDirectory)
  })

  describe('what stops everything stops WAL and the next server too', () => {
    for (const [what, error, exitCode] of [
      ['a store that refuses everybody', new StoreRefused('run'), 1],
      ['a store that cannot be reached', new StoreUnreachableError('no route to host'), 2],
      ['a signal', new InterruptedError('SIGTERM'), 143],
    ] as const) {
      for (const moment of ['data/PG_VERSION', 'identity.json']) {
        it(`${what}, at ${moment}`, async () => {
          const setting = use()
          const store = watchStore(setting.store, {before: ({method, args}) => {
            if (method === 'put' && String(args[0]).endsWith(moment)) throw error
          }})
          const result = await sync(setting, {store})
          expect(result.exitCode).to.equal(exitCode)
          expect(result.wal).to.equal(undefined)
          expect(result.stoppedBy).to.deep.include({code: error.code, message: error.message})
          expect(relativeKeys(setting).filter((key) => key.startsWith('wals/'))).to.deep.equal([])
        })
      }
    }
  })

  it('a dry run says what both would do and changes nothing', async () => {
    const setting = use()
    await enqueue(setting, ID)
    const result = await sync(setting, {store: createDryRunStore(setting.store)}, true)
    expect(result.base?.backups[0]).to.deep.include({outcome: 'planned', origin: 'queue'})
    expect(result.wal?.planned).to.have.length(5)
    expect(relativeKeys(setting)).to.deep.equal([])
    expect((await setting.queue().waiting()).map(({backupId}) => String(backupId))).to.deep.equal([ID])
  })

  it('asks xlog.db for WAL that is nowhere', async () => {
    const setting = use()
    writeFileSync(setting.tree.xlogDbPath, '0000000900003E1200000010\t1\t1.5\n')
    await sync(setting)
    expect(setting.said.join()).to.contain('0000000900003E12').and.not.contain(dirname(setting.tree.xlogDbPath))
  })
})

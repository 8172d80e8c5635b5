import {readdirSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {InterruptedError, LocalStateError, StoreRefusedError, StoreUnreachableError} from '../../../src/lib/errors.ts'
import {addTask} from '../../../src/lib/queue/task-store.ts'
import type {ObjectStore} from '../../../src/lib/store/object-store.ts'
import {syncBase} from '../../../src/lib/sync/base-sync.ts'
import type {BaseSyncResult} from '../../../src/lib/sync/base-result.ts'
import type {QueueAccess} from '../../../src/lib/sync/queue-access.ts'
import {createSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'

const IDS = ['20261101T020000', '20261102T020000'] as const

async function makeSetting(): Promise<SyncSetting> {
  const setting = createSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})
  setting.tree.addBackup({id: IDS[1]})
  for (const [index, backupId] of IDS.entries()) await addTask(setting.queueDirectory, {server: 'pg', backupId: backupId as never}, new Date(1_790_000_000_000 + index * 1000))
  return setting
}

function tasks({queueDirectory}: SyncSetting): string[] {
  return readdirSync(join(queueDirectory, 'pg')).filter((name) => !name.startsWith('.')).sort()
}

async function drain(setting: SyncSetting, store: ObjectStore = setting.store, queue: QueueAccess = setting.queue()): Promise<BaseSyncResult | Error> {
  return await syncBase(setting.context({store}), {queue, backupIds: undefined, scan: false, again: false, adopt: false, isDryRun: false})
    .catch((error: unknown) => error as Error)
}

/** Every task is there exactly once, and done only if its backup is recorded; the next run does what is left. */
async function expectNoneLost(setting: SyncSetting, where: string): Promise<void> {
  const found = tasks(setting)
  expect(found.map((name) => name.slice(0, 15)), where).to.deep.equal([...IDS])
  for (const name of found) {
    expect(name, where).to.match(/\.(run|running|done)$/)
    if (name.endsWith('.done')) expect(setting.store.objects.has(setting.keys.record(name.slice(0, 15))), `${where}: ${name}`).to.equal(true)
  }
  expect(await drain(setting), where).to.deep.include({exitCode: 0})
  expect(tasks(setting), where).to.deep.equal(IDS.map((id) => `${id}.done`))
  for (const id of IDS) expect(setting.store.objects.has(setting.keys.record(id)), where).to.equal(true)
}

describe('promise 6: queue tasks are never lost and never stuck', function () {
  this.timeout(120_000)

  const faults = [
    {what: 'the process dies', isLasting: true, error: () => new Error('dead')},
    {what: 'the store refuses one request', isLasting: false, error: () => new StoreRefusedError('no', {storeCode: 'InternalError', scope: 'request'})},
    {what: 'the store refuses everybody', isLasting: false, error: () => new StoreRefusedError('no', {storeCode: 'AccessDenied', scope: 'run'})},
    {what: 'the store cannot be reached', isLasting: true, error: () => new StoreUnreachableError('no route')},
    {what: 'a signal comes', isLasting: false, error: () => new InterruptedError('SIGTERM')},
  ] as const

  for (const [number, {what, isLasting, error}] of faults.entries()) {
    it(`${what}, at calls to the store of every kind`, async () => {
      const counted = await makeSetting()
      let calls = 0
      await drain(counted, watchStore(counted.store, {before: () => void calls++}))
      counted.remove()
      expect(calls).to.be.greaterThan(100)
      // Each fault at other calls: the first and last ones are all of different kinds, those in the middle much alike.
      const points = Array.from({length: calls}, (_, index) => index).filter((index) => index < 10 || index > calls - 10 || index % 20 === 0)
      for (const point of points.filter((_, index) => index % faults.length === number)) {
        const setting = await makeSetting()
        try {
          const store = watchStore(setting.store, {before: ({index}) => {
            if (isLasting ? index >= point : index === point) throw error()
          }})
          await drain(setting, store)
          await expectNoneLost(setting, `call ${point}`)
        } finally {
          setting.remove()
        }
      }
    })
  }

  it('the queue itself fails, at whatever step', async () => {
    for (const step of ['recover', 'setBrokenAside', 'takeNext', 'finish', 'putBack', 'fail'] as const) {
      for (const [nth, moment] of [[1, 'before'], [2, 'after']] as const) {
        const setting = await makeSetting()
        try {
          const queue = setting.queue()
          let calls = 0
          const failing: QueueAccess = {...queue, [step]: async (...args: unknown[]) => {
            const isTurn = ++calls === nth
            if (isTurn && moment === 'before') throw new LocalStateError('disk full')
            const result: unknown = await (queue[step] as (...all: unknown[]) => Promise<unknown>)(...args)
            if (isTurn && moment === 'after') throw new LocalStateError('disk full')
            return result
          }}
          await drain(setting, setting.store, failing)
          await expectNoneLost(setting, `${moment} ${step} ${nth}`)
        } finally {
          setting.remove()
        }
      }
    }
  })

  it('a task whose backup is not finished, or whose turn another run has, waits; one that cannot succeed is set aside with its reason', async () => {
    const setting = await makeSetting()
    try {
      setting.tree.changeBackupInfo(IDS[0], {status: 'STARTED'})
      setting.tree.changeBackupInfo(IDS[1], {status: 'FAILED'})
      for (let run = 0; run < 3; run++) {
        await drain(setting)
        expect(tasks(setting)).to.deep.equal([`${IDS[0]}.run`, `${IDS[1]}.error`])
      }
      setting.tree.changeBackupInfo(IDS[0], {status: 'DONE'})
      await drain(setting)
      expect(tasks(setting)).to.deep.equal([`${IDS[0]}.done`, `${IDS[1]}.error`])
    } finally {
      setting.remove()
    }
  })

  it('a backup that another installation is copying stays in the queue', async () => {
    const setting = await makeSetting()
    const other = createSyncSetting({sharedStore: setting.store, writer: {id: 'two', host: 'barman-two'}, tree: {segmentSizeBytes: 1024 ** 2}})
    try {
      await drainOther(other)
      expect(await drain(setting)).to.deep.include({exitCode: 11})
      expect(tasks(setting)).to.deep.equal([`${IDS[0]}.run`, `${IDS[1]}.done`])
    } finally {
      other.remove()
      setting.remove()
    }
  })
})

/** Begins to copy the first backup and is broken off. */
async function drainOther(other: SyncSetting): Promise<void> {
  const store = watchStore(other.store, {before: ({method, args}) => {
    if (method === 'put' && String(args[0]).endsWith('PG_VERSION')) throw new Error('dead')
  }})
  await syncBase(other.context({store}), {queue: undefined, backupIds: [IDS[0]], scan: false, again: false, adopt: false, isDryRun: false}).catch(() => undefined)
}

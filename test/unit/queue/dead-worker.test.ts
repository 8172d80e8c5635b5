import {expect} from 'chai'
import {readdir, writeFile} from 'node:fs/promises'
import {join} from 'node:path'
import {parseBackupId, type BackupId} from '../../../src/lib/barman/backup-id.ts'
import {LockedError} from '../../../src/lib/errors.ts'
import {acquireServerLock} from '../../../src/lib/local/server-lock.ts'
import {systemClock} from '../../../src/lib/local/system-clock.ts'
import {addTask, finish, recoverRunning, takeNext} from '../../../src/lib/queue/task-store.ts'
import {startChild, startModule, type RunningChild} from '../../support/child.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

describe('C11: a worker that dies', () => {
  const directory = useTemporaryDirectory()
  const queue = () => join(directory(), 'queue.d')
  const state = () => join(directory(), 'state')
  const names = async () => (await readdir(join(queue(), 'main'))).filter((name) => name !== '.lock')

  const startWorker = (): RunningChild => startModule(`
    const {acquireServerLock} = await source('lib/local/server-lock.ts')
    const {systemClock} = await source('lib/local/system-clock.ts')
    const {recoverRunning, takeNext} = await source('lib/queue/task-store.ts')
    await acquireServerLock(process.env.STATE, 'main', 'base', {clock: systemClock})
    await recoverRunning(process.env.QUEUE, 'main', new Date())
    const task = await takeNext(process.env.QUEUE, 'main', new Date())
    console.log(task.backupId + ' ' + task.attempts)
    setInterval(() => {}, 1000)
  `, {env: {...process.env, STATE: state(), QUEUE: queue()}})

  it('leaves a task that the next run takes up at once, whatever living pid its files name', async () => {
    await addTask(queue(), {server: 'main', backupId: parseBackupId('20261125T073400') as BackupId}, new Date())
    const sleeper = startChild('sleep', ['600'])
    const worker = startWorker()
    try {
      expect(await worker.line).to.equal('20261125T073400 1')
      expect(await names()).to.deep.equal(['20261125T073400.running'])
      worker.process.kill('SIGKILL')
      await worker.exit
      await writeFile(join(state(), 'main.base.lock'), `pid ${sleeper.process.pid}\n`)
      await writeFile(join(queue(), 'main/.lock'), `${sleeper.process.pid}\n`)

      const lock = await acquireServerLock(state(), 'main', 'base', {clock: systemClock})
      expect((await recoverRunning(queue(), 'main', new Date())).map(({backupId}) => backupId)).to.deep.equal(['20261125T073400'])
      const task = await takeNext(queue(), 'main', new Date())
      expect(task).to.include({attempts: 2})
      expect(task?.lastError?.code).to.equal('INTERRUPTED')
      await finish(queue(), task!, new Date())
      expect(await names()).to.deep.equal(['20261125T073400.done'])
      await lock.release()
    } finally {
      worker.process.kill('SIGKILL')
      sleeper.process.kill()
      await sleeper.exit
    }
  })

  it('dying while it holds the lock of the queue itself blocks nobody', async () => {
    const holder = startModule(`
      const {withServerDirectory} = await source('lib/queue/task-directory.ts')
      await withServerDirectory(process.env.QUEUE, 'main', 'create', async () => {
        console.log('held')
        await new Promise((resolve) => setTimeout(resolve, 60000))
      })
    `, {env: {...process.env, QUEUE: queue()}})
    expect(await holder.line).to.equal('held')
    const adding = addTask(queue(), {server: 'main', backupId: parseBackupId('20261125T073400') as BackupId}, new Date())
    setTimeout(() => holder.process.kill('SIGKILL'), 100)
    expect((await adding).outcome).to.equal('added')
    expect((await holder.exit).signal).to.equal('SIGKILL')
  })

  it('and while it lives a second one is told so and takes nothing', async () => {
    await addTask(queue(), {server: 'main', backupId: parseBackupId('20261125T073400') as BackupId}, new Date())
    const worker = startWorker()
    try {
      expect(await worker.line).to.equal('20261125T073400 1')
      try {
        await acquireServerLock(state(), 'main', 'base', {clock: systemClock})
        throw new Error('two workers')
      } catch (error) {
        expect(error).to.be.instanceOf(LockedError)
        expect((error as LockedError).message).to.include(`pid ${worker.process.pid}`)
      }
    } finally {
      worker.process.kill('SIGKILL')
      await worker.exit
    }
  })
})

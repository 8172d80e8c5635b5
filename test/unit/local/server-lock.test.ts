import {expect} from 'chai'
import {readFile, readdir, stat, writeFile} from 'node:fs/promises'
import {hostname} from 'node:os'
import {join} from 'node:path'
import {LockedError} from '../../../src/lib/errors.ts'
import {acquireServerLock} from '../../../src/lib/local/server-lock.ts'
import {systemClock} from '../../../src/lib/local/system-clock.ts'
import {startChild, startModule} from '../../support/child.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

const clock = {...systemClock, now: () => new Date('2026-11-25T07:34:00Z')}

describe('the lock of a server', () => {
  const directory = useTemporaryDirectory()
  const state = () => join(directory(), 'state')

  async function lockedError(): Promise<LockedError> {
    try {
      await acquireServerLock(state(), 'main', 'base', {clock})
    } catch (error) {
      expect(error).to.be.instanceOf(LockedError)
      return error as LockedError
    }
    throw new Error('it was free')
  }

  it('is one file per server and kind, 0640, with the holder in it for people', async () => {
    const base = await acquireServerLock(state(), 'main', 'base', {clock})
    const wal = await acquireServerLock(state(), 'main', 'wal', {clock})
    const other = await acquireServerLock(state(), 'a/../b', 'base', {clock})
    expect((await readdir(state())).sort()).to.deep.equal(['a%2F..%2Fb.base.lock', 'main.base.lock', 'main.wal.lock'])
    expect((await stat(base.path)).mode & 0o777).to.equal(0o640)
    expect(await readFile(base.path, 'utf8')).to.equal(
      `pid ${process.pid} on ${hostname()} since 2026-11-25T07:34:00.000Z\n`)
    for (const lock of [base, wal, other]) await lock.release()
  })

  it('names the holder and what to do, exit 11', async () => {
    const lock = await acquireServerLock(state(), 'main', 'base', {clock})
    const error = await lockedError()
    expect(error.exitCode).to.equal(11)
    expect(error.message).to.equal('another run of barmans3 holds the base lock of main: '
      + `pid ${process.pid} on ${hostname()} since 2026-11-25T07:34:00.000Z`)
    expect(error.hint).to.include('wait until that run has ended')
    await writeFile(lock.path, '\u001b[31mevil\u0007\n')
    expect((await lockedError()).message).to.equal('another run of barmans3 holds the base lock of main: [31mevil')
    await writeFile(lock.path, '')
    expect((await lockedError()).message).to.equal('another run of barmans3 holds the base lock of main')
    await lock.release()
  })

  it('waits as long as it may', async () => {
    const first = await acquireServerLock(state(), 'main', 'wal', {clock})
    setTimeout(() => void first.release(), 50)
    const second = await acquireServerLock(state(), 'main', 'wal', {clock, waitMs: 10_000})
    await second.release()
  })

  it('C11: of a run killed with -9 is free at once, whatever pid stands in the file', async () => {
    const sleeper = startChild('sleep', ['600'])
    const worker = startModule(`
      const {acquireServerLock} = await source('lib/local/server-lock.ts')
      const {systemClock} = await source('lib/local/system-clock.ts')
      await acquireServerLock(process.env.STATE, 'main', 'base', {clock: systemClock})
      console.log('held')
      setInterval(() => {}, 1000)
    `, {env: {...process.env, STATE: state()}})
    try {
      expect(await worker.line).to.equal('held')
      expect((await lockedError()).message).to.include(`pid ${worker.process.pid} on`)
      worker.process.kill('SIGKILL')
      await worker.exit
      await writeFile(join(state(), 'main.base.lock'), `pid ${sleeper.process.pid} on ${hostname()}\n`)
      const lock = await acquireServerLock(state(), 'main', 'base', {clock})
      await lock.release()
    } finally {
      worker.process.kill('SIGKILL')
      sleeper.process.kill()
      await sleeper.exit
    }
  })
})

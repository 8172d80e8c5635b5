import {expect} from 'chai'
import {mkdir, readFile, rename, stat, symlink, writeFile} from 'node:fs/promises'
import {join} from 'node:path'
import {errnoOf, LocalStateError} from '../../../src/lib/errors.ts'
import {tryFlock} from '../../../src/lib/local/flock.ts'
import {runChild, startChild, startModule} from '../../support/child.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

async function errorOf(promise: Promise<unknown>): Promise<LocalStateError> {
  try {
    await promise
  } catch (error) {
    expect(error).to.be.instanceOf(LocalStateError)
    return error as LocalStateError
  }
  throw new Error('it did not fail')
}

describe('tryFlock', () => {
  const directory = useTemporaryDirectory()
  const path = () => join(directory(), 'x.lock')
  const holder = (text = '') => startModule(`
    const {tryFlock} = await source('lib/local/flock.ts')
    const lock = await tryFlock(process.env.LOCK, {create: true})
    ${text}
    console.log(lock ? 'held' : 'busy')
    setInterval(() => {}, 1000)
  `, {env: {...process.env, LOCK: path()}})

  it('is busy for a second process, and free again after kill -9 of the holder', async () => {
    const child = holder()
    try {
      expect(await child.line).to.equal('held')
      expect(await tryFlock(path(), {create: true})).to.equal(undefined)
    } finally {
      child.process.kill('SIGKILL')
    }
    await child.exit
    const lock = await tryFlock(path())
    expect(lock?.path).to.equal(path())
    await lock?.release()
  })

  it('stays held after the flock program has ended, and leaves no child', async () => {
    const child = holder()
    try {
      expect(await child.line).to.equal('held')
      const children = await readFile(`/proc/${child.process.pid}/task/${child.process.pid}/children`, 'utf8')
      expect(children.trim()).to.equal('')
      expect(await tryFlock(path())).to.equal(undefined)
    } finally {
      child.process.kill('SIGKILL')
      await child.exit
    }
  })

  it('is not inherited by a child of the holder that lives on', async () => {
    const child = holder(`
      const {spawn} = await import('node:child_process')
      const sleeper = spawn('sleep', ['600'], {detached: true, stdio: 'ignore'})
      console.log(sleeper.pid)
    `)
    const sleeper = Number(await child.line)
    try {
      child.process.kill('SIGKILL')
      await child.exit
      process.kill(sleeper, 0)
      const lock = await tryFlock(path())
      expect(lock).to.not.equal(undefined)
      await lock?.release()
    } finally {
      process.kill(sleeper)
    }
  })

  it('C11: does not care for the pid of a living process in the file', async () => {
    const sleeper = startChild('sleep', ['600'])
    try {
      await writeFile(path(), `${sleeper.process.pid}\n`)
      const lock = await tryFlock(path())
      expect(await lock?.isStillAt()).to.equal(true)
      await lock?.release()
    } finally {
      sleeper.process.kill()
      await sleeper.exit
    }
  })

  it('is the same lock as that of flock(1) and of any program that uses flock(2)', async () => {
    const lock = await tryFlock(path(), {create: true})
    expect((await runChild('flock', ['-n', path(), 'true'])).status).to.equal(1)
    await lock?.release()
    await lock?.release()
    expect((await runChild('flock', ['-n', path(), 'true'])).status).to.equal(0)
  })

  it('says when its file is no longer the one at the path', async () => {
    const lock = await tryFlock(path(), {create: true})
    expect(await lock?.isStillAt()).to.equal(true)
    await rename(path(), `${path()}.old`)
    expect(await lock?.isStillAt()).to.equal(false)
    await writeFile(path(), '')
    expect(await lock?.isStillAt()).to.equal(false)
    await lock?.release()
  })

  it('waits for a holder that lets go, and gives up on one that does not', async () => {
    const first = await tryFlock(path(), {create: true})
    const began = Date.now()
    expect(await tryFlock(path(), {waitMs: 200})).to.equal(undefined)
    expect(Date.now() - began).to.be.within(190, 5000)
    const second = tryFlock(path(), {waitMs: 10_000})
    setTimeout(() => void first?.release(), 50)
    const lock = await second
    expect(lock).to.not.equal(undefined)
    await lock?.release()
  })

  it('stops waiting when the signal says so', async () => {
    const first = await tryFlock(path(), {create: true})
    const reason = new Error('enough')
    const controller = new AbortController()
    setTimeout(() => controller.abort(reason), 50)
    try {
      await tryFlock(path(), {waitMs: 60_000, signal: controller.signal})
      throw new Error('it did not stop')
    } catch (error) {
      expect(error).to.equal(reason)
    }
    await first?.release()
  })

  it('follows no symbolic link, opens no directory, makes no file unless asked', async () => {
    await writeFile(join(directory(), 'target'), 'precious')
    await symlink(join(directory(), 'target'), path())
    expect((await errorOf(tryFlock(path(), {create: true}))).message).to.include('a symbolic link stands there')
    const missing = await errorOf(tryFlock(join(directory(), 'missing.lock')))
    expect(errnoOf(missing.cause)).to.equal('ENOENT')
    await mkdir(join(directory(), 'directory.lock'))
    await errorOf(tryFlock(join(directory(), 'directory.lock'), {create: true}))
    await runChild('mkfifo', [join(directory(), 'fifo.lock')])
    expect((await errorOf(tryFlock(join(directory(), 'fifo.lock')))).message).to.include('not a regular file')
  })

  it('gives a file it makes the mode and, as root, the owner asked for', async () => {
    const isRoot = process.geteuid?.() === 0
    const owner = isRoot ? {uid: 12_345, gid: 23_456} : {uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0}
    const lock = await tryFlock(path(), {create: true, mode: 0o600, owner})
    const stats = await stat(path())
    expect([stats.mode & 0o777, stats.uid, stats.gid]).to.deep.equal([0o600, owner.uid, owner.gid])
    await lock?.release()
  })

  it('keeps the content of a file unless it is described', async () => {
    await writeFile(path(), 'a long text of an earlier holder\n')
    const lock = await tryFlock(path())
    expect(await readFile(path(), 'utf8')).to.equal('a long text of an earlier holder\n')
    await lock?.describe('short\n')
    expect(await readFile(path(), 'utf8')).to.equal('short\n')
    await lock?.release()
  })

  it('names util-linux when there is no flock program', async () => {
    const path_ = process.env['PATH']
    process.env['PATH'] = directory()
    try {
      const error = await errorOf(tryFlock(path(), {create: true}))
      expect(error.hint).to.include('install util-linux')
      expect(error.exitCode).to.equal(3)
    } finally {
      process.env['PATH'] = path_
    }
  })
})

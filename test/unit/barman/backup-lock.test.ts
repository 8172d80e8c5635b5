import {expect} from 'chai'
import {spawn} from 'node:child_process'
import type {ChildProcess} from 'node:child_process'
import {chmodSync, chownSync, existsSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, unlinkSync, writeFileSync} from 'node:fs'
import path from 'node:path'
import {lockBackupChain, tryLockBackupChain} from '../../../src/lib/barman/backup-lock.ts'
import type {BackupId} from '../../../src/lib/barman/backup-id.ts'
import {asUnprivilegedUser} from './as-other-user.ts'
import {makeTempTree} from './temp-tree.ts'
import type {TempTree} from './temp-tree.ts'

const CHAIN = ['20261101T020000', '20261102T020000', '20261103T020000'] as BackupId[]

describe("Barman's id locks", () => {
  let tree: TempTree
  const children: ChildProcess[] = []
  beforeEach(() => {
    tree = makeTempTree()
  })
  afterEach(async () => {
    for (const child of children.splice(0)) await end(child)
    tree.remove()
  })

  const lockPath = (id: string) => path.join(tree.home, `.pg-${id}.lock`)

  /** Another process that holds the lock of `id` by flock(2), as Barman does. */
  async function holdElsewhere(id: string): Promise<ChildProcess> {
    const child = spawn('flock', ['-n', lockPath(id), 'sh', '-c', 'echo held; exec cat'], {stdio: ['pipe', 'pipe', 'inherit']})
    children.push(child)
    await new Promise((resolve) => child.stdout?.once('data', resolve))
    return child
  }

  async function end(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.stdin?.end()
    await new Promise((resolve) => child.once('close', resolve))
  }

  /** Whether another process can take the lock of `id` now. */
  async function isFree(id: string): Promise<boolean> {
    const child = spawn('flock', ['-n', lockPath(id), 'true'])
    const code = await new Promise((resolve) => child.once('close', resolve))
    return code === 0
  }

  it('hold a whole chain so that another process gets none of it, and let go of all', async () => {
    const lock = await tryLockBackupChain(tree.server, CHAIN)
    expect(lock?.paths).to.deep.equal(CHAIN.map(lockPath))
    expect(await Promise.all(CHAIN.map(isFree))).to.deep.equal([false, false, false])
    expect(await lock?.isStillHeld()).to.equal(true)
    await lock?.release()
    await lock?.release()
    expect(await Promise.all(CHAIN.map(isFree))).to.deep.equal([true, true, true])
  })
  for (const busy of CHAIN) {
    it(`are all let go when somebody holds ${busy}`, async () => {
      const other = await holdElsewhere(busy)
      const result = await lockBackupChain(tree.server, CHAIN)
      expect(result).to.include({lock: undefined, reason: 'busy'})
      expect('message' in result && result.message).to.include(lockPath(busy))
      expect(await Promise.all(CHAIN.map(isFree))).to.deep.equal(CHAIN.map((id) => id !== busy))
      await end(other)
      const again = await tryLockBackupChain(tree.server, CHAIN)
      expect(again).to.not.equal(undefined)
      await again?.release()
    })
  }
  it('are taken root first: a busy root leaves no lock file of a child behind', async () => {
    await holdElsewhere(CHAIN[0] ?? '')
    expect(await tryLockBackupChain(tree.server, CHAIN)).to.equal(undefined)
    expect(readdirSync(tree.home).filter((name) => name.endsWith('.lock'))).to.deep.equal([`.pg-${CHAIN[0]}.lock`])
  })
  it('are made with mode 0600 and the owner of the lock directory, even by root', async () => {
    const isRoot = process.geteuid?.() === 0
    if (isRoot) chownSync(tree.home, 4711, 4712)
    const umask = process.umask(0)
    const lock = await tryLockBackupChain(tree.server, CHAIN)
    process.umask(umask)
    const {mode, uid, gid} = statSync(lockPath(CHAIN[2] ?? ''))
    expect(mode & 0o777).to.equal(0o600)
    expect([uid, gid]).to.deep.equal(isRoot ? [4711, 4712] : [statSync(tree.home).uid, statSync(tree.home).gid])
    await lock?.release()
  })
  it('leave the content, owner and mode of a lock file that is there alone', async () => {
    writeFileSync(lockPath(CHAIN[0] ?? ''), '12345')
    chmodSync(lockPath(CHAIN[0] ?? ''), 0o640)
    const lock = await tryLockBackupChain(tree.server, CHAIN.slice(0, 1))
    expect(statSync(lockPath(CHAIN[0] ?? '')).size).to.equal(5)
    expect(statSync(lockPath(CHAIN[0] ?? '')).mode & 0o777).to.equal(0o640)
    await lock?.release()
    expect(existsSync(lockPath(CHAIN[0] ?? ''))).to.equal(true)
  })
  it('notice when the lock file was deleted or replaced, as Barman does after a delete', async () => {
    const lock = await tryLockBackupChain(tree.server, CHAIN)
    unlinkSync(lockPath(CHAIN[1] ?? ''))
    expect(await lock?.isStillHeld()).to.equal(false)
    writeFileSync(`${lockPath(CHAIN[1] ?? '')}.new`, '')
    renameSync(`${lockPath(CHAIN[1] ?? '')}.new`, lockPath(CHAIN[1] ?? ''))
    expect(await lock?.isStillHeld()).to.equal(false)
    await lock?.release()
  })
  it('of a process that was killed are free again', async () => {
    const lock = await tryLockBackupChain(tree.server, CHAIN)
    await lock?.release()
    const other = await holdElsewhere(CHAIN[0] ?? '')
    expect(await tryLockBackupChain(tree.server, CHAIN)).to.equal(undefined)
    other.kill('SIGKILL')
    await new Promise((resolve) => other.once('close', resolve))
    // flock(1) is gone, its `cat` may live a moment longer and then reads the end of its input.
    for (let attempt = 0; attempt < 50 && !(await isFree(CHAIN[0] ?? '')); attempt++) await new Promise((resolve) => setTimeout(resolve, 20))
    const again = await tryLockBackupChain(tree.server, CHAIN)
    expect(again).to.not.equal(undefined)
    await again?.release()
  })

  describe('cannot be had, which is told and never thrown,', () => {
    const expectUnavailable = async (server: TempTree['server'], reason: RegExp, chain = CHAIN) => {
      const result = await lockBackupChain(server, chain)
      expect(result).to.include({lock: undefined, reason: 'unavailable'})
      expect('message' in result && result.message).to.match(reason)
      expect(await tryLockBackupChain(server, chain)).to.equal(undefined)
    }
    it('when no lock directory is known', () => expectUnavailable({...tree.server, lockDirectory: undefined}, /not known/))
    it('when it does not exist', () => expectUnavailable({...tree.server, lockDirectory: path.join(tree.home, 'none')}, /does not exist/))
    it('when it is a file', () => {
      const file = tree.write('file')
      return expectUnavailable({...tree.server, lockDirectory: file}, /cannot be taken/)
    })
    it('when there is no chain', () => expectUnavailable(tree.server, /no whole chain/, []))
    it('when a lock file is a link to somewhere else', async () => {
      const victim = tree.write('victim', 'precious')
      symlinkSync(victim, lockPath(CHAIN[1] ?? ''))
      await expectUnavailable(tree.server, /cannot be taken/)
      rmSync(lockPath(CHAIN[1] ?? ''))
      expect(await isFree(CHAIN[0] ?? '')).to.equal(true)
    })
    it("when we are neither root nor the directory's owner: our own file would lock Barman out", async () => {
      if (process.geteuid?.() === 0) chownSync(tree.home, 4711, 4712)
      chmodSync(tree.home, process.geteuid?.() === 0 ? 0o777 : 0o555)
      await asUnprivilegedUser(() => expectUnavailable(tree.server, /cannot be taken/))
      chmodSync(tree.home, 0o755)
      expect(readdirSync(tree.home).filter((name) => name.endsWith('.lock'))).to.deep.equal([])
    })
  })
})

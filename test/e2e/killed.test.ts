import {execFileSync} from 'node:child_process'
import {chmodSync, mkdirSync, readFileSync} from 'node:fs'
import {join} from 'node:path'
import {setTimeout as delay} from 'node:timers/promises'
import {expect} from 'chai'
import {listBucket, readObject} from '../support/bucket.ts'
import {ended, installTool, type InstalledTool} from '../support/e2e.ts'
import {createLab, type BarmanLab} from '../support/lab/barman-lab.ts'
import {isLocked} from '../support/lab/held-lock.ts'
import {giveTo} from '../support/lab/test-user.ts'
import {startServerOrSkip, type TestServer} from '../support/s3-servers.ts'
import {startSlowProxy, type SlowProxy} from '../support/slow-proxy.ts'
import type {BaseLsCommandResult} from '../../src/commands/base/ls.ts'
import type {WalSyncCommandResult} from '../../src/commands/wal/sync.ts'

const SERVER = 'main-server'
const PREFIX = `barman/${SERVER}`
const MIB = 1024 ** 2
/** A table of some 60 MiB, so that one file goes up in parts. */
const LARGE_TABLE = 'CREATE TABLE large AS SELECT g, repeat(md5(g::text), 30) AS text FROM generate_series(1, 50000) AS g;'

/** What `interrupted.test.ts` leaves out: kill -9 between two parts of a file and between WAL, a lock directory that is closed. */
describe('a run that is killed without a chance to clean up, or cannot lock', function () {
  this.timeout(60_000)
  let store: TestServer
  let proxy: SlowProxy
  let lab: BarmanLab
  let id: string
  let largePath: string

  before(async function () {
    store = await startServerOrSkip(this, 'versitygw')
    lab = await createLab({isSmall: true})
    await lab.psql(LARGE_TABLE)
    id = await lab.backup()
    largePath = execFileSync('find', [id, '-type', 'f', '-size', '+16M'], {cwd: lab.baseDirectory, encoding: 'utf8'}).trim()
    expect(largePath).to.match(/^\S+$/)
  })
  after(async () => {
    await lab?.stop()
    await store?.stop()
  })
  beforeEach(async () => {
    proxy = await startSlowProxy(store.endpoint, 20 * MIB)
  })
  afterEach(async () => await proxy?.stop())

  const install = async (settings: object = {}): Promise<InstalledTool> => await installTool(lab, store, {endpoint: proxy.endpoint, settings})

  /** Keys of the requests of one kind, in the order they came. */
  function sentKeys(pattern: RegExp): string[] {
    return proxy.requests().flatMap((each) => pattern.exec(each)?.[1] ?? [])
  }

  const wholeFiles = (): string[] => sentKeys(/^PUT (\S+\/base\/(?!.*partNumber=)\S+)$/)
  const parts = (): string[] => sentKeys(/^PUT \S+\/base\/\S+[?&]partNumber=(\d+)/)
  const wals = (): string[] => sentKeys(/^PUT \S+\/wals\/\w{16}\/(\w{24})(?:\?|$)/)

  async function until(what: string, isReached: () => boolean): Promise<void> {
    const deadline = Date.now() + 30_000
    while (!isReached()) {
      if (Date.now() > deadline) throw new Error(`in vain: ${what}`)
      await delay(5)
    }
  }

  async function stateOf(tool: InstalledTool) {
    const {backups} = (await tool.json<BaseLsCommandResult>('base', 'ls', SERVER)).result.servers[0]!
    return backups.find(({backupId}) => backupId === id)?.state
  }

  it('C11: kill -9 between two parts of a file: Barman\'s lock is free, and the next run stores that file whole', async () => {
    const tool = await install()
    const lock = join(lab.lockDirectory, `.${SERVER}-${id}.lock`)
    proxy.setBytesPerSecond(10 * MIB)
    const first = tool.start('base', 'sync', SERVER)
    const end = ended(first)
    await until('a second part and many files', () => parts().length >= 2 && wholeFiles().length >= 150)
    expect(await isLocked(lab.user, lock)).to.equal(true)
    first.kill('SIGKILL')
    expect((await end).signal).to.equal('SIGKILL')
    expect(await isLocked(lab.user, lock)).to.equal(false)
    expect(await stateOf(tool)).to.equal('incomplete')
    const large = `${PREFIX}/base/${largePath}`
    expect([...(await listBucket(store, tool.bucket)).keys()]).not.to.include(large)

    const before = wholeFiles()
    proxy.setBytesPerSecond(Infinity)
    const {code, stderr} = await tool.run('base', 'sync', SERVER)
    expect(code, stderr).to.equal(0)
    expect(await stateOf(tool)).to.equal('complete')
    expect((await readObject(store, tool.bucket, large)).equals(readFileSync(join(lab.baseDirectory, largePath)))).to.equal(true)
    // Sent again are at most those under way (16), and the lines that the journal and its notes had not written yet (16 each).
    const again = wholeFiles().slice(before.length).filter((each) => before.includes(each))
    expect(again).to.have.length.at.most(48)
  })

  it('C11: kill -9 between two WAL files: what is in S3 is whole, and the next run sends the others only', async () => {
    for (let segment = 0; segment < 4; segment++) {
      await lab.insertRow(`segment ${segment}`)
      await lab.switchWal()
    }
    await lab.archiveWal()
    const local = execFileSync('find', [lab.walsDirectory, '-type', 'f', '-not', '-name', '*xlog.db'], {encoding: 'utf8'})
      .trim().split('\n').map((path) => path.slice(lab.walsDirectory.length + 1)).sort()
    const tool = await install({transfer: {concurrency: 1}})
    const first = tool.start('wal', 'sync', SERVER)
    const end = ended(first)
    await until('a third WAL', () => wals().length >= 3)
    first.kill('SIGKILL')
    expect((await end).signal).to.equal('SIGKILL')
    const stored = await listBucket(store, tool.bucket, `${PREFIX}/wals/`)
    expect(stored.size).to.be.within(2, local.length - 1)

    proxy.setBytesPerSecond(Infinity)
    const before = wals().length
    const {code, result, said} = await tool.json<WalSyncCommandResult>('wal', 'sync', SERVER)
    expect(code, said).to.equal(0)
    const missing = local.filter((each) => !stored.has(`${PREFIX}/wals/${each}`))
    expect(wals().slice(before)).to.deep.equal(missing.flatMap((each) => /\/(\w{24})$/.exec(each)?.[1] ?? []))
    expect(result.servers[0]).to.deep.include({exitCode: 0})
    const keys = [...(await listBucket(store, tool.bucket, `${PREFIX}/wals/`)).keys()]
    expect(keys).to.deep.equal(local.map((each) => `${PREFIX}/wals/${each}`))
    for (const key of keys) {
      const body = await readObject(store, tool.bucket, key)
      expect(body.equals(readFileSync(join(lab.walsDirectory, key.slice(`${PREFIX}/wals/`.length)))), key).to.equal(true)
    }
  })

  it('a lock directory it may not write: it says so, copies without, and a backup that Barman deletes meanwhile is never recorded', async () => {
    const closed = join(lab.directory, 'closed')
    mkdirSync(closed)
    giveTo(lab.user, closed)
    chmodSync(closed, 0o555)
    const tool = await install({servers: {[SERVER]: {lockDirectory: closed}}})
    const running = tool.start('base', 'sync', SERVER)
    const end = ended(running)
    await until('a part', () => parts().length >= 1)
    const deleted = await lab.barman('delete', SERVER, id)
    expect(deleted.code, deleted.stdout + deleted.stderr).to.equal(0)
    proxy.setBytesPerSecond(Infinity)
    const {code, stderr} = await end
    expect(code, stderr).to.equal(13)
    expect(stderr).to.match(/copied without lock.*closed.*cannot be taken/).and.match(/vanished|deleted by Barman/)
    expect(await stateOf(tool)).to.equal('incomplete')
    expect([...(await listBucket(store, tool.bucket)).keys()]).not.to.include(`${PREFIX}/barmans3/${id}.json`)
  })
})

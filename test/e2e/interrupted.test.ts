import {execFileSync, spawn} from 'node:child_process'
import {chmodSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {setTimeout as delay} from 'node:timers/promises'
import {expect} from 'chai'
import {listBucket, openBucket, readObject} from '../support/bucket.ts'
import {ended, installTool, type InstalledTool} from '../support/e2e.ts'
import {createLab, type BarmanLab} from '../support/lab/barman-lab.ts'
import {isLocked} from '../support/lab/held-lock.ts'
import {giveTo} from '../support/lab/test-user.ts'
import {startServerOrSkip, type TestServer} from '../support/s3-servers.ts'
import {startSlowProxy, type SlowProxy} from '../support/slow-proxy.ts'
import type {BaseLsCommandResult} from '../../src/commands/base/ls.ts'
import type {BaseSyncCommandResult} from '../../src/commands/base/sync.ts'
import type {ObjectKey} from '../../src/lib/store/object-store.ts'

const SERVER = 'main-server'
const MIB = 1024 ** 2
const SLOW = 20 * MIB
/** A table of some 60 MiB, so that one file goes up in parts. */
const LARGE_TABLE = 'CREATE TABLE large AS SELECT g, repeat(md5(g::text), 30) AS text FROM generate_series(1, 50000) AS g;'

/** Each test copies into a bucket of its own; the last one loses the backup. */
describe('a base sync that is interrupted', function () {
  this.timeout(180_000)
  let store: TestServer
  let lab: BarmanLab
  let proxy: SlowProxy
  let id: string
  let large: ObjectKey
  before(async function () {
    store = await startServerOrSkip(this, 'versitygw')
    lab = await createLab({isSmall: true})
    await lab.psql(LARGE_TABLE)
    id = await lab.backup()
    const path = execFileSync('find', [id, '-type', 'f', '-size', '+16M'], {cwd: lab.baseDirectory, encoding: 'utf8'}).trim()
    expect(path).to.match(/^\S+$/)
    large = `barman/${SERVER}/base/${path}` as ObjectKey
  })
  after(async () => {
    await lab?.stop()
    await store?.stop()
  })
  beforeEach(async () => {
    proxy = await startSlowProxy(store.endpoint, SLOW)
  })
  afterEach(async () => await proxy?.stop())

  async function install(settings: object = {}): Promise<InstalledTool> {
    // One request a file: there is time to interrupt it. Layout compact: resume.test.ts.
    return await installTool(lab, store, {endpoint: proxy.endpoint, settings: {base: {layout: 'mirror'}, ...settings}})
  }

  async function untilSent(bytes: number): Promise<void> {
    const deadline = Date.now() + 30_000
    while (proxy.sentBytes() < bytes) {
      if (Date.now() > deadline) throw new Error(`only ${proxy.sentBytes()} bytes were sent`)
      await delay(20)
    }
  }

  /** Open uploads of the large file. */
  async function openUploads(tool: InstalledTool): Promise<readonly string[]> {
    const bucket = openBucket(store, tool.bucket)
    try {
      return await bucket.listUploads(large)
    } finally {
      bucket.close()
    }
  }

  async function states(tool: InstalledTool) {
    const {backups} = (await tool.json<BaseLsCommandResult>('base', 'ls', SERVER)).result.servers[0]!
    return backups.filter(({backupId}) => backupId === id).map(({state}) => state)
  }

  /** Requests that send a whole file of a backup. */
  const filePuts = (): string[] => proxy.requests().filter((each) => each.startsWith('PUT ') && each.includes('/base/') && !each.includes('partNumber='))

  async function untilPuts(count: number): Promise<void> {
    const deadline = Date.now() + 30_000
    while (filePuts().length < count) {
      if (Date.now() > deadline) throw new Error(`only ${filePuts().length} files were sent`)
      await delay(5)
    }
  }

  it('C11: kill -9 in mid-upload: nothing is recorded, no lock stays, and the next run sends only what is missing', async () => {
    proxy.setBytesPerSecond(8 * MIB)
    const tool = await install()
    const first = tool.start('base', 'sync', SERVER)
    const end = ended(first)
    const barmanLock = join(lab.lockDirectory, `.${SERVER}-${id}.lock`)
    await untilPuts(250)
    expect(await isLocked(lab.user, barmanLock)).to.equal(true)
    expect(await openUploads(tool), 'the large file is on its way').to.have.length(1)
    first.kill('SIGKILL')
    expect((await end).signal).to.equal('SIGKILL')
    expect(await isLocked(lab.user, barmanLock)).to.equal(false)
    expect(await states(tool)).to.deep.equal(['incomplete'])
    // A lock file that names a living process, which is none of ours, blocks nobody.
    const sleeper = spawn('sleep', ['60'])
    writeFileSync(join(tool.stateDirectory, `${SERVER}.base.lock`), `pid ${sleeper.pid} on here since ever\n`)
    const before = filePuts().length
    proxy.setBytesPerSecond(Infinity)
    const second = await tool.json<BaseSyncCommandResult>('base', 'sync', SERVER)
    sleeper.kill()
    expect(second.code, second.said).to.equal(0)
    const [{backupId, outcome, files} = {}] = second.result.servers[0]!.backups
    expect([backupId, outcome]).to.deep.equal([id, 'copied'])
    expect(await states(tool)).to.deep.equal(['complete'])
    // Sent again are at most those under way when it was killed (16), and those whose end it had not noted yet (30).
    expect(filePuts().length - before).to.be.within(1, files! - before + 50)
    const local = readFileSync(join(lab.serverDirectory, large.slice(`barman/${SERVER}/`.length)))
    expect((await readObject(store, tool.bucket, large)).equals(local)).to.equal(true)
  })

  for (const [signal, code] of [['SIGTERM', 143], ['SIGINT', 130]] as const) {
    it(`${signal}: ends within ten seconds with ${code}, keeps the upload for the next run, which goes on with it and leaves none open`, async () => {
      const tool = await install()
      const running = tool.start('base', 'sync', SERVER)
      const end = ended(running)
      await untilSent(25 * MIB)
      const open = await openUploads(tool)
      expect(open).to.have.length(1)
      const begin = Date.now()
      running.kill(signal)
      const {code: actual, stderr} = await end
      expect(actual, stderr).to.equal(code)
      expect(Date.now() - begin).to.be.lessThan(10_000)
      expect(stderr).to.contain(`stopped by ${signal}`)
      expect(await openUploads(tool)).to.deep.equal(open)
      expect(await states(tool)).to.deep.equal(['incomplete'])
      const before = filePuts().length
      proxy.setBytesPerSecond(Infinity)
      const second = await tool.json<BaseSyncCommandResult>('base', 'sync', SERVER)
      expect(second.code, second.said).to.equal(0)
      expect(await states(tool)).to.deep.equal(['complete'])
      expect(await openUploads(tool)).to.deep.equal([])
      const [{files} = {}] = second.result.servers[0]!.backups
      expect(filePuts().length - before, 'only those under way (16) are sent again').to.be.at.most(files! - before + 16)
    })
  }

  it('C11: a second run at the same time: says so with exit 11, and the first one is not disturbed', async () => {
    const tool = await install()
    const first = tool.start('base', 'sync', SERVER)
    const end = ended(first)
    await untilSent(5 * MIB)
    const second = await tool.run('base', 'sync', SERVER)
    expect(second.code).to.equal(11)
    expect(second.stderr).to.contain('holds the base lock').and.contain(`pid ${first.pid}`)
    expect(first.exitCode, 'the first has ended before').to.equal(null)
    proxy.setBytesPerSecond(Infinity)
    const {code, stderr} = await end
    expect(code, stderr).to.equal(0)
    expect(await states(tool)).to.deep.equal(['complete'])
    const sent = filePuts()
    expect(sent.filter((each, index) => sent.indexOf(each) !== index), 'sent twice').to.deep.equal([])
  })

  it('Barman deletes the backup meanwhile, since its lock directory is closed: the copy is aborted, exit 13, nothing is recorded', async () => {
    const lockDirectory = join(lab.directory, 'closed')
    mkdirSync(lockDirectory)
    giveTo(lab.user, lockDirectory)
    chmodSync(lockDirectory, 0o555)
    const tool = await install({servers: {[SERVER]: {lockDirectory}}})
    const running = tool.start('base', 'sync', SERVER)
    const end = ended(running)
    await untilSent(20 * MIB)
    const deleted = await lab.barman('delete', SERVER, id)
    expect(deleted.code, deleted.stdout + deleted.stderr).to.equal(0)
    proxy.setBytesPerSecond(Infinity)
    const {code, stderr} = await end
    expect(code, stderr).to.equal(13)
    expect(stderr).to.match(/copied without lock.*closed cannot be taken/).and.match(/vanished|deleted by Barman/)
    expect([...(await listBucket(store, tool.bucket)).keys()].filter((key) => key.endsWith(`barmans3/${id}.json`))).to.deep.equal([])
    expect(await states(tool)).to.deep.equal(['incomplete'])
    expect(await openUploads(tool)).to.deep.equal([])
  })
})

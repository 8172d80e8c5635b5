import {execFileSync, spawn} from 'node:child_process'
import {writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {setTimeout as delay} from 'node:timers/promises'
import {expect} from 'chai'
import {listBucket, openBucket} from '../support/bucket.ts'
import {ended, installTool, type InstalledTool} from '../support/e2e.ts'
import {createLab, type BarmanLab, type LabOptions} from '../support/lab/barman-lab.ts'
import {startServerOrSkip, type TestServer} from '../support/s3-servers.ts'
import {startSlowProxy, type SlowProxy} from '../support/slow-proxy.ts'
import type {BaseLsCommandResult} from '../../src/commands/base/ls.ts'
import type {BaseSyncCommandResult} from '../../src/commands/base/sync.ts'
import type {ObjectKey} from '../../src/lib/store/object-store.ts'

const SERVER = 'main-server'
const MIB = 1024 ** 2
/** A table of some 60 MiB, so that one file goes up in parts. */
const LARGE_TABLE = 'CREATE TABLE large AS SELECT g, repeat(md5(g::text), 30) AS text FROM generate_series(1, 50000) AS g;'

describe('a base sync that is interrupted', function () {
  this.timeout(180_000)
  let store: TestServer
  let lab: BarmanLab
  let proxy: SlowProxy
  before(async function () {
    store = await startServerOrSkip(this, 'versitygw')
  })
  after(async () => await store?.stop())
  afterEach(async () => {
    await proxy?.stop()
    await lab?.stop()
  })

  async function start(options: LabOptions = {}): Promise<{id: string; tool: InstalledTool}> {
    lab = await createLab(options)
    proxy = await startSlowProxy(store.endpoint, 20 * MIB)
    await lab.psql(LARGE_TABLE)
    const id = await lab.backup()
    return {id, tool: await installTool(lab, store, {endpoint: proxy.endpoint})}
  }

  async function untilSent(bytes: number): Promise<void> {
    const deadline = Date.now() + 60_000
    while (proxy.sentBytes() < bytes) {
      if (Date.now() > deadline) throw new Error(`only ${proxy.sentBytes()} bytes were sent`)
      await delay(20)
    }
  }

  /** Open uploads of every file that goes up in parts. */
  async function openUploads(tool: InstalledTool): Promise<string[]> {
    const bucket = openBucket(store, tool.bucket)
    try {
      const large = execFileSync('find', ['.', '-type', 'f', '-size', '+16M'], {cwd: lab.baseDirectory, encoding: 'utf8'}).trim().split('\n')
      expect(large.length).to.be.at.least(1)
      const open = await Promise.all(large.map(async (path) => await bucket.listUploads(`barman/${SERVER}/base/${path.slice(2)}` as ObjectKey)))
      return open.flat()
    } finally {
      bucket.close()
    }
  }

  async function state(tool: InstalledTool) {
    const {backups} = (await tool.json<BaseLsCommandResult>('base', 'ls', SERVER)).result.servers[0]!
    return backups.map((backup) => backup.state)
  }

  it('C11: kill -9 in mid-upload: nothing is recorded, no lock stays, and the next run sends only what is missing', async () => {
    const {id, tool} = await start()
    const first = tool.start('base', 'sync', SERVER)
    await untilSent(30 * MIB)
    first.kill('SIGKILL')
    expect((await ended(first)).signal).to.equal('SIGKILL')
    expect(await state(tool)).to.deep.equal(['incomplete'])
    // A lock file that names a living process, which is none of ours, blocks nobody.
    const sleeper = spawn('sleep', ['60'])
    writeFileSync(join(tool.stateDirectory, `${SERVER}.base.lock`), `pid ${sleeper.pid} on here since ever\n`)
    const sentBefore = proxy.sentBytes()
    proxy.setBytesPerSecond(500 * MIB)
    const second = await tool.json<BaseSyncCommandResult>('base', 'sync', SERVER)
    sleeper.kill()
    expect(second.code).to.equal(0)
    expect(second.result.servers[0]!.backups.map(({backupId, outcome}) => [backupId, outcome])).to.deep.equal([[id, 'copied']])
    expect(await state(tool)).to.deep.equal(['complete'])
    const [size = 0] = second.result.servers[0]!.backups.map(({bytes}) => bytes)
    expect(proxy.sentBytes() - sentBefore).to.be.lessThan(size + 5 * MIB)
  })

  for (const [signal, code] of [['SIGTERM', 143], ['SIGINT', 130]] as const) {
    it(`${signal}: ends within ten seconds with ${code}, leaves no open upload, and the next run finishes`, async () => {
      const {tool} = await start()
      const running = tool.start('base', 'sync', SERVER)
      const end = ended(running)
      await untilSent(25 * MIB)
      expect(await openUploads(tool)).to.have.length(1)
      const begin = Date.now()
      running.kill(signal)
      const {code: actual, stderr} = await end
      expect(actual, stderr).to.equal(code)
      expect(Date.now() - begin).to.be.lessThan(10_000)
      expect(stderr).to.contain(`stopped by ${signal}`)
      expect(await openUploads(tool)).to.deep.equal([])
      expect(await state(tool)).to.deep.equal(['incomplete'])
      proxy.setBytesPerSecond(500 * MIB)
      expect((await tool.run('base', 'sync', SERVER)).code).to.equal(0)
      expect(await state(tool)).to.deep.equal(['complete'])
    })
  }

  it('a second run at the same time: says so with exit 11, and the first one is not disturbed', async () => {
    const {tool} = await start()
    const first = tool.start('base', 'sync', SERVER)
    const end = ended(first)
    await untilSent(5 * MIB)
    const second = await tool.run('base', 'sync', SERVER)
    expect(second.code).to.equal(11)
    expect(second.stderr).to.contain('holds the base lock').and.contain(`pid ${first.pid}`)
    proxy.setBytesPerSecond(500 * MIB)
    expect((await end).code).to.equal(0)
    expect(await state(tool)).to.deep.equal(['complete'])
  })

  it("Barman's own locks of a whole incremental chain keep it from deleting meanwhile", async () => {
    const {id: full, tool} = await start({postgres: 18, summarizeWal: true})
    proxy.setBytesPerSecond(500 * MIB)
    expect((await tool.run('base', 'sync', SERVER)).code).to.equal(0)
    await lab.psql('UPDATE large SET text = text || g;')
    const child = await lab.backup({incrementalOf: full})
    const before = proxy.sentBytes()
    proxy.setBytesPerSecond(5 * MIB)
    const running = tool.start('base', 'sync', SERVER)
    const end = ended(running)
    await untilSent(before + 5 * MIB)
    for (const id of [full, child]) {
      const refused = await lab.barman('delete', SERVER, id)
      expect(refused.code, refused.stdout + refused.stderr).to.equal(1)
      expect(refused.stdout + refused.stderr).to.match(/lock/i)
    }
    proxy.setBytesPerSecond(500 * MIB)
    expect((await end).code).to.equal(0)
    const deleted = await lab.barman('delete', SERVER, full)
    expect(deleted.code, deleted.stdout + deleted.stderr).to.equal(0)
  })

  it('Barman deletes the backup meanwhile, since its lock cannot be had: the copy is aborted, exit 13, nothing is recorded', async () => {
    const {id, tool} = await start()
    const other = await installTool(lab, store, {
      bucket: tool.bucket, endpoint: proxy.endpoint, settings: {servers: {[SERVER]: {lockDirectory: join(lab.directory, 'nowhere')}}},
    })
    const running = other.start('base', 'sync', SERVER)
    const end = ended(running)
    await untilSent(20 * MIB)
    const deleted = await lab.barman('delete', SERVER, id)
    expect(deleted.code, deleted.stdout + deleted.stderr).to.equal(0)
    proxy.setBytesPerSecond(500 * MIB)
    const {code, stderr} = await end
    expect(code, stderr).to.equal(13)
    expect(stderr).to.match(/vanished|deleted by Barman/)
    expect([...(await listBucket(store, tool.bucket)).keys()].filter((key) => key.endsWith(`barmans3/${id}.json`))).to.deep.equal([])
    expect(await state(other)).to.deep.equal(['incomplete'])
  })

})

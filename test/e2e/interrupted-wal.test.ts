import {execFileSync} from 'node:child_process'
import {readFileSync} from 'node:fs'
import {join} from 'node:path'
import {setTimeout as delay} from 'node:timers/promises'
import {expect} from 'chai'
import {listBucket, readObject} from '../support/bucket.ts'
import {ended, installTool} from '../support/e2e.ts'
import {createLab, type BarmanLab} from '../support/lab/barman-lab.ts'
import {startServerOrSkip, type TestServer} from '../support/s3-servers.ts'
import {startSlowProxy, type SlowProxy} from '../support/slow-proxy.ts'
import type {WalSyncCommandResult} from '../../src/commands/wal/sync.ts'

const SERVER = 'main-server'
const PREFIX = `barman/${SERVER}`
const MIB = 1024 ** 2

describe('a wal sync that is interrupted', function () {
  this.timeout(180_000)
  let store: TestServer
  let proxy: SlowProxy
  let lab: BarmanLab
  before(async function () {
    store = await startServerOrSkip(this, 'versitygw')
    proxy = await startSlowProxy(store.endpoint, 20 * MIB)
    lab = await createLab({isSmall: true})
  })
  after(async () => {
    await lab?.stop()
    await proxy?.stop()
    await store?.stop()
  })

  /** Names of the WAL files that requests sent, in their order; one that probes what the store can comes twice in a row. */
  function sentWals(requests: readonly string[]): string[] {
    return [...new Set(requests.flatMap((each) => /^PUT \S+\/wals\/\w{16}\/(\w{24})(?:\?|$)/.exec(each)?.[1] ?? []))]
  }

  async function untilThirdWal(): Promise<void> {
    const deadline = Date.now() + 30_000
    while (sentWals(proxy.requests()).length < 3) {
      if (Date.now() > deadline) throw new Error(`only ${sentWals(proxy.requests()).length} WAL files were sent`)
      await delay(5)
    }
  }

  it('C11: kill -9 between two WAL files: what is in S3 is whole, and the next run sends the others only', async () => {
    for (let segment = 0; segment < 4; segment++) {
      await lab.insertRow(`segment ${segment}`)
      await lab.switchWal()
    }
    await lab.archiveWal()
    const local = execFileSync('find', [lab.walsDirectory, '-type', 'f', '-not', '-name', '*xlog.db'], {encoding: 'utf8'})
      .trim().split('\n').map((path) => path.slice(lab.walsDirectory.length + 1)).sort()
    const tool = await installTool(lab, store, {endpoint: proxy.endpoint, settings: {transfer: {concurrency: 1}}})
    const first = tool.start('wal', 'sync', SERVER)
    const end = ended(first)
    await untilThirdWal()
    first.kill('SIGKILL')
    expect((await end).signal).to.equal('SIGKILL')
    const stored = await listBucket(store, tool.bucket, `${PREFIX}/wals/`)
    expect(stored.size).to.be.within(2, local.length - 1)

    proxy.setBytesPerSecond(Infinity)
    const before = proxy.requests().length
    const {code, result, said} = await tool.json<WalSyncCommandResult>('wal', 'sync', SERVER)
    expect(code, said).to.equal(0)
    const missing = local.filter((each) => !stored.has(`${PREFIX}/wals/${each}`))
    expect(sentWals(proxy.requests().slice(before))).to.deep.equal(missing.flatMap((each) => /\/(\w{24})$/.exec(each)?.[1] ?? []))
    expect(result.servers[0]).to.deep.include({exitCode: 0})
    const keys = [...(await listBucket(store, tool.bucket, `${PREFIX}/wals/`)).keys()]
    expect(keys).to.deep.equal(local.map((each) => `${PREFIX}/wals/${each}`))
    for (const key of keys) {
      const body = await readObject(store, tool.bucket, key)
      expect(body.equals(readFileSync(join(lab.walsDirectory, key.slice(`${PREFIX}/wals/`.length)))), key).to.equal(true)
    }
  })
})

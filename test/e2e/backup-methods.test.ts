import {execFileSync} from 'node:child_process'
import {readdirSync, statSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {listBucket} from '../support/bucket.ts'
import {ended, installTool, type InstalledTool} from '../support/e2e.ts'
import {createLab, type BarmanLab, type LabOptions} from '../support/lab/barman-lab.ts'
import {restoreHost} from '../support/restored-host.ts'
import {startServerOrSkip, type TestServer} from '../support/s3-servers.ts'
import {startSlowProxy, type SlowProxy} from '../support/slow-proxy.ts'
import type {BaseLsCommandResult} from '../../src/commands/base/ls.ts'
import type {BaseSyncCommandResult} from '../../src/commands/base/sync.ts'

const SERVER = 'main-server'
const PREFIX = `barman/${SERVER}`
const MIB = 1024 ** 2

describe('what Barman can be told to do', function () {
  this.timeout(180_000)
  let store: TestServer
  let proxy: SlowProxy
  let lab: BarmanLab
  let tool: InstalledTool
  before(async function () {
    store = await startServerOrSkip(this, 'versitygw')
    proxy = await startSlowProxy(store.endpoint)
  })
  after(async () => {
    await proxy?.stop()
    await store?.stop()
  })
  afterEach(async () => await lab?.stop())

  async function start(options: LabOptions): Promise<void> {
    lab = await createLab({isSmall: true, ...options})
    tool = await installTool(lab, store, {endpoint: proxy.endpoint})
    proxy.setBytesPerSecond(Infinity)
  }

  async function restorable() {
    const {backups} = (await tool.json<BaseLsCommandResult>('base', 'ls', SERVER)).result.servers[0]!
    return backups.map((backup) => [backup.backupId, backup.restorable])
  }

  async function fullSync(): Promise<void> {
    const {code, stdout, stderr} = await tool.run('full-sync', SERVER)
    expect(code, stdout + stderr).to.equal(0)
  }

  it('backups as gzip tar, a tablespace, and gzip WAL: the same bytes in S3, and the rows come back from them', async () => {
    await start({method: 'postgres-tar-gzip', walCompression: 'gzip', tablespace: true})
    await lab.insertRow('packed')
    const id = await lab.backup()
    await lab.insertRow('in the WAL only')
    await lab.switchWal()
    await lab.archiveWal()
    await fullSync()
    expect(await restorable()).to.deep.equal([[id, 'yes']])
    const {result} = await tool.json<{requests: Record<string, number>}>('full-sync', SERVER)
    expect(result.requests).not.to.have.any.keys('PutObject', 'DeleteObject')
    const host = await restoreHost({lab, server: store, bucket: tool.bucket, backupIds: [id]})
    execFileSync('diff', ['--recursive', '--brief', join(lab.baseDirectory, id), join(host.serverDirectory, 'base', id)])
    expect(await host.query('SELECT note FROM marker UNION ALL SELECT note FROM marker_ts ORDER BY 1')).to.deep.equal(['in a tablespace', 'in the WAL only', 'packed'])
  })

  it('local-rsync with hard links: a copy goes on while Barman links the same files into a new backup and deletes an old one', async () => {
    await start({method: 'local-rsync', tablespace: true})
    const first = await lab.backup()
    await fullSync()
    await lab.insertRow('second')
    const second = await lab.backup()
    const linked = join(lab.baseDirectory, second, 'data', 'PG_VERSION')
    expect(statSync(linked).nlink).to.equal(2)

    // What changed and the small files are little: one pack is on its way for a while.
    proxy.setBytesPerSecond(MIB / 8)
    const copying = tool.start('base', 'sync', SERVER)
    const end = ended(copying)
    await untilUploading(second)
    await lab.insertRow('third')
    const third = await lab.backup()
    expect(statSync(linked).nlink).to.equal(3)
    const deleted = await lab.barman('delete', SERVER, first)
    expect(deleted.code, deleted.stdout + deleted.stderr).to.equal(0)
    expect(statSync(linked).nlink).to.equal(2)
    expect(copying.exitCode, 'the copy has ended before').to.equal(null)
    proxy.setBytesPerSecond(Infinity)
    const {code, stderr} = await end
    expect(code, stderr).to.equal(0)

    await lab.switchWal()
    await lab.archiveWal()
    await fullSync()
    expect(await restorable()).to.deep.equal([[first, 'yes'], [second, 'yes'], [third, 'yes']])
    const host = await restoreHost({lab, server: store, bucket: tool.bucket, backupIds: [second]})
    expect(await host.query('SELECT note FROM marker UNION ALL SELECT note FROM marker_ts ORDER BY 1')).to.deep.equal(['in a tablespace', 'second', 'third'])
  })

  async function untilUploading(id: string): Promise<void> {
    const deadline = Date.now() + 20_000
    const isUploading = () => proxy.requests().filter((each) => each.startsWith('PUT ') && each.includes(`/base/${id}/`)).length > 0
    while (!isUploading()) {
      if (Date.now() > deadline) throw new Error(`nothing of ${id} was sent`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  it('a timeline switch: the history file goes first, then the WAL of both timelines, and backups of both can be restored', async () => {
    await start({})
    await lab.insertRow('on timeline 1')
    const first = await lab.backup()
    await lab.switchTimeline({diverge: true})
    await lab.insertRow('on timeline 2')
    const second = await lab.backup()
    await lab.switchWal()
    await lab.archiveWal()

    const before = proxy.requests().length
    const {code, stderr} = await tool.run('wal', 'sync', SERVER)
    expect(code, stderr).to.equal(0)
    const sent = proxy.requests().slice(before).flatMap((each) => /^PUT .*\/wals\/(?:\w{16}\/)?([\w.]+)(?:\?|$)/.exec(each)?.[1] ?? [])
    const local = readdirSync(lab.walsDirectory, {recursive: true, withFileTypes: true})
      .flatMap((entry) => (entry.isFile() && !/xlog|\.partial$/.test(entry.name) ? [entry.name] : []))
    expect(local.filter((name) => /^00000001/.test(name)).length).to.be.greaterThan(2)
    expect(local.filter((name) => /^00000002\w{16}$/.test(name)).length).to.be.greaterThan(1)
    expect(sent[0]).to.equal('00000002.history')
    expect([...sent].sort()).to.deep.equal([...local].sort())
    const keys = [...(await listBucket(store, tool.bucket, `${PREFIX}/wals/`)).keys()].map((key) => key.split('/').at(-1))
    expect(keys.sort()).to.deep.equal([...local].sort())

    const {result} = await tool.json<BaseSyncCommandResult>('base', 'sync', SERVER)
    expect(result.servers[0]!.backups.map(({backupId, outcome}) => [backupId, outcome])).to.deep.equal([[first, 'copied'], [second, 'copied']])
    expect(await restorable()).to.deep.equal([[first, 'yes'], [second, 'yes']])
    const host = await restoreHost({lab, server: store, bucket: tool.bucket, backupIds: [first]})
    const rows = await host.query('SELECT note FROM marker ORDER BY 1', {targetTimeline: '2'})
    expect(rows).to.include('on timeline 2').and.not.to.include('only on the old timeline')
  })
})

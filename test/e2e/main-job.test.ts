import {execFileSync} from 'node:child_process'
import {readFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {listBucket, readObject} from '../support/bucket.ts'
import {installTool, type InstalledTool} from '../support/e2e.ts'
import {createLab, type BarmanLab} from '../support/lab/barman-lab.ts'
import {whileLocked} from '../support/lab/held-lock.ts'
import {restoreHost} from '../support/restored-host.ts'
import {startServer, startServerOrSkip, type TestServer} from '../support/s3-servers.ts'
import {startSlowProxy, type SlowProxy} from '../support/slow-proxy.ts'
import {contentsOfTree, snapshotTree} from '../support/tree-snapshot.ts'
import type {BaseLsCommandResult} from '../../src/commands/base/ls.ts'
import type {BaseSyncCommandResult} from '../../src/commands/base/sync.ts'
import type {WalSyncCommandResult} from '../../src/commands/wal/sync.ts'
import type {QueueStatus} from '../../src/lib/queue/status.ts'

const SERVER = 'main-server'
const PREFIX = `barman/${SERVER}`

/** One Barman host from its first backup to its loss; each test goes on where the one before it ended. */
describe('a Barman host with PostgreSQL 15, Barman 3.19.1, method postgres, a tablespace, the hook, and SeaweedFS', function () {
  this.timeout(180_000)
  let store: TestServer
  let proxy: SlowProxy
  let lab: BarmanLab
  let tool: InstalledTool
  let id: string

  before(async function () {
    store = await startServerOrSkip(this, 'weed')
    proxy = await startSlowProxy(store.endpoint)
    lab = await createLab({tablespace: true})
    tool = await installTool(lab, store, {endpoint: proxy.endpoint})
    lab.addServerLines(`post_backup_script = ${tool.hookCommand}`)
    await lab.insertRow('before the backup')
  })
  after(async () => {
    await lab?.stop()
    await proxy?.stop()
    await store?.stop()
  })

  async function listOnly() {
    const {result} = await tool.json<BaseLsCommandResult>('base', 'ls', SERVER)
    const [backup, ...others] = result.servers[0]!.backups
    expect(others).to.deep.equal([])
    return backup!
  }

  it('barman backup ends with 0, and the hook has queued the backup, which is WAITING_FOR_WALS', async () => {
    // Nobody archives meanwhile, so the backup stays what it is at the hook.
    id = await whileLocked(lab.user, join(lab.lockDirectory, `.${SERVER}-archive-wal.lock`), async () => (
      await lab.backup({wait: 'no', name: 'nightly'})
    ))
    expect(lab.readBackupInfo(id)).to.match(/^status=WAITING_FOR_WALS$/m)
    const {code, result} = await tool.json<QueueStatus>('queue', 'status')
    expect(code).to.equal(0)
    expect(result.tasks.map(({backupId, state, hook}) => [backupId, state, hook?.status])).to.deep.equal([[id, 'run', 'WAITING_FOR_WALS']])
  })

  it('base sync copies it from the queue at once; base ls names the WAL that is missing for a restore', async () => {
    const {code, result, said} = await tool.json<BaseSyncCommandResult>('base', 'sync')
    expect(code, said).to.equal(0)
    expect(result.servers[0]!.backups.map(({backupId, outcome, origin}) => [backupId, outcome, origin])).to.deep.equal([[id, 'copied', 'queue']])
    const queue = await tool.json<QueueStatus>('queue', 'status')
    expect(queue.result.counts).to.deep.equal({run: 0, running: 0, done: 1, error: 0})
    const beginWal = /^begin_wal=(\w+)$/m.exec(lab.readBackupInfo(id))?.[1]
    expect(await listOnly()).to.deep.include({
      backupId: id, name: 'nightly', state: 'complete', barmanStatus: 'WAITING_FOR_WALS', restorable: 'no', isLocal: true,
      reason: `WAL ${beginWal} is missing in S3`,
    })
    const {stdout} = await tool.run('base', 'ls', SERVER)
    expect(stdout).to.match(new RegExp(`${id} .*nightly .* complete +no: WAL ${beginWal} is missing`))
  })

  it('when Barman has the WAL and wal sync has copied it, the backup is restorable', async () => {
    await lab.insertRow('after the backup')
    await lab.switchWal()
    await lab.archiveWal()
    expect((await lab.barman('check-backup', SERVER, id)).code).to.equal(0)
    const {code, result, said} = await tool.json<WalSyncCommandResult>('wal', 'sync', SERVER)
    expect(code, said).to.equal(0)
    const local = execFileSync('find', [lab.walsDirectory, '-type', 'f', '-not', '-name', '*xlog.db'], {encoding: 'utf8'}).trim().split('\n')
    const keys = [...(await listBucket(store, tool.bucket, `${PREFIX}/wals/`)).keys()].map((key) => key.slice(`${PREFIX}/wals/`.length))
    expect(keys).to.deep.equal(local.map((path) => path.slice(lab.walsDirectory.length + 1)).sort())
    expect(result.servers[0]).to.deep.include({exitCode: 0})
    for (const key of keys) {
      const stored = await readObject(store, tool.bucket, `${PREFIX}/wals/${key}`)
      expect(stored.equals(readFileSync(join(lab.walsDirectory, key))), key).to.equal(true)
    }
    expect(await listOnly()).to.deep.include({state: 'complete', restorable: 'yes', barmanStatus: 'DONE'})
  })

  it('C07: the backup.info that Barman has turned DONE is carried over by the next run', async () => {
    const stored = async () => (await readObject(store, tool.bucket, `${PREFIX}/meta/${id}-backup.info`)).toString()
    expect(await stored()).to.match(/^status=WAITING_FOR_WALS$/m)
    const {code, result} = await tool.json<BaseSyncCommandResult>('base', 'sync')
    expect([code, result.servers[0]!.metadataUpdated]).to.deep.equal([0, 1])
    expect(await stored()).to.equal(lab.readBackupInfo(id)).and.to.match(/^status=DONE$/m)
  })

  it('a second run of everything sends nothing, and changes nothing in the bucket nor in Barman\'s directories', async () => {
    const before = {tree: snapshotTree(lab.serverDirectory), bucket: await listBucket(store, tool.bucket), requests: proxy.requests().length}
    for (const args of [['wal', 'sync', SERVER], ['base', 'sync'], ['full-sync', SERVER], ['wal', 'sync', '--all']]) {
      const {code, result} = await tool.json<{requests: Record<string, number>}>(...args)
      expect(code, args.join(' ')).to.equal(0)
      expect(result.requests, args.join(' ')).not.to.have.any.keys('PutObject', 'CopyObject', 'CreateMultipartUpload', 'DeleteObject')
    }
    // What the server has seen, not what the tool says.
    const seen = proxy.requests().slice(before.requests)
    expect(seen.filter((request) => /^(GET|HEAD) /.test(request))).to.have.length.greaterThan(3)
    expect(seen.filter((request) => !/^(GET|HEAD) /.test(request))).to.deep.equal([])
    expect(await listBucket(store, tool.bucket)).to.deep.equal(before.bucket)
    expect(snapshotTree(lab.serverDirectory)).to.deep.equal(before.tree)
  })

  it('C58: from cron, with an empty environment, in a directory nobody may read: says one line for new WAL, nothing otherwise', async () => {
    const keys = Object.entries(tool.credentials).map(([name, value]) => `${name}=${value}`).join(' ')
    const line = `mkdir -p closed && cd closed && chmod 0 . && exec env -i PATH=/usr/bin:/bin ${keys} ${tool.program} wal sync ${SERVER} --config ${tool.configurationFile} </dev/null`
    const home = join(lab.directory, 'home')
    const cron = async () => await lab.runAsUser('/bin/sh', ['-c', `chmod 700 closed 2>/dev/null; ${line}`], {cwd: home})
    const idle = await cron()
    expect([idle.code, idle.stdout, idle.stderr]).to.deep.equal([0, '', ''])
    await lab.switchWal()
    await lab.archiveWal()
    const busy = await cron()
    expect([busy.code, busy.stdout]).to.deep.equal([0, ''])
    expect(busy.stderr).to.match(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ info wal sync: done server=main-server uploaded=1 bytes=16777216 alreadyThere=\d+\n$/)
  })

  it('C19: another cluster of the same name is refused for WAL and base backups: exit 12, both system identifiers named, nothing sent', async () => {
    const other = await createLab({isSmall: true})
    try {
      const otherId = await other.backup()
      const otherTool = await installTool(other, store, {bucket: tool.bucket})
      const before = await listBucket(store, tool.bucket)
      const systemIds = [lab, other].map((each) => /^systemid=(\d+)$/m.exec(each.readBackupInfo(each === lab ? id : otherId))![1]!)
      for (const args of [['wal', 'sync', SERVER], ['base', 'sync'], ['base', 'sync', SERVER, '--backup', otherId, '--adopt'], ['full-sync', SERVER]]) {
        const {code, stderr} = await otherTool.run(...args)
        expect(code, args.join(' ')).to.equal(12)
        for (const systemId of systemIds) expect(stderr, args.join(' ')).to.contain(systemId)
      }
      expect(await listBucket(store, tool.bucket)).to.deep.equal(before)
    } finally {
      await other.stop()
    }
  })

  it('moto, which keeps no checksums, gets the same, and a second run sends nothing', async () => {
    const moto = await startServer('moto')
    try {
      const toMoto = await installTool(lab, moto)
      expect((await toMoto.run('base', 'sync', SERVER)).code).to.equal(0)
      expect((await toMoto.run('wal', 'sync', SERVER)).code).to.equal(0)
      const {backups} = (await toMoto.json<BaseLsCommandResult>('base', 'ls', SERVER)).result.servers[0]!
      expect(backups.map(({backupId, state, restorable}) => [backupId, state, restorable])).to.deep.equal([[id, 'complete', 'yes']])
      const {code, result} = await toMoto.json<{requests: Record<string, number>}>('full-sync', SERVER)
      expect(code).to.equal(0)
      expect(result.requests).not.to.have.any.keys('PutObject', 'DeleteObject')
    } finally {
      await moto.stop()
    }
  })

  it('a new host that has only the bucket: every file as it was, Barman lists and restores, PostgreSQL starts, the rows are there', async () => {
    const host = await restoreHost({lab, server: store, bucket: tool.bucket, backupIds: [id]})
    const [original, restored] = [join(lab.baseDirectory, id), join(host.serverDirectory, 'base', id)]
    expect(contentsOfTree(restored)).to.deep.equal(contentsOfTree(original))
    // Tablespace links lead to the new place; diff follows them there.
    execFileSync('diff', ['--recursive', '--brief', original, restored])
    const list = await host.barman('-f', 'json', 'list-backups', SERVER)
    expect(list.code, list.stdout + list.stderr).to.equal(0)
    const [entry, ...others] = (JSON.parse(list.stdout) as Record<string, {backup_id: string; status: string}[]>)[SERVER]!
    expect([entry?.backup_id, entry?.status, others]).to.deep.equal([id, 'DONE', []])
    const rows = await host.query('SELECT note FROM marker UNION ALL SELECT note FROM marker_ts ORDER BY 1')
    expect(rows).to.deep.equal(['after the backup', 'before the backup', 'in a tablespace'])
  })
})

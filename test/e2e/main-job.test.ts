import {existsSync, readdirSync, readFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {listBucket, readObject} from '../support/bucket.ts'
import {installTool, type InstalledTool} from '../support/e2e.ts'
import {createLab, type BarmanLab, type LabOptions} from '../support/lab/barman-lab.ts'
import {runAs} from '../support/lab/test-user.ts'
import {restoreByManifest} from '../support/restorer.ts'
import {startServerOrSkip, type TestServer} from '../support/s3-servers.ts'
import type {BaseLsCommandResult} from '../../src/commands/base/ls.ts'
import type {BaseSyncCommandResult} from '../../src/commands/base/sync.ts'
import type {WalSyncCommandResult} from '../../src/commands/wal/sync.ts'
import type {QueueStatus} from '../../src/lib/queue/status.ts'

const SERVER = 'main-server'

describe('from a real Barman into SeaweedFS', function () {
  this.timeout(120_000)
  let store: TestServer
  let lab: BarmanLab | undefined
  before(async function () {
    store = await startServerOrSkip(this, 'weed')
  })
  after(async () => await store?.stop())
  afterEach(async () => await lab?.stop())

  async function start(options: LabOptions = {}): Promise<{lab: BarmanLab; tool: InstalledTool}> {
    lab = await createLab(options)
    return {lab, tool: await installTool(lab, store)}
  }

  async function listBackups(tool: InstalledTool) {
    return (await tool.json<BaseLsCommandResult>('base', 'ls', SERVER)).result.servers[0]!.backups
  }

  it('the hook queues, base sync and wal sync copy, base ls tells the truth, and Barman restores what came back', async () => {
    const {lab: host, tool} = await start({tablespace: true})
    host.addServerLines(`post_backup_script = ${tool.hookCommand}`)
    await host.insertRow('before the backup')
    const id = await host.backup({wait: 'no'})

    const queue = await tool.json<QueueStatus>('queue', 'status')
    expect(queue.result.tasks.map(({backupId, state, hook}) => [backupId, state, hook?.status])).to.deep.equal([[id, 'run', 'WAITING_FOR_WALS']])

    const base = await tool.json<BaseSyncCommandResult>('base', 'sync')
    expect(base.code, JSON.stringify(base)).to.equal(0)
    expect(base.result.servers[0]!.backups.map(({backupId, outcome, origin}) => [backupId, outcome, origin])).to.deep.equal([[id, 'copied', 'queue']])
    expect((await tool.json<QueueStatus>('queue', 'status')).result.counts).to.deep.equal({run: 0, running: 0, done: 1, error: 0})
    const [incomplete] = await listBackups(tool)
    expect(incomplete).to.deep.include({state: 'complete', restorable: 'no', isLocal: true})
    expect(incomplete?.reason).to.match(/^WAL 0000000100000000000000\w\w is missing in S3$/)

    await host.insertRow('after the backup')
    await host.switchWal()
    await host.archiveWal()
    await host.barman('check-backup', SERVER, id)
    const wal = await tool.json<WalSyncCommandResult>('wal', 'sync', SERVER)
    expect(wal.code).to.equal(0)
    const [complete] = await listBackups(tool)
    expect(complete).to.deep.include({state: 'complete', restorable: 'yes', barmanStatus: 'DONE'})

    expect((await tool.run('base', 'sync')).code).to.equal(0)
    expect((await readObject(store, tool.bucket, `barman/${SERVER}/meta/${id}-backup.info`)).toString()).to.equal(host.readBackupInfo(id))

    for (const args of [['wal', 'sync', SERVER], ['base', 'sync'], ['full-sync', SERVER]]) {
      const {code, result} = await tool.json<{requests: Record<string, number>}>(...args)
      expect(code, args.join(' ')).to.equal(0)
      expect(result.requests.PutObject, args.join(' ')).to.equal(undefined)
    }
    const silent = await tool.run('wal', 'sync', SERVER)
    expect([silent.code, silent.stdout, silent.stderr]).to.deep.equal([0, '', ''])

    await restoreAndStart(host, tool, id)
  })

  /** Into another Barman's home: the tree by the manifest, `barman restore`, PostgreSQL from it, and the rows are there. */
  async function restoreAndStart(host: BarmanLab, tool: InstalledTool, id: string): Promise<void> {
    const home = join(host.directory, 'other-host')
    await restoreByManifest({
      server: store, bucket: tool.bucket, prefix: `barman/${SERVER}`, backupId: id, serverDirectory: join(home, SERVER), owner: host.user,
    })
    const configuration = join(host.directory, 'other-barman.conf')
    host.writeFile(configuration, [
      '[barman]', `barman_user = ${host.user.name}`, `barman_home = ${home}`, `log_file = ${join(host.directory, 'other.log')}`,
      `[${SERVER}]`, 'description = restored', 'active = false', 'backup_method = postgres', 'archiver = on', 'conninfo = host=/nonexistent dbname=postgres',
      `path_prefix = ${host.postgres.binDirectory}`, '',
    ].join('\n'))
    const barman = async (...args: string[]) => await host.runAsUser(host.barmanProgram, ['--config', configuration, ...args])
    const list = await barman('-f', 'json', 'list-backups', SERVER)
    expect(list.code, list.stdout + list.stderr).to.equal(0)
    expect((JSON.parse(list.stdout) as Record<string, {backup_id: string; status: string}[]>)[SERVER]?.map((each) => [each.backup_id, each.status])).to.deep.equal([[id, 'DONE']])
    const target = join(host.directory, 'restored-data')
    const restored = await barman('restore', '--tablespace', `ts1:${join(host.directory, 'restored-ts')}`, '--target-tli', 'current', SERVER, id, target)
    expect(restored.code, restored.stdout + restored.stderr).to.equal(0)
    const rows = await host.runAsUser('/bin/sh', ['-c', [
      `pg_ctl -D ${target} -l ${host.directory}/restored.log -o "-c unix_socket_directories=${host.directory} -c port=5999 -c listen_addresses='' -c archive_mode=off" -w -t 30 start >/dev/null`,
      `psql -h ${host.directory} -p 5999 -U postgres -d postgres -Atc "SELECT note FROM marker UNION ALL SELECT note FROM marker_ts ORDER BY 1"`,
      `pg_ctl -D ${target} -m immediate stop >/dev/null`,
    ].join('; ')])
    expect(rows.stdout.trim().split('\n'), rows.stderr).to.deep.equal(['after the backup', 'before the backup', 'in a tablespace'])
  }

  it('as a retry hook: a queue that cannot be written holds nobody up, and the scan finds the backup', async () => {
    const {lab: host, tool} = await start()
    host.addServerLines(`post_backup_retry_script = BARMANS3_QUEUE_DIRECTORY=/proc/nowhere ${tool.hookCommand}`)
    const id = await host.backup()
    expect(readFileSync(host.logFile, 'utf8')).to.match(/exit code 62|ABORT_CONTINUE|returned 62|aborted and continued/i)
    expect(existsSync(join(tool.queueDirectory, SERVER))).to.equal(false)
    const {code, result} = await tool.json<BaseSyncCommandResult>('base', 'sync')
    expect(code).to.equal(0)
    expect(result.servers[0]!.backups.map(({backupId, outcome, origin}) => [backupId, outcome, origin])).to.deep.equal([[id, 'copied', 'scan']])
  })

  it('a backup that fails is not queued, and breaks nothing', async () => {
    const {lab: host, tool} = await start()
    host.addServerLines(`post_backup_retry_script = ${tool.hookCommand}`)
    host.addServerLines('pre_backup_retry_script = exit 63')
    const failed = await host.barman('backup', SERVER)
    expect(failed.code).to.equal(1)
    expect((await tool.json<QueueStatus>('queue', 'status')).result.tasks).to.deep.equal([])
    const {code, result} = await tool.json<BaseSyncCommandResult>('base', 'sync')
    expect(code).to.equal(0)
    expect(result.servers[0]!.backups).to.deep.equal([])
    expect((await listBackups(tool)).map(({barmanStatus, state}) => [barmanStatus, state])).to.deep.equal([['FAILED', 'absent']])
  })

  it('method local-rsync with hard links: two backups, the second taken while the first is already in S3', async () => {
    const {lab: host, tool} = await start({method: 'local-rsync'})
    const first = await host.backup()
    expect((await tool.run('full-sync', SERVER)).code).to.equal(0)
    await host.insertRow('between')
    const second = await host.backup()
    expect((await tool.run('full-sync', SERVER)).code).to.equal(0)
    expect((await listBackups(tool)).map(({backupId, restorable}) => [backupId, restorable])).to.deep.equal([[first, 'yes'], [second, 'yes']])
  })

  it('a timeline switch: the history file and both timelines are there', async () => {
    const {lab: host, tool} = await start()
    await host.backup()
    expect((await tool.run('full-sync', SERVER)).code).to.equal(0)
    await host.switchTimeline({diverge: true})
    const second = await host.backup()
    expect((await tool.run('full-sync', SERVER)).code).to.equal(0)
    const wals = [...(await listBucket(store, tool.bucket, `barman/${SERVER}/wals/`)).keys()].map((key) => key.split('/').at(-1) ?? '')
    const local = readdirSync(host.walsDirectory, {recursive: true, withFileTypes: true}).filter((entry) => entry.isFile() && !/xlog|\.partial$/.test(entry.name)).map(({name}) => name)
    expect(wals.sort()).to.deep.equal(local.sort())
    expect(wals).to.include('00000002.history')
    expect((await listBackups(tool)).at(-1)).to.deep.include({backupId: second, restorable: 'yes'})
  })

  it("PostgreSQL 18 incrementals: the whole chain is restorable, and the parent's children are carried over", async () => {
    const {lab: host, tool} = await start({postgres: 18, summarizeWal: true})
    const full = await host.backup()
    expect((await tool.run('full-sync', SERVER)).code).to.equal(0)
    await host.insertRow('one')
    const first = await host.backup({incrementalOf: full})
    expect((await tool.run('full-sync', SERVER)).code).to.equal(0)
    await host.insertRow('two')
    const second = await host.backup({incrementalOf: first})
    expect((await tool.run('full-sync', SERVER)).code).to.equal(0)
    expect((await listBackups(tool)).map(({backupId, parentBackupId, restorable}) => [backupId, parentBackupId, restorable])).to.deep.equal([
      [full, undefined, 'yes'], [first, full, 'yes'], [second, first, 'yes'],
    ])
    const info = (await readObject(store, tool.bucket, `barman/${SERVER}/meta/${full}-backup.info`)).toString()
    expect(info).to.match(new RegExp(`^children_backup_ids=${first}$`, 'm'))
  })

  for (const barmanVersion of ['3.13.1', '2.19'] as const) {
    it(`Barman ${barmanVersion}: metadata lies below base/<id>/, keep comes and goes`, async () => {
      const {lab: host, tool} = await start({barmanVersion})
      const id = await host.backup()
      expect((await tool.run('full-sync', SERVER)).code).to.equal(0)
      const keys = async () => [...(await listBucket(store, tool.bucket, `barman/${SERVER}/`)).keys()].map((key) => key.slice(`barman/${SERVER}/`.length))
      expect(await keys()).to.include(`base/${id}/backup.info`).and.include(`barmans3/${id}.json`)
      expect((await listBackups(tool))[0]).to.deep.include({restorable: 'yes'})
      expect((await host.barman('keep', SERVER, id, '--target', 'full')).code).to.equal(0)
      expect((await tool.run('base', 'sync', SERVER)).code).to.equal(0)
      expect(await keys()).to.include(`base/${id}/annotations/keep`)
      expect((await host.barman('keep', SERVER, id, '--release')).code).to.equal(0)
      expect((await tool.run('base', 'sync', SERVER)).code).to.equal(0)
      expect(await keys()).not.to.include(`base/${id}/annotations/keep`)
    })
  }

  it('C58: from cron, with an empty environment and a directory nobody may read', async () => {
    const {lab: host, tool} = await start()
    await host.backup()
    const {node, script} = await (await import('../support/lab/tool.ts')).findTool()
    const keys = `AWS_ACCESS_KEY_ID=${store.accessKeyId} AWS_SECRET_ACCESS_KEY=${store.secretAccessKey}`
    host.writeScript('cron-line', `#!/bin/sh\nmkdir -p ${host.directory}/closed && cd ${host.directory}/closed && chmod 0 . && exec env -i PATH=/usr/bin:/bin ${keys} ${node} ${script} "$@" --config ${tool.configurationFile} </dev/null\n`)
    const cron = async (...args: string[]) => await runAs(host.user, 'sh', ['-c', `chmod 700 ${host.directory}/closed 2>/dev/null; exec "$0" "$@"`, join(host.directory, 'cron-line'), ...args], {})
    const first = await cron('wal', 'sync', SERVER)
    expect(first.code, first.stderr).to.equal(0)
    expect(first.stderr).to.match(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ info wal sync: done server=main-server uploaded=\d+ bytes=\d+ alreadyThere=0\n$/)
    const second = await cron('wal', 'sync', SERVER)
    expect([second.code, second.stdout, second.stderr]).to.deep.equal([0, '', ''])
  })

  it('C19: another cluster of the same name is refused for WAL and base backups: exit 12, both system identifiers named', async () => {
    const {lab: host, tool} = await start()
    await host.backup()
    expect((await tool.run('full-sync', SERVER)).code).to.equal(0)
    const before = await listBucket(store, tool.bucket)
    const other = await createLab({})
    try {
      const id = await other.backup()
      const otherTool = await installTool(other, store, {bucket: tool.bucket})
      for (const args of [['wal', 'sync', SERVER], ['base', 'sync', SERVER], ['base', 'sync', SERVER, '--backup', id]]) {
        const {code, stderr} = await otherTool.run(...args)
        expect(code, args.join(' ')).to.equal(12)
        expect(stderr.match(/\d{19}/g)?.length).to.be.at.least(2)
      }
      expect(await listBucket(store, tool.bucket)).to.deep.equal(before)
    } finally {
      await other.stop()
    }
  })

})

for (const [kind, options] of [['versitygw', {method: 'postgres-tar-gzip', walCompression: 'gzip'}], ['moto', {}]] as const satisfies readonly (readonly [string, LabOptions])[]) {
  describe(`from a real Barman into ${kind}`, function () {
    this.timeout(120_000)
    let store: TestServer
    before(async function () {
      store = await startServerOrSkip(this, kind)
    })
    after(async () => await store?.stop())

    it(`copies base backup and WAL${kind === 'versitygw' ? ', both compressed by Barman,' : ''} and does nothing the second time`, async () => {
      const lab = await createLab(options)
      try {
        const tool = await installTool(lab, store)
        await lab.backup()
        const first = await tool.run('full-sync', SERVER)
        expect(first.code, first.stderr).to.equal(0)
        const {backups} = (await tool.json<BaseLsCommandResult>('base', 'ls', SERVER)).result.servers[0]!
        expect(backups.map(({state, restorable}) => [state, restorable])).to.deep.equal([['complete', 'yes']])
        const {result} = await tool.json<{requests: Record<string, number>}>('full-sync', SERVER)
        expect(result.requests.PutObject).to.equal(undefined)
      } finally {
        await lab.stop()
      }
    })
  })
}

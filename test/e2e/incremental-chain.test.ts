import {join} from 'node:path'
import {expect} from 'chai'
import {readObject} from '../support/bucket.ts'
import {ended, installTool, type InstalledTool} from '../support/e2e.ts'
import {createLab, type BarmanLab} from '../support/lab/barman-lab.ts'
import {isLocked, whileLocked} from '../support/lab/held-lock.ts'
import {restoreHost} from '../support/restored-host.ts'
import {startServerOrSkip, type TestServer} from '../support/s3-servers.ts'
import {startSlowProxy, type SlowProxy} from '../support/slow-proxy.ts'
import type {BaseLsCommandResult} from '../../src/commands/base/ls.ts'

const SERVER = 'main-server'
const MIB = 1024 ** 2

/** Each test goes on where the one before it ended. */
describe('PostgreSQL 18 with a chain of incrementals', function () {
  this.timeout(180_000)
  let store: TestServer
  let proxy: SlowProxy
  let lab: BarmanLab
  let tool: InstalledTool
  let full: string
  let first: string
  let second: string

  before(async function () {
    store = await startServerOrSkip(this, 'versitygw')
    proxy = await startSlowProxy(store.endpoint)
    lab = await createLab({postgres: 18, summarizeWal: true, tablespace: true, isSmall: true})
    tool = await installTool(lab, store, {endpoint: proxy.endpoint})
  })
  after(async () => {
    await lab?.stop()
    await proxy?.stop()
    await store?.stop()
  })

  /** Barman's own lock of a backup (barman: lockfile.py, ServerBackupIdLock). */
  const lockOf = (id: string): string => join(lab.lockDirectory, `.${SERVER}-${id}.lock`)

  async function listBackups() {
    return (await tool.json<BaseLsCommandResult>('base', 'ls', SERVER)).result.servers[0]!.backups
  }

  async function fullSync(): Promise<void> {
    const {code, stdout, stderr} = await tool.run('full-sync', SERVER)
    expect(code, stdout + stderr).to.equal(0)
  }

  /** `children_backup_ids` of a backup as S3 has it. */
  async function childrenInS3(id: string): Promise<string | undefined> {
    const info = (await readObject(store, tool.bucket, `barman/${SERVER}/meta/${id}-backup.info`)).toString()
    expect(info).to.equal(lab.readBackupInfo(id))
    return /^children_backup_ids=(.*)$/m.exec(info)?.[1]
  }

  /** Starts `base sync` on a slow line and waits until files of the backup are on their way. */
  async function startSlowSync(id: string) {
    // A pack or two is all there is of it.
    proxy.setBytesPerSecond(MIB / 16)
    const copying = tool.start('base', 'sync', SERVER)
    const end = ended(copying)
    const deadline = Date.now() + 20_000
    while (proxy.requests().filter((each) => each.startsWith('PUT ') && each.includes(`/base/${id}/`)).length < 1) {
      if (Date.now() > deadline) throw new Error(`nothing of ${id} was sent`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    return {
      async finish() {
        expect(copying.exitCode, 'the copy has ended before').to.equal(null)
        proxy.setBytesPerSecond(Infinity)
        const {code, stderr} = await end
        expect(code, stderr).to.equal(0)
      },
    }
  }

  it('the full backup is copied and restorable', async () => {
    full = await lab.backup()
    await fullSync()
    expect(await childrenInS3(full)).to.equal('None')
    expect((await listBackups()).map(({backupId, restorable}) => [backupId, restorable])).to.deep.equal([[full, 'yes']])
  })

  it('while an incremental is WAITING_FOR_WALS its copy holds no lock of Barman, which makes it DONE meanwhile', async () => {
    await lab.insertRow('one')
    const copy = await whileLocked(lab.user, join(lab.lockDirectory, `.${SERVER}-archive-wal.lock`), async () => {
      first = await lab.backup({incrementalOf: full, wait: 'no'})
      expect(lab.readBackupInfo(first)).to.match(/^status=WAITING_FOR_WALS$/m)
      const slow = await startSlowSync(first)
      expect([await isLocked(lab.user, lockOf(full)), await isLocked(lab.user, lockOf(first))]).to.deep.equal([false, false])
      return slow
    })
    await lab.switchWal()
    await lab.archiveWal()
    expect((await lab.barman('check-backup', SERVER, first)).code).to.equal(0)
    expect(lab.readBackupInfo(first)).to.match(/^status=DONE$/m)
    await copy.finish()
    await fullSync()
    expect(await childrenInS3(full)).to.equal(first)
    expect(await childrenInS3(first)).to.equal('None')
  })

  it('while one that is DONE is copied, the locks of its whole chain keep Barman from deleting any of it; afterwards they are free', async () => {
    await lab.insertRow('two')
    second = await lab.backup({incrementalOf: first})
    const copy = await startSlowSync(second)
    for (const id of [full, first, second]) {
      expect(await isLocked(lab.user, lockOf(id)), id).to.equal(true)
      const {code, stdout, stderr} = await lab.barman('delete', SERVER, id)
      expect(code, id).to.equal(1)
      expect(stdout + stderr, id).to.match(/Another process is holding the lock for backup/)
    }
    await copy.finish()
    for (const id of [full, first, second]) expect(await isLocked(lab.user, lockOf(id)), id).to.equal(false)
  })

  it('the chain is restorable, and the children of each member are carried over', async () => {
    await fullSync()
    expect((await listBackups()).map(({backupId, parentBackupId, restorable}) => [backupId, parentBackupId, restorable])).to.deep.equal([
      [full, undefined, 'yes'], [first, full, 'yes'], [second, first, 'yes'],
    ])
    expect([await childrenInS3(full), await childrenInS3(first), await childrenInS3(second)]).to.deep.equal([first, second, 'None'])
  })

  it('Barman combines what comes back from the bucket, and the rows of every member are there', async () => {
    const host = await restoreHost({lab, server: store, bucket: tool.bucket, backupIds: [full, first, second]})
    expect(await host.query('SELECT note FROM marker UNION ALL SELECT note FROM marker_ts ORDER BY 1')).to.deep.equal(['in a tablespace', 'one', 'two'])
  })

  it('Barman deletes the chain as if nothing had been; what lies in S3 stays', async () => {
    const deleted = await lab.barman('delete', SERVER, full)
    expect(deleted.code, deleted.stdout + deleted.stderr).to.equal(0)
    await fullSync()
    expect((await listBackups()).map(({backupId, restorable, isLocal}) => [backupId, restorable, isLocal])).to.deep.equal([
      [full, 'yes', false], [first, 'yes', false], [second, 'yes', false],
    ])
  })
})

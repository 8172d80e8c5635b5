import {readFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {listBucket, readObject} from '../support/bucket.ts'
import {installTool} from '../support/e2e.ts'
import {createLab, type BarmanLab} from '../support/lab/barman-lab.ts'
import {restoreHost} from '../support/restored-host.ts'
import {startServerOrSkip, type TestServer} from '../support/s3-servers.ts'
import type {BaseLsCommandResult} from '../../src/commands/base/ls.ts'

const SERVER = 'main-server'
const PREFIX = `barman/${SERVER}`

describe('an older Barman, whose metadata lies below base/', function () {
  this.timeout(180_000)
  let store: TestServer
  let lab: BarmanLab | undefined
  before(async function () {
    store = await startServerOrSkip(this, 'versitygw')
  })
  after(async () => await store?.stop())
  afterEach(async () => await lab?.stop())

  for (const barmanVersion of ['3.13.1', '2.19'] as const) {
    it(`C03: ${barmanVersion}: the hook queues; metadata lies in base/<id>/ in S3 too; keep comes and goes; Barman restores from S3`, async () => {
      lab = await createLab({barmanVersion, isSmall: true})
      const tool = await installTool(lab, store)
      lab.addServerLines(`post_backup_script = ${tool.hookCommand}`)
      await lab.insertRow('in the old days')
      const id = await lab.backup()
      await lab.switchWal()
      await lab.archiveWal()
      const keys = async () => [...(await listBucket(store, tool.bucket, `${PREFIX}/`)).keys()].map((key) => key.slice(PREFIX.length + 1))
      const full = await tool.json<{base: {backups: {backupId: string; outcome: string; origin: string}[]}}>('full-sync', SERVER)
      expect(full.code, full.said).to.equal(0)
      expect(await keys()).to.include(`base/${id}/backup.info`).and.include(`barmans3/${id}.json`)
      expect((await keys()).filter((key) => key.startsWith('meta/'))).to.deep.equal([])
      expect((await readObject(store, tool.bucket, `${PREFIX}/base/${id}/backup.info`)).toString()).to.equal(lab.readBackupInfo(id))
      const {backups} = (await tool.json<BaseLsCommandResult>('base', 'ls', SERVER)).result.servers[0]!
      expect(backups.map(({backupId, state, restorable}) => [backupId, state, restorable])).to.deep.equal([[id, 'complete', 'yes']])

      const keep = `base/${id}/annotations/keep`
      expect((await lab.barman('keep', SERVER, id, '--target', 'full')).code).to.equal(0)
      expect((await tool.run('base', 'sync', SERVER)).code).to.equal(0)
      expect((await readObject(store, tool.bucket, `${PREFIX}/${keep}`)).toString()).to.equal(readFileSync(join(lab.serverDirectory, keep), 'utf8'))
      expect((await lab.barman('keep', SERVER, id, '--release')).code).to.equal(0)
      expect((await tool.run('base', 'sync', SERVER)).code).to.equal(0)
      expect(await keys()).not.to.include(keep)

      const host = await restoreHost({lab, server: store, bucket: tool.bucket, backupIds: [id]})
      const list = await host.barman('list-backups', SERVER, '--minimal')
      expect(list.stdout.trim(), list.stderr).to.equal(id)
      expect(await host.query('SELECT note FROM marker')).to.deep.equal(['in the old days'])
    })
  }
})

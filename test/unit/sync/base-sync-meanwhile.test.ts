import {linkSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {formatStartedMarker} from '../../../src/lib/archive/markers.ts'
import {createSyncSetting, useSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'
import {ID, listFiles, readManifest, record, sync} from './base-setting.ts'

describe('what happens while a backup is copied', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})

  /** Does `change` when the file `trigger` is stored. */
  async function during(setting: SyncSetting, change: () => void, trigger = 'PG_VERSION') {
    let isDone = false
    const store = watchStore(setting.store, {after: ({method, args}) => {
      if (isDone || method !== 'put' || !String(args[0]).endsWith(trigger)) return
      isDone = true
      change()
    }})
    return await sync(setting, {}, {store, concurrency: 1})
  }

  async function expectAborted(setting: SyncSetting, result: Awaited<ReturnType<typeof sync>>, reason: RegExp) {
    expect(result.exitCode).to.equal(13)
    expect(result.backups[0]?.outcome).to.equal('failed')
    expect(result.backups[0]?.reason).to.match(reason)
    expect(record(setting)).to.equal(undefined)
  }

  it('a file vanishes: the backup is aborted, never recorded with a hole', async () => {
    const setting = use()
    await expectAborted(setting, await during(setting, () => rmSync(join(setting.tree.baseDirectory, ID, 'data/base/1'), {recursive: true}), 'pg_hba.conf'), /vanished/)
  })

  it('Barman deletes it: backup.info goes last', async () => {
    const setting = use()
    await expectAborted(setting, await during(setting, () => rmSync(setting.tree.backupInfoPath(ID))), /deleted by Barman/)
    expect((await sync(setting)).backups).to.deep.equal([])
  })

  it('Barman marks it for deletion', async () => {
    const setting = use()
    await expectAborted(setting, await during(setting, () => writeFileSync(join(setting.tree.metaDirectory, `${ID}-delete_this`), '')), /being deleted/)
  })

  it('a copied file changes its content with the same size and mtime restored: found by ctime and SHA-256', async () => {
    const setting = use()
    const path = join(setting.tree.baseDirectory, ID, 'data/PG_VERSION')
    const {atime, mtime} = statSync(path)
    await expectAborted(setting, await during(setting, () => {
      writeFileSync(path, readFileSync(path, 'utf8').replace('1', '2'))
      utimesSync(path, atime, mtime)
    }, 'pg_hba.conf'), /PG_VERSION" changed/)
  })

  it('a file grows, shrinks or becomes a link', async () => {
    for (const change of [(path: string) => writeFileSync(path, 'longer than before'), (path: string) => writeFileSync(path, ''), (path: string) => {
      rmSync(path)
      symlinkSync('/etc/passwd', path)
    }]) {
      const setting = createSyncSetting()
      try {
        await expectAborted(setting, await during(setting, () => change(join(setting.tree.baseDirectory, ID, 'data/pg_hba.conf')), 'postgresql.conf'), /pg_hba\.conf/)
      } finally {
        setting.remove()
      }
    }
  })

  it('the next rsync backup hard-links every file: ctime moves, content does not, nothing is aborted', async () => {
    const setting = use()
    const result = await during(setting, () => {
      for (const file of listFiles(setting)) linkSync(join(setting.tree.baseDirectory, ID, file), join(setting.root, `link-${Buffer.from(file).toString('hex').slice(-150)}`))
    })
    expect(result.exitCode).to.equal(0)
    expect(record(setting)).not.to.equal(undefined)
  })

  it("Barman's own manifest comes after the hook: it is copied too", async () => {
    const setting = use()
    const path = join(setting.tree.baseDirectory, ID, 'data/backup_manifest')
    const text = readFileSync(path)
    rmSync(path)
    const result = await during(setting, () => writeFileSync(path, text))
    expect(result.exitCode).to.equal(0)
    expect(readManifest(setting).map(({path}) => String(path))).to.include('data/backup_manifest')
  })

  it('the status turns to FAILED: recorded all the same, with a warning, since restorable is computed', async () => {
    const setting = use()
    setting.tree.changeBackupInfo(ID, {status: 'WAITING_FOR_WALS'})
    const result = await during(setting, () => setting.tree.changeBackupInfo(ID, {status: 'FAILED'}))
    expect(result.exitCode).to.equal(0)
    expect(setting.said.join()).to.match(/warn: Barman says FAILED/)
  })

  it('another installation takes it over: no record of ours', async () => {
    const setting = use()
    const result = await during(setting, () => setting.store.objects.set(setting.keys.started(ID), {
      ...setting.store.objects.get(setting.keys.started(ID))!,
      body: formatStartedMarker({server: 'pg', backupId: ID, identity: {systemId: undefined, beginTime: undefined, beginXlog: undefined, beginWal: undefined},
        writer: {id: 'other', host: 'barman-two'}, attempt: 'a', startedAt: '2026-11-01T03:00:00Z', hadLegacyData: false}),
    }))
    expect(result.exitCode).to.equal(11)
    expect(result.backups[0]?.reason).to.contain('barman-two')
    expect(record(setting)).to.equal(undefined)
  })

  it('C24: an object disappears from the bucket: missing in the listing, so no record; the next run mends it', async () => {
    const setting = use()
    const result = await during(setting, () => setting.store.objects.delete(`${setting.keys.dataPrefix(ID)}data/PG_VERSION`), 'pg_hba.conf')
    expect(result.exitCode).to.equal(10)
    expect(record(setting)).to.equal(undefined)
    expect((await sync(setting)).exitCode).to.equal(0)
    expect(record(setting)).not.to.equal(undefined)
  })
})

import {mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import type {ObjectKey} from '../../../src/lib/store/object-store.ts'
import {createSyncSetting, relativeKeys, useSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'
import {ID, StoreRefused, enqueue, record, stateOf, sync} from './base-setting.ts'

function text({store, keys}: SyncSetting, relative: string): string | undefined {
  return store.objects.get(keys.absolute(relative))?.body.toString()
}

describe("copies of Barman's metadata", () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})

  it('C02: a backup.info with keys, comments and values of a newer Barman is copied byte for byte', async () => {
    const setting = use()
    const path = setting.tree.backupInfoPath(ID)
    const future = `${readFileSync(path, 'utf8')}future_field={'a': [1, 2]}\ngp_segments=4\nsnapshots_info=None\nbackup_name=nightly "x"\n# comment\nconfig_file=/etc/a=b/postgresql.conf\nodd=\xe9\n`
    writeFileSync(path, future, 'latin1')
    expect((await sync(setting)).exitCode).to.equal(0)
    const object = setting.store.objects.get(setting.keys.backupInfo(ID, 'meta'))!
    expect(object.body.equals(readFileSync(path))).to.equal(true)
    expect(object.storageClass).to.equal('STANDARD')
    expect(await stateOf(setting)).to.deep.include({state: 'complete', name: 'nightly "x"'})
    expect(await sync(setting)).to.deep.include({metadataUpdated: 0, exitCode: 0})
  })

  describe('C03: backup.info in its two places', () => {
    it('only in meta/, and only under base/<id>/: one backup, the file under the same path in S3', async () => {
      for (const [metadataPlace, relative] of [['meta', `meta/${ID}-backup.info`], ['base', `base/${ID}/backup.info`]] as const) {
        const setting = createSyncSetting({tree: {metadataPlace, segmentSizeBytes: 1024 ** 2}})
        try {
          expect((await sync(setting)).backups).to.have.length(1)
          expect(relativeKeys(setting).filter((key) => key.endsWith('backup.info'))).to.deep.equal([relative])
          expect(await stateOf(setting)).to.deep.include({barmanStatus: 'DONE', state: 'complete'})
        } finally {
          setting.remove()
        }
      }
    })

    it('both, and they differ: meta/ counts, both are in S3', async () => {
      const setting = use()
      const info = readFileSync(setting.tree.backupInfoPath(ID), 'utf8')
      writeFileSync(join(setting.tree.baseDirectory, ID, 'backup.info'), info.replace('status=DONE', 'status=WAITING_FOR_WALS'))
      expect((await sync(setting)).backups).to.have.length(1)
      expect(text(setting, `meta/${ID}-backup.info`)).to.contain('status=DONE')
      expect(text(setting, `base/${ID}/backup.info`)).to.contain('status=WAITING_FOR_WALS')
      expect(await stateOf(setting)).to.deep.include({barmanStatus: 'DONE', state: 'complete'})
      expect(await sync(setting)).to.deep.include({metadataUpdated: 0})
    })

    it('Barman is upgraded between two runs and moves it to meta/: the copy follows', async () => {
      const setting = createSyncSetting({tree: {metadataPlace: 'base', segmentSizeBytes: 1024 ** 2, backup: {keep: 'full'}}})
      try {
        await sync(setting)
        mkdirSync(setting.tree.metaDirectory)
        writeFileSync(join(setting.tree.metaDirectory, `${ID}-backup.info`), readFileSync(join(setting.tree.baseDirectory, ID, 'backup.info')))
        renameSync(join(setting.tree.baseDirectory, ID, 'annotations/keep'), join(setting.tree.metaDirectory, `${ID}-keep`))
        expect(await sync(setting)).to.deep.include({exitCode: 0, metadataUpdated: 2})
        expect(relativeKeys(setting)).to.include.members([`meta/${ID}-backup.info`, `meta/${ID}-keep`])
      } finally {
        setting.remove()
      }
    })
  })

  it('C07 (b): a DONE backup for which no hook ever ran is found by the scan; the queue alone does not look', async () => {
    const setting = use()
    expect((await sync(setting, {queue: setting.queue(), scan: false})).backups).to.deep.equal([])
    await enqueue(setting, ID)
    rmSync(join(setting.queueDirectory, 'pg'), {recursive: true})
    expect((await sync(setting, {queue: setting.queue()})).backups[0]).to.deep.include({origin: 'scan', outcome: 'copied'})
  })

  it("a parent's backup.info that names a new child is carried over, its data is not sent again", async () => {
    const setting = use()
    await sync(setting)
    setting.tree.addBackup({id: '20261102T020000', parentId: ID})
    const puts: string[] = []
    const result = await sync(setting, {}, {store: watchStore(setting.store, {after: ({method, args}) => {
      if (method === 'put') puts.push(setting.keys.relative(String(args[0])))
    }})})
    expect(result).to.deep.include({exitCode: 0, metadataUpdated: 1})
    expect(puts.filter((key) => key.includes(ID))).to.deep.equal([`meta/${ID}-backup.info`])
    expect(text(setting, `meta/${ID}-backup.info`)).to.match(/children_backup_ids=.*20261102T020000/)
  })

  describe('keep', () => {
    it('is removed in S3 when Barman releases the backup', async () => {
      const setting = use()
      setting.tree.keep(ID, 'standalone')
      await sync(setting)
      expect(text(setting, `meta/${ID}-keep`)).to.equal('standalone')
      rmSync(setting.tree.keepPath(ID))
      expect(await sync(setting)).to.deep.include({metadataUpdated: 1})
      expect(relativeKeys(setting)).not.to.include(`meta/${ID}-keep`)
    })

    it('stays when meta/ is not there and only the old backup.info can be read', async () => {
      const setting = use()
      setting.tree.keep(ID, 'full')
      writeFileSync(join(setting.tree.baseDirectory, ID, 'backup.info'), readFileSync(setting.tree.backupInfoPath(ID)))
      await sync(setting)
      for (const hide of [() => renameSync(setting.tree.metaDirectory, join(setting.root, 'away')), () => mkdirSync(setting.tree.metaDirectory)]) {
        hide()
        await sync(setting)
        expect(relativeKeys(setting)).to.include(`meta/${ID}-keep`)
      }
    })

    it('is not removed from a backup of another installation', async () => {
      const setting = use()
      setting.tree.keep(ID, 'full')
      await sync(setting)
      const other = createSyncSetting({sharedStore: setting.store, writer: {id: 'two', host: 'barman-two'}, tree: {segmentSizeBytes: 1024 ** 2}})
      try {
        await sync(other)
        expect(relativeKeys(setting)).to.include(`meta/${ID}-keep`)
      } finally {
        other.remove()
      }
    })
  })

  it('a store that refuses one copy does not stop the others, and says so', async () => {
    const setting = use()
    setting.tree.addBackup({id: '20261102T020000'})
    await sync(setting)
    for (const id of [ID, '20261102T020000']) setting.tree.keep(id, 'full')
    const store = watchStore(setting.store, {before: ({method, args}) => {
      if (method === 'put' && String(args[0]).includes(ID)) throw new StoreRefused()
    }})
    const result = await sync(setting, {}, {store})
    expect(result).to.deep.include({exitCode: 1, metadataUpdated: 1})
    expect(relativeKeys(setting)).to.include('meta/20261102T020000-keep')
    expect(await sync(setting)).to.deep.include({exitCode: 0, metadataUpdated: 1})
  })

  it('lost notes cost some reading and change nothing', async () => {
    const setting = use()
    setting.tree.keep(ID, 'full')
    await sync(setting)
    const before = new Map([...setting.store.objects].map(([key, object]) => [key, object.lastModified.getTime()]))
    for (const name of readdirSync(setting.stateDirectory)) if (name.endsWith('.json')) writeFileSync(join(setting.stateDirectory, name), '{"cut')
    expect(await sync(setting)).to.deep.include({exitCode: 0, metadataUpdated: 0})
    expect(new Map([...setting.store.objects].map(([key, object]) => [key, object.lastModified.getTime()]))).to.deep.equal(before)
  })

  it('a tombstoned backup gets no more metadata', async () => {
    const setting = use()
    await sync(setting)
    setting.store.objects.set(setting.keys.tombstone(ID), {...setting.store.objects.get(setting.keys.record(ID))!, key: setting.keys.tombstone(ID)})
    setting.tree.keep(ID, 'full')
    expect(await sync(setting)).to.deep.include({metadataUpdated: 0})
    expect(relativeKeys(setting)).not.to.include(`meta/${ID}-keep`)
  })

  it('a copy that somebody changed in the bucket is made right once the notes are gone, and never one of a backup that is not recorded', async () => {
    const setting = use()
    await sync(setting)
    const key: ObjectKey = setting.keys.backupInfo(ID, 'meta')
    setting.store.objects.set(key, {...setting.store.objects.get(key)!, body: Buffer.from('changed')})
    rmSync(join(setting.stateDirectory, 'pg.metadata.json'))
    expect(await sync(setting)).to.deep.include({metadataUpdated: 1})
    expect(record(setting)).not.to.equal(undefined)
  })
})

describe('a disk that is not mounted', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})

  it('base/ missing while meta/ names backups: exit 13 before anything is sent', async () => {
    const setting = use()
    rmSync(setting.tree.baseDirectory, {recursive: true})
    const error = await sync(setting).then(() => undefined, (thrown: unknown) => thrown)
    expect(error).to.deep.include({exitCode: 13})
    expect((error as Error).message).to.contain(setting.tree.baseDirectory)
    expect(relativeKeys(setting)).to.deep.equal([])
  })

  it('base/ empty while meta/ names backups: each is told, exit 13, and nothing is taken for done', async () => {
    const setting = use()
    setting.tree.addBackup({id: '20261102T020000', status: 'FAILED'})
    rmSync(setting.tree.baseDirectory, {recursive: true})
    mkdirSync(setting.tree.baseDirectory)
    const result = await sync(setting)
    expect(result.exitCode).to.equal(13)
    expect(result.backups.map(({backupId, outcome, reason}) => [backupId, outcome, reason])).to.deep.equal([[ID, 'failed', 'its data directory is missing']])
    expect(setting.said.join()).to.contain('data directory is missing')
  })

  it('a status of a newer Barman is told, not passed over for ever', async () => {
    const setting = use()
    setting.tree.changeBackupInfo(ID, {status: 'SUSPENDED'})
    expect(await sync(setting)).to.deep.include({exitCode: 13})
  })
})

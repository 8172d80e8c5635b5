import {existsSync, linkSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync} from 'node:fs'
import {execFileSync} from 'node:child_process'
import {join} from 'node:path'
import {gunzipSync} from 'node:zlib'
import {expect} from 'chai'
import {parseBackupRecord} from '../../../src/lib/archive/backup-record.ts'
import {formatStartedMarker, formatTombstone} from '../../../src/lib/archive/markers.ts'
import {parseManifestLine, type FileEntry, type ManifestEntry} from '../../../src/lib/archive/manifest.ts'
import {listBase} from '../../../src/lib/sync/base-list.ts'
import {syncBase, type BaseSyncOptions} from '../../../src/lib/sync/base-sync.ts'
import {createSyncSetting, relativeKeys, useSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'

const ID = '20261101T020000'
const SCAN: BaseSyncOptions = {queue: undefined, backupIds: undefined, scan: true, again: false, adopt: false, isDryRun: false}

async function sync(setting: SyncSetting, options: Partial<BaseSyncOptions> = {}, changes = {}) {
  return await syncBase(setting.context(changes), {...SCAN, ...options})
}

function readManifest({store, keys}: SyncSetting, id = ID): ManifestEntry[] {
  const text = gunzipSync(store.objects.get(keys.manifest(id as never))!.body).toString()
  return text.trim().split('\n').map(parseManifestLine).flatMap((line) => (line.line === 'entry' ? [line.entry] : []))
}

function record({store, keys}: SyncSetting, id = ID) {
  const key = keys.record(id)
  const object = store.objects.get(key)
  return object && parseBackupRecord(object.body, key)
}

/** Every regular file of the backup, below its directory; links are not followed. */
function listFiles({tree}: SyncSetting, id = ID): string[] {
  return execFileSync('find', [join(tree.baseDirectory, id), '-type', 'f', '-printf', '%P\\n'], {encoding: 'utf8'}).trim().split('\n')
}

async function stateOf(setting: SyncSetting, id = ID) {
  const {backups} = await listBase(setting.context())
  return backups.find(({backupId}) => backupId === id)
}

describe('base sync', () => {
  const use = useSyncSetting()

  it('copies a finished backup, every file byte for byte, and records it last', async () => {
    const setting = use()
    const order: string[] = []
    const result = await sync(setting, {}, {store: watchStore(setting.store, {after: ({method, args}) => {
      if (method === 'put' || method === 'putStream') order.push(setting.keys.relative(String(args[0])))
    }})})
    expect(result).to.deep.include({exitCode: 0, stoppedBy: undefined})
    expect(result.backups.map(({outcome}) => outcome)).to.deep.equal(['copied'])
    expect(order[0]).to.equal('identity.json')
    expect(order[1]).to.equal(`barmans3/${ID}.started.json`)
    expect(order.slice(-3)).to.deep.equal([`barmans3/${ID}.manifest.gz`, `meta/${ID}-backup.info`, `barmans3/${ID}.json`])
    const files = listFiles(setting)
    for (const file of files) {
      const body = setting.store.objects.get(`${setting.keys.dataPrefix(ID)}${file}`)?.body
      expect(body && Buffer.from(body).equals(readFileSync(join(setting.tree.baseDirectory, ID, file))), file).to.equal(true)
    }
    expect(relativeKeys(setting).filter((key) => key.startsWith(`base/${ID}/`))).to.have.length(files.length)
    expect(record(setting)).to.deep.include({server: 'pg', layout: 'mirror', backupId: ID})
    expect(record(setting)?.counts.files).to.equal(files.length)
  })

  it('the manifest tells directories with their modes, links with their text, and times to the nanosecond', async () => {
    const setting = use()
    await sync(setting)
    const entries = readManifest(setting)
    expect(entries.map(({path}) => path)).to.deep.equal([...entries.map(({path}) => path)].sort())
    expect(entries.filter(({type}) => type === 'directory').length).to.be.greaterThan(10)
    expect(entries.find(({path}) => path === 'data')).to.deep.include({type: 'directory', mode: 0o700})
    const link = entries.find(({type}) => type === 'symlink')
    expect(link && 'target' in link && String(link.target)).to.equal(join(setting.tree.baseDirectory, ID, '16385'))
    const control = entries.find((entry): entry is FileEntry => entry.path === 'data/global/pg_control')!
    expect(control.mtimeNs).to.equal(statSync(join(setting.tree.baseDirectory, ID, 'data/global/pg_control'), {bigint: true}).mtimeNs)
  })

  it('C07: WAITING_FOR_WALS is copied, and the DONE text is in S3 after the next run', async () => {
    const setting = use()
    setting.tree.changeBackupInfo(ID, {status: 'WAITING_FOR_WALS'})
    expect((await sync(setting)).backups[0]).to.deep.include({outcome: 'copied'})
    const key = setting.keys.backupInfo(ID, 'meta')
    expect(Buffer.from(setting.store.objects.get(key)!.body).toString()).to.contain('status=WAITING_FOR_WALS')
    setting.tree.changeBackupInfo(ID, {status: 'DONE'})
    const second = await sync(setting)
    expect(second).to.deep.include({metadataUpdated: 1, exitCode: 0})
    expect(Buffer.from(setting.store.objects.get(key)!.body).toString()).to.contain('status=DONE')
    expect(await sync(setting)).to.deep.include({metadataUpdated: 0})
  })

  it('keep comes and goes with Barman, but never because the catalogue cannot be read', async () => {
    const setting = use()
    await sync(setting)
    setting.tree.keep(ID, 'full')
    expect((await sync(setting)).metadataUpdated).to.equal(1)
    expect(relativeKeys(setting)).to.include(`meta/${ID}-keep`)
    rmSync(join(setting.tree.metaDirectory, `${ID}-keep`))
    const text = readFileSync(join(setting.tree.metaDirectory, `${ID}-backup.info`))
    writeFileSync(join(setting.tree.metaDirectory, `${ID}-backup.info`), '')
    await sync(setting)
    expect(relativeKeys(setting)).to.include(`meta/${ID}-keep`)
    writeFileSync(join(setting.tree.metaDirectory, `${ID}-backup.info`), text)
    await sync(setting)
    expect(relativeKeys(setting)).not.to.include(`meta/${ID}-keep`)
  })

  it('a second run sends nothing and asks for little', async () => {
    const setting = use()
    await sync(setting)
    await sync(setting)
    const before = {...setting.store.requestCounts()}
    const result = await sync(setting)
    expect(result.backups).to.deep.equal([])
    const requests = Object.entries(setting.store.requestCounts()).map(([name, count]) => [name, count - (before[name] ?? 0)] as const).filter(([, count]) => count > 0)
    expect(Object.fromEntries(requests)).to.deep.equal({GetObject: 1, ListObjectsV2: 3})
  })

  for (const status of ['EMPTY', 'STARTED', 'SYNCING', 'FAILED'] as const) {
    it(`C04: ${status} is not copied, not remembered as done, and copied once it is DONE`, async () => {
      const setting = use()
      const id = '20261102T020000'
      setting.tree.addBackup({id, status: 'DONE'})
      setting.tree.changeBackupInfo(id, {status})
      const result = await sync(setting)
      expect(result.backups.map(({backupId}) => backupId)).to.deep.equal([ID])
      expect(relativeKeys(setting).filter((key) => key.includes(id))).to.deep.equal([])
      const named = await sync(setting, {backupIds: [id]})
      expect(named.backups[0]).to.deep.include({outcome: status === 'FAILED' ? 'refused' : 'not-finished'})
      setting.tree.changeBackupInfo(id, {status: 'DONE'})
      expect((await sync(setting)).backups).to.have.length(1)
      expect(record(setting, id)).not.to.equal(undefined)
    })
  }

  it('one unreadable backup.info does not hide the others, exit 13', async () => {
    const setting = use()
    writeFileSync(join(setting.tree.metaDirectory, '20261103T020000-backup.info'), 'half')
    const result = await sync(setting)
    expect(result.exitCode).to.equal(13)
    expect(result.backups.map(({backupId, outcome}) => [backupId, outcome])).to.have.deep.members([['20261103T020000', 'failed'], [ID, 'copied']])
  })

  it('a backup being deleted, and one that is gone, cannot be copied', async () => {
    const setting = use()
    writeFileSync(join(setting.tree.metaDirectory, `${ID}-delete_this`), '')
    expect((await sync(setting)).backups).to.deep.equal([])
    expect((await sync(setting, {backupIds: [ID, '20200101T000000', 'nonsense']})).backups.map(({outcome}) => outcome)).to.deep.equal(['refused', 'refused', 'refused'])
    expect(relativeKeys(setting)).to.deep.equal(['identity.json'])
  })

  describe('what happens while a backup is copied', () => {
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
      rmSync(join(setting.tree.baseDirectory, ID, 'data/backup_manifest'), {force: true})
      const result = await during(setting, () => writeFileSync(join(setting.tree.baseDirectory, ID, 'data/backup_manifest'), '{}'))
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

  it('C20: links that lead nowhere, sockets, FIFOs and empty files: noted or kept, nothing followed, nothing hangs', async () => {
    const setting = use()
    const data = join(setting.tree.baseDirectory, ID, 'data')
    mkdirSync(join(data, 'pg_tblspc'), {recursive: true})
    symlinkSync('/nonexistent/ts', join(data, 'pg_tblspc/771814060'))
    symlinkSync('.', join(data, 'loop'))
    execFileSync('mkfifo', [join(data, 'logpipe')])
    mkdirSync(join(data, 'empty'))
    for (let index = 0; index < 300; index++) writeFileSync(join(data, `empty/${index}`), '')
    expect((await sync(setting)).exitCode).to.equal(0)
    const byPath = new Map(readManifest(setting).map((entry) => [String(entry.path), entry]))
    expect(byPath.get('data/pg_tblspc/771814060')).to.deep.include({type: 'symlink', target: '/nonexistent/ts'})
    expect(byPath.get('data/loop')).to.deep.include({type: 'symlink', target: '.'})
    expect(byPath.get('data/logpipe')).to.deep.include({type: 'special', kind: 'fifo'})
    expect([...byPath.values()].filter((entry) => entry.type === 'file' && entry.sizeBytes === 0).length).to.be.at.least(300)
    expect(setting.said.filter((line) => line.includes('logpipe'))).to.have.length(1)
  })

  it('C22: names that stores mishandle are exact in the manifest, and no two share a key', async () => {
    const setting = use()
    const data = Buffer.from(`${join(setting.tree.baseDirectory, ID, 'data')}/`)
    const names = ['a b', 'a+b', '100%', 'a%2Bb', 'x#y?z&=', 'tab\there', 'new\nline', '\x08', 'q"\'', '~t', 'b\\s', '..h', 'end.'].map((name) => Buffer.from(name))
    names.push(Buffer.from([0x66, 0xff, 0xfe]), Buffer.from('ü'), Buffer.from('a%09b'), Buffer.from('a\tb'))
    for (const name of names) writeFileSync(Buffer.concat([data, name]), name)
    expect((await sync(setting)).exitCode).to.equal(0)
    const files = readManifest(setting).filter((entry): entry is FileEntry => entry.type === 'file')
    for (const name of names) {
      const entry = files.find(({path}) => Buffer.from(path, 'latin1').equals(Buffer.concat([Buffer.from('data/'), name])))
      expect(entry, JSON.stringify(name.toString())).not.to.equal(undefined)
      expect(Buffer.from(setting.store.objects.get(setting.keys.absolute(entry!.object))!.body).equals(name)).to.equal(true)
    }
    expect(new Set(files.map(({object}) => object)).size).to.equal(files.length)
    for (const {object} of files) expect(object).to.match(/^[^\u0000-\u001f\\]+$/)
    expect((await sync(setting)).backups).to.deep.equal([])
  })

  it('C24: one unreadable file: exit 13, named with the count, no record; then only that one is sent', async function () {
    const setting = use()
    const path = join(setting.tree.baseDirectory, ID, 'data/base/1/1259')
    // Root can read everything, so the file is made unreadable by being no file for a moment.
    const content = readFileSync(path)
    let isBlocked = true
    const store = watchStore(setting.store, {before: ({method, args}) => {
      if (isBlocked && method === 'put' && String(args[0]).endsWith('data/base/1/1259')) throw Object.assign(new StoreRefused(), {})
    }})
    const first = await sync(setting, {}, {store})
    expect(first.exitCode).to.equal(13)
    expect(first.backups[0]?.reason).to.match(/^backup 20261101T020000: 1 of \d+ files failed: data\/base\/1\/1259$/)
    expect(record(setting)).to.equal(undefined)
    isBlocked = false
    const puts: string[] = []
    await sync(setting, {}, {store: watchStore(store, {before: ({method, args}) => {
      if (method === 'put' && String(args[0]).includes('/base/')) puts.push(String(args[0]))
    }})})
    expect(puts).to.have.length(1)
    expect(record(setting)?.counts.files).to.equal(listFiles(setting).length)
    expect(readFileSync(path).equals(content)).to.equal(true)
  })

  describe('who else wrote to the bucket', () => {
    it('another Barman host made another backup with the same id: conflict, exit 12, nothing replaced', async () => {
      const setting = use()
      await sync(setting)
      const before = Buffer.from(setting.store.objects.get(setting.keys.record(ID))!.body)
      const other = createSyncSetting({sharedStore: setting.store, writer: {id: 'two', host: 'barman-two'}, tree: {backup: {beginTime: new Date('2026-11-01T01:00:00Z')}}})
      try {
        const result = await sync(other, {backupIds: [ID]})
        expect(result.exitCode).to.equal(12)
        expect(result.backups[0]?.reason).to.contain('barman-one')
        expect(Buffer.from(setting.store.objects.get(setting.keys.record(ID))!.body).equals(before)).to.equal(true)
      } finally {
        other.remove()
      }
    })

    it('another installation is copying it: exit 11, host and time named; --adopt takes over', async () => {
      const setting = use()
      await sync(setting, {}, {store: watchStore(setting.store, {before: ({method, args}) => {
        if (method === 'put' && String(args[0]).endsWith('PG_VERSION')) throw new StoreRefused()
      }})})
      const two = {writer: {id: 'two', host: 'barman-two'}}
      const refused = await sync(setting, {backupIds: [ID]}, two)
      expect(refused.exitCode).to.equal(11)
      expect(refused.backups[0]?.reason).to.contain('barman-one')
      const adopted = await sync(setting, {backupIds: [ID], adopt: true}, two)
      expect(adopted.exitCode).to.equal(0)
      expect(record(setting)?.writer.id).to.equal('two')
    })

    it('a tombstone stops it from being sent again, alone too; --again lifts it', async () => {
      const setting = use()
      await setting.store.put(setting.keys.tombstone(ID), formatTombstone({backupId: ID, writer: {id: 'x', host: 'h'}, deletedAt: '2026-11-02T00:00:00Z', reason: 'explicit'}), {kind: 'meta'})
      expect((await sync(setting)).backups).to.deep.equal([])
      expect((await sync(setting, {backupIds: [ID]})).backups[0]).to.deep.include({outcome: 'skipped'})
      expect((await sync(setting, {backupIds: [ID], again: true})).backups[0]).to.deep.include({outcome: 'copied'})
      expect(relativeKeys(setting)).not.to.include(`barmans3/${ID}.deleted.json`)
    })

    it('the old scripts copied it: legacy, unproven, not sent again; --again sends it, and names what does not belong', async () => {
      const setting = use()
      for (const file of listFiles(setting)) {
        await setting.store.put(setting.keys.data(ID, file as never), readFileSync(join(setting.tree.baseDirectory, ID, file)), {kind: 'base'})
      }
      await setting.store.put(setting.keys.data(ID, 'data/pg_notify/.barmans3' as never), Buffer.alloc(0), {kind: 'base'})
      await setting.store.put(setting.keys.backupInfo(ID, 'base'), readFileSync(setting.tree.backupInfoPath(ID)), {kind: 'meta'})
      expect(await stateOf(setting)).to.deep.include({state: 'legacy', restorable: 'unproven'})
      expect((await sync(setting)).backups).to.deep.equal([])
      const again = await sync(setting, {backupIds: [ID], again: true})
      expect(again.backups[0]).to.deep.include({outcome: 'copied'})
      expect(setting.said.join()).to.match(/warn: 1 objects below base\/20261101T020000\/ do not belong/)
    })

    it('a cut or foreign record is a conflict, never replaced', async () => {
      const setting = use()
      await setting.store.put(setting.keys.record(ID), Buffer.from('{"format":"barmans3-ba'), {kind: 'meta'})
      const result = await sync(setting, {backupIds: [ID]})
      expect(result.exitCode).to.equal(12)
      expect(Buffer.from(setting.store.objects.get(setting.keys.record(ID))!.body).toString()).to.equal('{"format":"barmans3-ba')
    })
  })

  describe('the queue', () => {
    async function addTask(setting: SyncSetting, backupId: string) {
      const {addTask: add} = await import('../../../src/lib/queue/task-store.ts')
      await add(setting.queueDirectory, {server: 'pg', backupId: backupId as never}, new Date())
    }

    it('is worked through, oldest first: done, error with the reason, or back for the next run', async () => {
      const setting = use()
      setting.tree.addBackup({id: '20261102T020000', status: 'FAILED'})
      setting.tree.addBackup({id: '20261103T020000', status: 'DONE'})
      setting.tree.changeBackupInfo('20261103T020000', {status: 'STARTED'})
      for (const id of [ID, '20261102T020000', '20261103T020000', '20200101T000000']) await addTask(setting, id)
      const result = await sync(setting, {queue: setting.queue()})
      expect(result.backups.map(({backupId, outcome}) => [backupId, outcome])).to.deep.equal([
        [ID, 'copied'], ['20261102T020000', 'refused'], ['20261103T020000', 'not-finished'], ['20200101T000000', 'refused'],
      ])
      expect(result.exitCode).to.equal(10)
      expect(readdirSync(join(setting.queueDirectory, 'pg')).filter((name) => !name.startsWith('.')).sort()).to.deep.equal([
        '20200101T000000.error', `${ID}.done`, '20261102T020000.error', '20261103T020000.run',
      ])
    })

    it('C11: what a dead run left running is taken up at once', async () => {
      const setting = use()
      await addTask(setting, ID)
      await setting.queue().takeNext(new Set())
      expect(readdirSync(join(setting.queueDirectory, 'pg'))).to.include(`${ID}.running`)
      expect((await sync(setting, {queue: setting.queue()})).backups[0]).to.deep.include({outcome: 'copied', origin: 'queue'})
    })

    it('a store that refuses everybody leaves the task in the queue', async () => {
      const setting = use()
      await addTask(setting, ID)
      const store = watchStore(setting.store, {before: ({method, args}) => {
        if (method === 'put' && String(args[0]).endsWith('PG_VERSION')) throw new StoreRefused('run')
      }})
      const result = await sync(setting, {queue: setting.queue()}, {store})
      expect(result).to.deep.include({exitCode: 1})
      expect(result.stoppedBy?.message).to.equal('refused')
      expect(readdirSync(join(setting.queueDirectory, 'pg'))).to.include(`${ID}.run`)
    })
  })

  it('a dry run names backups, files and bytes, and changes nothing anywhere', async () => {
    const setting = use()
    const {createDryRunStore} = await import('../../../src/lib/store/dry-run.ts')
    const result = await sync(setting, {isDryRun: true}, {store: createDryRunStore(setting.store)})
    expect(result.backups[0]).to.deep.include({outcome: 'planned', files: listFiles(setting).length})
    expect([...setting.store.objects.keys()]).to.deep.equal([])
    expect(existsSync(setting.stateDirectory)).to.equal(false)
  })

  it('large files go up in parts that are put together and checked', async () => {
    const setting = createSyncSetting({tree: {backup: {largeFileBytes: 12 * 1024 ** 2 + 17}}})
    try {
      expect((await sync(setting)).exitCode).to.equal(0)
      expect(setting.store.requestCounts().UploadPart).to.equal(3)
      expect(setting.store.uploads.size).to.equal(0)
    } finally {
      setting.remove()
    }
  })

  it('a part that fails aborts the upload before the error is told', async () => {
    const setting = createSyncSetting({tree: {backup: {largeFileBytes: 30 * 1024 ** 2}}})
    try {
      const store = watchStore(setting.store, {before: ({method, args}) => {
        if (method === 'uploadPart' && args[2] === 3) throw new StoreRefused()
      }})
      expect((await sync(setting, {}, {store})).exitCode).to.equal(13)
      expect(setting.store.uploads.size).to.equal(0)
    } finally {
      setting.remove()
    }
  })

  it('old Barman: metadata under base/<id>/ goes there, and is no data', async () => {
    const setting = createSyncSetting({tree: {metadataPlace: 'base', backup: {keep: 'full'}}})
    try {
      expect((await sync(setting)).exitCode).to.equal(0)
      expect(relativeKeys(setting)).to.include.members([`base/${ID}/backup.info`, `base/${ID}/annotations/keep`])
      expect(readManifest(setting).map(({path}) => String(path))).not.to.include('backup.info')
    } finally {
      setting.remove()
    }
  })

})

class StoreRefused extends (await import('../../../src/lib/errors.ts')).StoreRefusedError {
  constructor(scope: 'request' | 'run' = 'request') {
    super('refused', {storeCode: 'AccessDenied', scope})
  }
}

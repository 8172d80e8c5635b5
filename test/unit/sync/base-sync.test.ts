import {existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync} from 'node:fs'
import {execFileSync} from 'node:child_process'
import {join} from 'node:path'
import {expect} from 'chai'
import type {FileEntry} from '../../../src/lib/archive/manifest.ts'
import {startModule} from '../../support/child.ts'
import {createSyncSetting, relativeKeys, useSyncSetting, watchStore} from '../../support/sync-setting.ts'
import {ID, StoreRefused, listFiles, readManifest, record, sync} from './base-setting.ts'

describe('base sync', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})

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

  it('C24: one file that the store refuses: exit 1, named with the count, no record; then only that one is sent', async () => {
    const setting = use()
    let isBlocked = true
    const store = watchStore(setting.store, {before: ({method, args}) => {
      if (isBlocked && method === 'put' && String(args[0]).endsWith('data/base/1/1259')) throw new StoreRefused()
    }})
    const first = await sync(setting, {}, {store})
    expect(first.exitCode).to.equal(1)
    expect(first.backups[0]?.reason).to.match(/^backup 20261101T020000: 1 of \d+ files failed: data\/base\/1\/1259: refused$/)
    expect(record(setting)).to.equal(undefined)
    isBlocked = false
    const puts: string[] = []
    await sync(setting, {}, {store: watchStore(store, {before: ({method, args}) => {
      if (method === 'put' && String(args[0]).includes('/base/')) puts.push(String(args[0]))
    }})})
    expect(puts).to.have.length(1)
    expect(record(setting)?.counts.files).to.equal(listFiles(setting).length)
  })

  it('C24: one file that may not be read (as an ordinary user): exit 13, named with the count, the rest is sent; mended, only that one is', async function () {
    const setting = use()
    execFileSync('chmod', ['-R', 'a+rwX', setting.root])
    const {exit} = startModule(`
      const {createMemoryStore} = await source('lib/store/memory.ts')
      const {ArchiveKeys} = await source('lib/archive/keys.ts')
      const {BodyPool} = await source('lib/sync/body-pool.ts')
      const {HashPool} = await source('lib/sync/hash-pool.ts')
      const {syncBase} = await source('lib/sync/base-sync.ts')
      const {listBase} = await source('lib/sync/base-list.ts')
      const {serverFromDirectories} = await source('lib/barman/server-directories.ts')
      const {systemClock} = await source('lib/local/system-clock.ts')
      const {silentProgress} = await source('lib/progress.ts')
      const {chmodSync} = await import('node:fs')
      const path = ${JSON.stringify(join(setting.tree.baseDirectory, ID, 'data/base/1/1259'))}
      chmodSync(path, 0)
      const isRoot = process.getuid() === 0
      if (isRoot) { process.setegid(65534); process.seteuid(65534) }
      const store = createMemoryStore()
      const failures = []
      const context = {
        server: serverFromDirectories('pg', {directory: ${JSON.stringify(setting.tree.serverDirectory)}}), store, keys: new ArchiveKeys({prefix: 'p', server: 'pg'}),
        archiveUri: 's3://b/p', writer: {id: 'w', host: 'h'}, stateDirectory: ${JSON.stringify(setting.stateDirectory)}, concurrency: 4, partSizeBytes: 5e6,
        pool: new BodyPool(6e7), frames: new BodyPool(4e7), hashes: new HashPool(1), clock: systemClock, abandonAfterMs: 1e9,
        base: {layout: 'mirror', compression: 'zstd', compressionLevel: 3, maxReferenceAgeMs: 1e9}, progress: {...silentProgress, fail: (message) => failures.push(message)}, signal: new AbortController().signal,
      }
      const options = {queue: undefined, backupIds: undefined, scan: true, again: false, adopt: false, isDryRun: false}
      const first = await syncBase(context, options)
      const {backups: [row]} = await listBase(context)
      const puts = store.requestCounts().PutObject
      if (isRoot) process.seteuid(0)
      chmodSync(path, 0o644)
      if (isRoot) process.seteuid(65534)
      const second = await syncBase(context, options)
      const {exitCode, backups: [outcome]} = first
      console.log(JSON.stringify({exitCode, reason: outcome.reason, failures, state: row.state, secondExit: second.exitCode, newPuts: store.requestCounts().PutObject - puts}))`)
    const {stdout, stderr} = await exit
    expect(stderr).to.equal('')
    const {failures, reason, ...rest} = JSON.parse(stdout) as {failures: string[]; reason: string}
    // The file, the started marker again, manifest, backup.info, record.
    expect(rest).to.deep.equal({exitCode: 13, state: 'incomplete', secondExit: 0, newPuts: 5})
    expect(reason).to.match(/^backup 20261101T020000: 1 of \d+ files failed: data\/base\/1\/1259$/)
    expect(failures).to.deep.include('"data/base/1/1259" cannot be read: permission denied for uid 65534')
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
      expect((await sync(setting, {}, {store})).exitCode).to.equal(1)
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

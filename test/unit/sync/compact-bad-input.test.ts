import {execFileSync} from 'node:child_process'
import {createHash} from 'node:crypto'
import {once} from 'node:events'
import {chmodSync, linkSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync} from 'node:fs'
import {createServer} from 'node:net'
import {join} from 'node:path'
import {expect} from 'chai'
import {backupPathBytes, backupPathFromBytes} from '../../../src/lib/archive/backup-path.ts'
import type {BaseSyncOptions} from '../../../src/lib/sync/base-sync.ts'
import {relativeKeys, useSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'
import {asUnprivilegedUser} from '../barman/as-other-user.ts'
import {ID, readManifest, record, StoreRefused, sync} from './base-setting.ts'
import {content, expectFaithful, objects} from './faithful.ts'

const MIB = 1024 ** 2
const SECOND = '20261102T020000'

/** What this process has open there. */
function openFilesBelow(root: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((number) => {
    try {
      return [readlinkSync(`/proc/self/fd/${number}`)].filter((path) => path.startsWith(root))
    } catch {
      // The one that was open for the listing.
      return []
    }
  })
}

describe('bad input in layout compact', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: MIB}})
  const at = (path: string, id = ID) => join(use().tree.baseDirectory, id, path)

  /** A run, and the keys of the data it stored. */
  async function run(setting: SyncSetting, options: Partial<BaseSyncOptions> = {}, fail?: (key: string) => void) {
    const sent: string[] = []
    const store = watchStore(setting.store, {
      before: ({method, args}) => void (method === 'put' && fail?.(setting.keys.relative(String(args[0])))),
      after: ({method, args}) => void ((method === 'put' || method === 'completeUpload') && sent.push(setting.keys.relative(String(args[0])))),
    })
    const {base} = setting.context()
    const result = await sync(setting, options, {store, base: {...base, layout: 'compact'}})
    return {...result, sent: sent.filter((key) => key.startsWith('base/')).sort(), reason: result.backups.at(-1)?.reason ?? ''}
  }

  it('C20: links that lead nowhere or to themselves, sockets, FIFOs, 300 empty files: noted or kept, nothing followed, nothing hangs', async () => {
    const setting = use()
    rmSync(at('data/backup_manifest'))
    symlinkSync('/nonexistent/ts', at('data/pg_tblspc/771814060'))
    symlinkSync('.', at('data/loop'))
    symlinkSync('self', at('data/self'))
    symlinkSync(Buffer.from([0xff, 0x2f, 0xfe]), at('data/link to no UTF-8'))
    execFileSync('mkfifo', [at('data/logpipe')])
    mkdirSync(at('data/empty'))
    for (let index = 0; index < 300; index++) writeFileSync(at(`data/empty/${index}`), '')
    const server = createServer().listen(at('data/.s.PGSQL.5432'))
    await once(server, 'listening')
    const {exitCode, sent} = await run(setting)
    server.close()
    expect([exitCode, sent]).to.deep.equal([0, [`base/${ID}/data/base/16384/16390`, `base/${ID}/packs/0001.tar`]])
    const byPath = new Map(readManifest(setting).map((entry) => [String(entry.path), entry]))
    expect(byPath.get('data/pg_tblspc/771814060')).to.deep.include({type: 'symlink', target: '/nonexistent/ts'})
    expect(byPath.get('data/loop')).to.deep.include({type: 'symlink', target: '.'})
    expect(byPath.get('data/self')).to.deep.include({type: 'symlink', target: 'self'})
    expect(byPath.get('data/link to no UTF-8')).to.deep.include({type: 'symlink', target: backupPathFromBytes(Buffer.from([0xff, 0x2f, 0xfe]))})
    expect(byPath.get('data/logpipe')).to.deep.include({type: 'special', kind: 'fifo'})
    expect(byPath.get('data/.s.PGSQL.5432')).to.deep.include({type: 'special', kind: 'socket'})
    expect([...byPath.values()].filter((entry) => entry.type === 'file' && entry.sizeBytes === 0)).to.have.length.at.least(300)
    for (const name of ['logpipe', '.s.PGSQL.5432']) expect(setting.said.filter((line) => line.includes(name))).to.have.length(1)
    expect(record(setting)!.counts).to.include({special: 2})
    expectFaithful(setting)
    // What is in the packs, and nothing more: special files are in none.
    const members = execFileSync('tar', ['-t'], {input: setting.store.objects.get(setting.keys.pack(ID, 1))!.body, encoding: 'latin1'}).trim().split('\n')
    const {directories, symlinks} = record(setting)!.counts
    expect(members).to.have.length(directories + symlinks + [...byPath.values()].filter((entry) => entry.type === 'file' && entry.offset !== undefined).length)
  })

  it('C22: odd names, small and large, are exact in the manifest, share no key, and a second run sends nothing', async () => {
    const setting = use()
    rmSync(at('data/backup_manifest'))
    const names = [
      'a b', 'a+b', '100%', 'a%2Bb', 'x#y?z&=', 'tab\there', 'new\nline', '\x08', 'q"\'', '~t', 'b\\s', '..h', 'end.', 'ü', 'a%09b', 'a\tb', 'x.zst', 'x%2Ezst', 'x',
    ].map((name) => Buffer.from(name))
    names.push(Buffer.from([0x66, 0xff, 0xfe]), Buffer.from('-'.repeat(255)))
    mkdirSync(at('data/odd'))
    const raw = (name: Buffer, prefix: string) => Buffer.concat([Buffer.from(`${at('data/odd/')}${prefix}`), name.subarray(0, 255 - prefix.length)])
    for (const name of names) {
      writeFileSync(raw(name, ''), name)
      writeFileSync(raw(name, 'l'), content(140 * 1024, name.toString('hex')))
    }
    expect((await run(setting)).exitCode).to.equal(0)
    const files = expectFaithful(setting)
    const found = new Set(files.map(({path}) => backupPathBytes(path).toString('hex')))
    for (const name of names) for (const prefix of ['', 'l']) expect(found).to.include(raw(name, prefix).subarray(at('').length + 1).toString('hex'))
    const large = files.filter(({offset}) => offset === undefined)
    expect(new Set(large.map(({object}) => object)).size).to.equal(large.length)
    for (const key of relativeKeys(setting)) expect(key).to.match(/^[^\u0000-\u001f\\]+$/)
    const again = await run(setting)
    expect([again.exitCode, again.sent, again.backups]).to.deep.equal([0, [], []])
  })

  it('C24: one file among packed ones that may not be read (as an ordinary user): the rest is sent, exit 13; then only that file\'s pack', async () => {
    const setting = use()
    rmSync(at('data/backup_manifest'))
    execFileSync('chmod', ['-R', 'a+rwX', setting.root])
    chmodSync(at('data/base/1/1259'), 0)
    const first = await asUnprivilegedUser(async () => await run(setting))
    expect(first.exitCode).to.equal(13)
    expect(first.reason).to.match(/^backup 20261101T020000: 1 of \d+ files failed: data\/base\/1\/1259$/)
    expect(setting.said.join('\n')).to.match(/fail: "data\/base\/1\/1259" cannot be read: permission denied for uid 65534|fail: .*1259.*permission denied/)
    expect(first.sent).to.include(`base/${ID}/packs/0001.tar`)
    expect(record(setting)).to.equal(undefined)
    chmodSync(at('data/base/1/1259'), 0o644)
    const second = await asUnprivilegedUser(async () => await run(setting))
    expect([second.exitCode, second.sent]).to.deep.equal([0, [`base/${ID}/packs/0002.tar`]])
    expect(objects(setting).get(`base/${ID}/packs/0002.tar`)!.sizeBytes).to.equal(512 + 98_304 + 1024)
    expectFaithful(setting)
  })

  it('a directory that may not be entered (as an ordinary user): named, exit 13, the rest is sent; mended, the backup is whole', async () => {
    const setting = use()
    rmSync(at('data/backup_manifest'))
    execFileSync('chmod', ['-R', 'a+rwX', setting.root])
    chmodSync(at('data/base/4'), 0)
    const first = await asUnprivilegedUser(async () => await run(setting))
    expect(first.exitCode).to.equal(13)
    expect(first.reason).to.match(/1 of \d+ files failed: data\/base\/4/)
    expect(record(setting)).to.equal(undefined)
    chmodSync(at('data/base/4'), 0o755)
    const second = await asUnprivilegedUser(async () => await run(setting))
    // The directory has another mode now, so it is in the new pack, too; and the first pack, which had it, is made again without.
    expect([second.exitCode, second.sent]).to.deep.equal([0, [`base/${ID}/packs/0001.tar`, `base/${ID}/packs/0002.tar`]])
    const members = execFileSync('tar', ['-t'], {input: setting.store.objects.get(setting.keys.pack(ID, 2))!.body, encoding: 'latin1'}).trim().split('\n')
    expect(members).to.include.members(['data/base/4/1259', 'data/base/4/PG_VERSION'])
    expectFaithful(setting)
  })

  it('C24: a pack that the store refuses by itself: exit 1 with the files named; then only that pack is sent', async () => {
    const setting = use()
    rmSync(at('data/backup_manifest'))
    const first = await run(setting, {}, (key) => {
      if (key.endsWith('.tar')) throw new StoreRefused()
    })
    expect(first.exitCode).to.equal(1)
    expect(first.reason).to.match(/refused/)
    expect(record(setting)).to.equal(undefined)
    const second = await run(setting)
    expect([second.exitCode, second.sent]).to.deep.equal([0, [`base/${ID}/packs/0001.tar`]])
    expectFaithful(setting)
  })

  describe('with PostgreSQL\'s backup_manifest', () => {
    for (const [what, spoil] of [
      ['cut in the middle', (text: string) => text.slice(0, text.length / 2)], ['cut by its last byte', (text: string) => text.slice(0, -1)], ['empty', () => ''],
      ['foreign', () => '{"hello": 1}\n'], ['of a version nobody knows', (text: string) => text.replace('Version": 1', 'Version": 3')],
      ['changed after it was written', (text: string) => text.replace('"Size": 98304', '"Size": 98305')],
    ] as const) {
      it(`one that is ${what}: exit 13, named, nothing recorded`, async () => {
        const setting = use()
        const text = readFileSync(at('data/backup_manifest'), 'utf8')
        expect(spoil(text)).not.to.equal(text)
        writeFileSync(at('data/backup_manifest'), spoil(text))
        const {exitCode, reason} = await run(setting)
        expect(exitCode).to.equal(13)
        expect(reason).to.contain('backup_manifest')
        expect(openFilesBelow(setting.root)).to.deep.equal([])
        expect(record(setting)).to.equal(undefined)
        writeFileSync(at('data/backup_manifest'), text)
        expect((await run(setting)).exitCode).to.equal(0)
      })
    }

    for (const layout of ['compact', 'mirror'] as const) {
      it(`${layout}: damage is found in a file that is only referred to or copied inside S3, without reading it`, async () => {
        const setting = use()
        const base = {...setting.context().base, layout}
        writeFileSync(at('data/base/1/big'), content(MIB, 'as it lies on disk'))
        rmSync(at('data/backup_manifest'))
        expect((await sync(setting, {}, {base})).exitCode).to.equal(0)
        setting.tree.addBackup({id: SECOND, linkTo: ID})
        linkSync(at('data/base/1/big'), at('data/base/1/big', SECOND))
        // PostgreSQL says something else of the linked file.
        const path = at('data/backup_manifest', SECOND)
        const body = readFileSync(path, 'utf8').replace(/"Manifest-Checksum".*\n$/, '')
          .replace('"Files": [\n', `"Files": [\n{ "Path": "base/1/big", "Size": ${MIB}, "Last-Modified": "2026-11-02 02:00:00 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "00000000" },\n`)
        writeFileSync(path, `${body}"Manifest-Checksum": "${createHash('sha256').update(body).digest('hex')}"}\n`)
        const {exitCode, backups} = await sync(setting, {}, {base})
        expect(exitCode).to.equal(13)
        expect(backups.at(-1)?.reason).to.match(/1 of \d+ files failed: data\/base\/1\/big; 1 of them are damaged on Barman's disk/)
        expect(record(setting, SECOND)).to.equal(undefined)
        // Again: what an earlier run noted is held against it, too.
        expect((await sync(setting, {}, {base})).exitCode).to.equal(13)
        expect(record(setting, SECOND)).to.equal(undefined)
      })

      it(`${layout}: a backup in tar format, whose files the manifest names as they are inside, misses nothing`, async () => {
        const setting = use()
        const manifest = readFileSync(at('data/backup_manifest'))
        rmSync(at(''), {recursive: true})
        mkdirSync(at('data'), {recursive: true})
        writeFileSync(at('data/backup_manifest'), manifest)
        writeFileSync(at('data/base.tar.gz'), content(3 * MIB, 'tar'))
        writeFileSync(at('data/16385.tar.gz'), content(1000, 'tablespace'))
        const {exitCode} = await sync(setting, {}, {base: {...setting.context().base, layout}})
        expect(exitCode).to.equal(0)
        expectFaithful(setting)
        expect(relativeKeys(setting)).to.include(`base/${ID}/data/base.tar.gz`)
      })
    }
  })
})

import {createHash} from 'node:crypto'
import {linkSync, lstatSync, readFileSync, rmSync, utimesSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import type {ServerContext} from '../../../src/lib/sync/server-context.ts'
import {relativeKeys, useSyncSetting, watchStore, type StoreCall, type SyncSetting} from '../../support/sync-setting.ts'
import {ID, listFiles, readManifest, record, StoreRefused, sync} from './base-setting.ts'
import {content, expectFaithful, objects} from './faithful.ts'

const MIB = 1024 ** 2
const SECOND = '20261102T020000'
const base = {layout: 'mirror', compression: 'zstd', compressionLevel: 3, maxReferenceAgeMs: 30 * 86_400_000} as const
const compact = {base: {...base, layout: 'compact'}} as const

describe('layout mirror, the backup after another', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: MIB}})
  const at = (path: string, id = ID) => join(use().tree.baseDirectory, id, path)
  const big = 'data/base/1/big'

  /** A first backup in S3, and a second one beside it on disk: of hard links, or of copies with their times. */
  async function prepare({linked, first = {}}: {linked: boolean; first?: Partial<ServerContext>}): Promise<SyncSetting> {
    const setting = use()
    writeFileSync(at(big), content(7 * MIB, 'big'))
    utimesSync(at(big), 1_790_000_000, 1_790_000_000)
    rmSync(at('data/backup_manifest'))
    expect((await sync(setting, {}, first)).exitCode).to.equal(0)
    setting.tree.addBackup({id: SECOND, linkTo: ID})
    rmSync(at('data/backup_manifest', SECOND), {force: true})
    linkSync(at(big), at(big, SECOND))
    if (!linked) {
      for (const path of listFiles(setting, SECOND)) {
        const [bytes, {atime, mtime}] = [readFileSync(at(path, SECOND)), lstatSync(at(path, SECOND))]
        rmSync(at(path, SECOND))
        writeFileSync(at(path, SECOND), bytes)
        utimesSync(at(path, SECOND), atime, mtime)
      }
    }
    return setting
  }

  /** A run, and what it sent and had copied of the second backup's files, paths below the backup. */
  async function run(setting: SyncSetting, changes: Partial<ServerContext> = {}, fail?: (call: StoreCall) => void | Promise<void>) {
    const sent: string[] = []
    const copied: [string, string][] = []
    const relative = (key: unknown) => setting.keys.relative(String(key))
    const name = (key: unknown) => relative(key).slice(`base/${SECOND}/`.length)
    const store = watchStore(setting.store, {
      before: async (call) => await fail?.(call),
      after: ({method, args}) => {
        if ((method === 'put' || method === 'completeUpload') && relative(args[0]).startsWith('base/')) sent.push(name(args[0]))
        if (method === 'copy') copied.push([relative(args[0]), name(args[1])])
      },
    })
    const result = await sync(setting, {}, {store, ...changes})
    return {...result, sent: sent.sort(), copied: copied.sort(), reason: result.backups.at(-1)?.reason}
  }

  const isSame = (path: string) => readFileSync(at(path)).equals(readFileSync(at(path, SECOND)))
  const paths = (setting: SyncSetting) => listFiles(setting, SECOND).sort()

  it('has hard links copied inside S3 without reading them, and sends what changed', async () => {
    const setting = await prepare({linked: true})
    const isLinked = (path: string) => lstatSync(at(path, SECOND)).nlink > 1
    const reads = paths(setting).filter((path) => !isLinked(path))
    const {exitCode, sent, copied} = await run(setting)
    expect(exitCode).to.equal(0)
    expect(copied).to.deep.equal(paths(setting).filter(isLinked).map((path) => [`base/${ID}/${path}`, path]))
    expect(copied.length).to.be.greaterThan(20)
    expect(sent).to.deep.equal(reads)
    expectFaithful(setting, SECOND)
    expect(record(setting, SECOND)).to.deep.include({layout: 'mirror', features: ['mirror'], owners: [], vouchers: []})
    expect(record(setting, SECOND)!.counts).to.include({referencedObjects: 0, objects: paths(setting).length})
  })

  it('a hard link is really not read', async () => {
    const setting = await prepare({linked: true})
    // Content that no longer is what was sent shows that it was not looked at. Times as the manifest has them.
    const before = readFileSync(at(big))
    writeFileSync(at(big), content(7 * MIB, 'rotten'))
    utimesSync(at(big), 1_790_000_000, 1_790_000_000)
    expect((await run(setting)).copied.map(([, path]) => path)).to.include(big)
    const [entry] = readManifest(setting, SECOND).filter(({path}) => path === big)
    expect(entry).to.include({sha256: createHash('sha256').update(before).digest('hex')})
  })

  for (const [layout, changes] of [['mirror', {}], ['compact', compact]] as const) {
    it(`${layout}: a hard link that was written into since the first backup was copied is no proof: other time than its manifest, so it is read and sent`, async () => {
      const setting = await prepare({linked: true, first: changes})
      writeFileSync(at(big), content(7 * MIB, 'written in place'))
      utimesSync(at(big), 1_790_000_001, 1_790_000_001)
      expect(lstatSync(at(big)).ino).to.equal(lstatSync(at(big, SECOND)).ino)
      const {exitCode, sent} = await run(setting, changes)
      expect(exitCode).to.equal(0)
      expect(sent.filter((path) => path.startsWith(big))).to.have.length(1)
      expectFaithful(setting, SECOND)
    })
  }

  it('has equal content of copies copied inside S3 after reading; same size and time with other content is sent', async () => {
    const setting = await prepare({linked: false})
    const {atime, mtime} = lstatSync(at('data/base/1/1259'))
    writeFileSync(at('data/base/1/1259', SECOND), content(98_304, 'other'))
    utimesSync(at('data/base/1/1259', SECOND), atime, mtime)
    const {exitCode, sent, copied} = await run(setting)
    expect(exitCode).to.equal(0)
    expect(copied.map(([, path]) => path)).to.deep.equal(paths(setting).filter(isSame))
    expect(copied.map(([, path]) => path)).to.include(big)
    expect(sent).to.deep.equal(paths(setting).filter((path) => !isSame(path)))
    expect(sent).to.include('data/base/1/1259')
    expectFaithful(setting, SECOND)
  })

  it('the copy carries its own time, as rclone writes it', async () => {
    const setting = await prepare({linked: false})
    utimesSync(at(big, SECOND), 1_700_000_000, 1_700_000_000)
    await run(setting)
    expect(setting.store.objects.get(setting.keys.absolute(`base/${SECOND}/${big}`))!.metadata).to.deep.equal({mtime: '1700000000.000000000'})
  })

  it('an earlier object that is gone costs one request more: its file is sent', async () => {
    const setting = await prepare({linked: true})
    for (const path of ['data/base/1/1259', big]) setting.store.objects.delete(setting.keys.absolute(`base/${ID}/${path}`))
    const {exitCode, sent} = await run(setting)
    expect(exitCode).to.equal(0)
    expect(sent).to.include.members(['data/base/1/1259', big])
    expectFaithful(setting, SECOND)
  })

  it('an earlier object of another size is not taken over for good: its file is sent in the same run', async () => {
    const setting = await prepare({linked: true})
    const key = setting.keys.absolute(`base/${ID}/${big}`)
    const object = setting.store.objects.get(key)!
    setting.store.objects.set(key, {...object, body: object.body.subarray(0, 100)})
    const {exitCode, sent, reason} = await run(setting)
    expect([exitCode, reason]).to.deep.equal([0, 'it is not in S3'])
    expect(sent).to.include(big)
    expectFaithful(setting, SECOND)
    expect(setting.said.join('\n')).to.match(/warn: 1 objects.*big/)
  })

  it('C29: a copy that the store refuses fails that file alone, exit 1, no record; the next run goes on', async () => {
    const setting = await prepare({linked: true})
    const refused = await run(setting, {}, ({method, args}) => {
      if (method === 'copy' && String(args[1]).endsWith('data/base/1/big')) throw new StoreRefused()
    })
    expect(refused.exitCode).to.equal(1)
    expect(refused.reason).to.match(/1 of \d+ files failed: data\/base\/1\/big: refused/)
    expect(record(setting, SECOND)).to.equal(undefined)
    const next = await run(setting)
    expect([next.exitCode, next.sent, next.copied]).to.deep.equal([0, [], [[`base/${ID}/${big}`, big]]])
    expectFaithful(setting, SECOND)
  })

  it('a killed run has its copies taken for done by the next one', async () => {
    const setting = await prepare({linked: true})
    let copies = 0
    const stopped = await run(setting, {concurrency: 1}, ({method}) => {
      if (method === 'copy' && ++copies > 10) throw new StoreRefused('run')
    })
    expect([stopped.exitCode, stopped.copied.length]).to.deep.equal([1, 10])
    const next = await run(setting)
    expect(next.exitCode).to.equal(0)
    expect(next.copied.map(([, path]) => path).filter((path) => stopped.copied.some(([, earlier]) => earlier === path))).to.deep.equal([])
    expectFaithful(setting, SECOND)
  })

  it('after a compact one: what lies there plain is copied, packed and compressed files are sent', async () => {
    const setting = use()
    const noise = Buffer.concat(Array.from({length: 5000}, (_, index) => createHash('sha512').update(`n${index}`).digest()))
    writeFileSync(at('data/base/1/noise'), noise)
    await prepare({linked: true, first: compact})
    linkSync(at('data/base/1/noise'), at('data/base/1/noise', SECOND))
    const {exitCode, sent, copied} = await run(setting)
    expect(exitCode).to.equal(0)
    expect(copied).to.deep.equal([[`base/${ID}/data/base/1/noise`, 'data/base/1/noise']])
    expect(sent).to.deep.equal(paths(setting).filter((path) => path !== 'data/base/1/noise'))
    expect(record(setting, SECOND)).to.deep.include({layout: 'mirror', features: ['mirror']})
    expectFaithful(setting, SECOND)
  })

  it('a compact one after a mirror refers to its plain objects', async () => {
    const setting = await prepare({linked: true})
    const {exitCode, sent, copied} = await run(setting, compact)
    expect([exitCode, copied]).to.deep.equal([0, []])
    expect(sent).to.deep.equal(['data/base/16384/16390', 'packs/0001.tar'])
    expectFaithful(setting, SECOND)
    expect(objects(setting, SECOND).get(`base/${ID}/${big}`)).to.include({sizeBytes: 7 * MIB}).and.not.have.property('zstd')
    expect(record(setting, SECOND)).to.deep.include({layout: 'compact', owners: [ID], vouchers: [ID], features: ['packs', 'references']})
  })

  it('nothing is copied from a backup that is being deleted, or that is older than base.maxReferenceAge', async () => {
    const setting = await prepare({linked: true})
    const old = await run(setting, {base: {...base, maxReferenceAgeMs: 1}, clock: {...setting.context().clock, now: () => new Date(Date.now() + 1000)}})
    expect([old.exitCode, old.copied, old.sent]).to.deep.equal([0, [], paths(setting)])
    expect(relativeKeys(setting).filter((key) => key.startsWith(`base/${SECOND}/`))).to.have.length(paths(setting).length)
    expectFaithful(setting, SECOND)
  })
})

import {execFileSync} from 'node:child_process'
import {createHash} from 'node:crypto'
import {setTimeout as delay} from 'node:timers/promises'
import {expect} from 'chai'
import type {BackupPath} from '../../../src/lib/archive/backup-path.ts'
import {ArchiveKeys} from '../../../src/lib/archive/keys.ts'
import {PACK_BYTES, type PackMember} from '../../../src/lib/archive/pack.ts'
import {crc32c} from '../../../src/lib/store/checksum.ts'
import {createMemoryStore} from '../../../src/lib/store/memory.ts'
import {BodyPool} from '../../../src/lib/sync/body-pool.ts'
import {HashPool} from '../../../src/lib/sync/hash-pool.ts'
import {PackWriter, type StoredPack} from '../../../src/lib/sync/pack-writer.ts'
import {watchStore, type StoreCall} from '../../support/sync-setting.ts'
import {StoreRefused} from './base-setting.ts'

const ID = '20261101T020000'
const keys = new ArchiveKeys({prefix: 'p', server: 'pg'})

describe('the writer of packs', () => {
  let hashes: HashPool
  before(() => {
    hashes = new HashPool(1)
  })
  after(() => hashes.close())

  function open({taken = [], before, onStored, pool = new BodyPool(4 * PACK_BYTES)}: {
    taken?: readonly number[]; before?: (call: StoreCall) => void | Promise<void>; onStored?: (pack: StoredPack) => Promise<void>; pool?: BodyPool
  } = {}) {
    const memory = createMemoryStore()
    const stored: StoredPack[] = []
    const abort = new AbortController()
    const writer = new PackWriter({
      store: watchStore(memory, {...(before ? {before} : {})}), keys, pool, hashes, signal: abort.signal,
      onStored: onStored ?? (async (pack) => void stored.push(pack)),
    }, ID, (number) => taken.includes(number))
    return {memory, stored, writer, abort, body: (number: number) => memory.objects.get(keys.pack(ID, number))?.body}
  }

  function file(path: string, sizeBytes: number): PackMember {
    return {type: 'file', path: path as BackupPath, mode: 0o600, mtimeNs: 0n, sizeBytes}
  }

  const directory = (path: string): PackMember => ({type: 'directory', path: path as BackupPath, mode: 0o700, mtimeNs: 0n, sizeBytes: 0})
  const list = (body: Buffer) => execFileSync('tar', ['-t'], {input: body, encoding: 'latin1'}).trim().split('\n')

  it('tells a member where it lies once its pack is in S3, and says what the pack is before that', async () => {
    const {writer, stored, body} = open()
    const {stored: first} = await writer.add(file('a', 3), (target) => target.write('abc'))
    const {stored: second} = await writer.add(directory('d'))
    let isStored = false
    void first.then(() => (isStored = true))
    await delay(20)
    expect(isStored).to.equal(false)
    writer.flush()
    expect(await first).to.deep.equal({number: 1, object: `base/${ID}/packs/0001.tar`, offset: 512})
    expect(await second).to.deep.equal({number: 1, object: `base/${ID}/packs/0001.tar`, offset: 1536})
    const bytes = body(1)!
    expect(bytes.subarray(512, 515).toString()).to.equal('abc')
    expect(list(bytes)).to.deep.equal(['a', 'd/'])
    expect(stored).to.deep.equal([{number: 1, members: 2, object: {
      key: `base/${ID}/packs/0001.tar`, sizeBytes: bytes.length, crc32c: crc32c(bytes), sha256: createHash('sha256').update(bytes).digest('hex'),
    }}])
    await writer.close()
  })

  it('a pack is at most 16 MiB with its end, and what does not fit goes into the next', async () => {
    const {writer, body} = open()
    const largest = PACK_BYTES - 1024 - 512
    const {stored: first} = await writer.add(file('fills it', largest))
    const {stored: second} = await writer.add(file('next', 0))
    expect((await first).number).to.equal(1)
    expect(body(1)!.length).to.equal(PACK_BYTES)
    writer.flush()
    expect(await second).to.include({number: 2, offset: 512})
    expect(list(body(2)!)).to.deep.equal(['next'])
    await writer.close()
  })

  it('a pack has at most 4,096 members', async () => {
    const {writer, stored} = open()
    const all: Promise<unknown>[] = []
    for (let index = 0; index < 4097; index++) all.push((await writer.add(directory(String(index)))).stored)
    writer.flush()
    await Promise.all(all)
    expect(stored.sort((left, right) => left.number - right.number).map(({members}) => members)).to.deep.equal([4096, 1])
    await writer.close()
  })

  it('members that come all at once share packs, each once and whole', async () => {
    const {writer, stored, body} = open()
    const names = Array.from({length: 400}, (_, index) => `f${index}`)
    const added = await Promise.all(names.map(async (name) => await writer.add(file(name, 100_000), (target) => target.fill(name.charCodeAt(1)))))
    writer.flush()
    const places = await Promise.all(added.map(async ({stored: each}) => await each))
    expect(stored.map(({members}) => members).reduce((sum, each) => sum + each)).to.equal(400)
    expect(stored.flatMap(({number}) => list(body(number)!)).sort()).to.deep.equal([...names].sort())
    for (const [index, {number, offset}] of places.entries()) {
      const content = body(number)!.subarray(offset, offset + 100_000)
      expect(content.every((byte) => byte === names[index]!.charCodeAt(1)), names[index]).to.equal(true)
    }
    await writer.close()
  })

  it('numbers that are taken are passed over', async () => {
    const {writer, body} = open({taken: [1, 2, 4]})
    const {stored: first} = await writer.add(directory('a'))
    writer.flush()
    const {stored: second} = await writer.add(directory('b'))
    writer.flush()
    expect([(await first).number, (await second).number]).to.deep.equal([3, 5])
    expect(body(1)).to.equal(undefined)
    await writer.close()
  })

  it('a content that cannot be read leaves no trace in the pack', async () => {
    const {writer, body} = open()
    await writer.add(file('a', 5), (target) => target.write('first'))
    const error = await writer.add(file('bad', 600), (target) => {
      target.fill('q')
      throw new Error('unreadable')
    }).then(() => undefined, (thrown: unknown) => thrown)
    expect((error as Error).message).to.equal('unreadable')
    const {stored} = await writer.add(file('c', 3), (target) => target.write('ccc'))
    writer.flush()
    expect(await stored).to.include({offset: 1536})
    expect(list(body(1)!)).to.deep.equal(['a', 'c'])
    expect(body(1)!.includes('qqq')).to.equal(false)
    await writer.close()
  })

  it('a pack that is refused fails its members, each of them, and no other', async () => {
    const {writer, stored} = open({before: ({method, args}) => {
      if (method === 'put' && String(args[0]).endsWith('0001.tar')) throw new StoreRefused()
    }})
    const first = [await writer.add(directory('a')), await writer.add(directory('b'))]
    writer.flush()
    const {stored: second} = await writer.add(directory('c'))
    writer.flush()
    for (const {stored: each} of first) expect(await each.then(() => 'stored', (error: Error) => error.message)).to.equal('refused')
    expect((await second).number).to.equal(2)
    expect(stored.map(({number}) => number)).to.deep.equal([2])
    await writer.close()
  })

  it('a pack that cannot be noted is not stored for its members', async () => {
    const {writer} = open({onStored: async () => {
      throw new Error('no room')
    }})
    const {stored} = await writer.add(directory('a'))
    writer.flush()
    expect(await stored.then(() => 'stored', (error: Error) => error.message)).to.equal('no room')
    await writer.close()
  })

  it('sends the pack of a member that others wait for, and none that does not have it', async () => {
    const {writer, body} = open()
    const {stored} = await writer.add(directory('a'))
    writer.flushIfHolds('b' as BackupPath)
    await delay(20)
    expect(body(1)).to.equal(undefined)
    writer.flushIfHolds('a' as BackupPath)
    expect((await stored).number).to.equal(1)
    writer.flushIfHolds('a' as BackupPath)
    writer.flush()
    await writer.close()
    expect(body(2)).to.equal(undefined)
  })

  it('closed, it sends nothing any more, tells those who wait, and gives all memory back, after failures too', async () => {
    const pool = new BodyPool(2 * PACK_BYTES)
    const {writer, body} = open({pool, before: ({method, args}) => {
      if (method === 'put' && String(args[0]).endsWith('0001.tar')) throw new StoreRefused()
    }})
    await writer.add(directory('a'))
    writer.flush()
    const {stored} = await writer.add(directory('b'))
    await writer.close()
    expect(await stored.then(() => 'stored', (error: Error) => error.message)).to.equal('the pack was not sent')
    expect([body(1), body(2)]).to.deep.equal([undefined, undefined])
    // All of the pool is free again.
    expect((await pool.take(2 * PACK_BYTES, AbortSignal.timeout(1000))).length).to.equal(2 * PACK_BYTES)
  })

  it('stops waiting for memory at the signal', async () => {
    const pool = new BodyPool(PACK_BYTES)
    await pool.take(PACK_BYTES)
    const {writer, abort} = open({pool})
    const adding = writer.add(directory('a')).then(() => 'added', (error: Error) => error.message)
    abort.abort(new Error('stopped'))
    expect(await adding).to.equal('stopped')
    await writer.close()
  })
})

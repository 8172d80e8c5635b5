import {deflateRawSync, gzipSync} from 'node:zlib'
import {expect} from 'chai'
import {inspectWalHead} from '../../../src/lib/barman/wal-content.ts'
import {parseWalName} from '../../../src/lib/barman/wal-name.ts'
import {StoreRefusedError} from '../../../src/lib/errors.ts'
import {createMemoryStore} from '../../../src/lib/store/memory.ts'
import type {ListedObject, ObjectStore} from '../../../src/lib/store/object-store.ts'
import {ArchiveKeys} from '../../../src/lib/archive/keys.ts'
import {WalListing} from '../../../src/lib/sync/wal-listing.ts'
import {compareUploadOrder, decideWal, isNeededFrom, whyNotFinal, type FinalityFacts} from '../../../src/lib/sync/wal-plan.ts'

const MIB = 1024 ** 2

describe('what is to be done with a WAL', () => {
  const at = (seconds: number) => BigInt(seconds) * 1_000_000_000n
  const remote = {sizeBytes: 16, lastModified: new Date(1_000_900)}
  for (const [what, local, object, comparedNs, decision] of [
    ['not in S3', {sizeBytes: 16, ctimeNs: at(5)}, undefined, undefined, 'upload'],
    ['there, older here', {sizeBytes: 16, ctimeNs: at(999)}, remote, undefined, 'skip'],
    ['there, in the same second', {sizeBytes: 16, ctimeNs: at(1000) + 950_000_000n}, remote, undefined, 'skip'],
    ['there, touched later', {sizeBytes: 16, ctimeNs: at(1001)}, remote, undefined, 'compare'],
    ['there, touched later, compared since', {sizeBytes: 16, ctimeNs: at(1001)}, remote, at(1001), 'skip'],
    ['there, touched after the comparison', {sizeBytes: 16, ctimeNs: at(1002)}, remote, at(1001), 'compare'],
    ['there, of another size', {sizeBytes: 17, ctimeNs: at(5)}, remote, at(9999), 'size-differs'],
  ] as const) {
    it(`${what}: ${decision}`, () => expect(decideWal(local, object, comparedNs)).to.equal(decision))
  }

  it('history first, then oldest first', () => {
    expect(['000000020000000000000001', '00000003.history', '000000010000000000000009', '00000002.history'].sort(compareUploadOrder)).to.deep.equal([
      '00000002.history', '00000003.history', '000000010000000000000009', '000000020000000000000001',
    ])
  })

  it('a backup needs what comes from its begin on, on its timeline and on those that may have left it later', () => {
    for (const [name, isNeeded] of [
      ['000000010000000000000005', true], ['000000010000000100000000', true], ['000000010000000000000004', false],
      ['000000020000000000000009', true], ['000000020000000000000004', false],
    ] as const) expect(isNeededFrom('000000010000000000000005', name), name).to.equal(isNeeded)
    expect(isNeededFrom('000000020000000000000005', '000000010000000000000009')).to.equal(false)
  })
})

describe('what a WAL file holds', () => {
  /** The first page of a segment as PostgreSQL writes it (XLogLongPageHeaderData). */
  function page(magic: number, {segmentSizeBytes = 16 * MIB, systemId = 7300000000000000001n, info = 0x0002} = {}): Buffer {
    const head = Buffer.alloc(40)
    head.writeUInt16LE(magic, 0)
    head.writeUInt16LE(info, 2)
    head.writeUInt32LE(1, 4)
    head.writeBigUInt64LE(systemId, 24)
    head.writeUInt32LE(segmentSizeBytes, 32)
    head.writeUInt32LE(8192, 36)
    return head
  }

  for (const [version, magic] of [['9.2', 0xd071], ['9.6', 0xd093], ['10', 0xd097], ['15', 0xd110], ['17', 0xd116], ['18', 0xd118]] as const) {
    it(`pages of PostgreSQL ${version} are plain`, () => {
      expect(inspectWalHead(page(magic))).to.deep.equal({type: 'plain', segmentSizeBytes: 16 * MIB, systemId: '7300000000000000001'})
    })
  }

  it('a page without the long header tells neither size nor cluster', () => {
    expect(inspectWalHead(page(0xd110, {info: 0x0001}))).to.deep.equal({type: 'plain', segmentSizeBytes: undefined, systemId: undefined})
    expect(inspectWalHead(page(0xd110).subarray(0, 20))).to.deep.include({type: 'plain', segmentSizeBytes: undefined})
    expect(inspectWalHead(page(0xd110, {segmentSizeBytes: 12345}))).to.deep.include({segmentSizeBytes: undefined})
  })

  for (const [what, bytes] of [
    ['gzip', gzipSync('x')], ['bzip2', Buffer.from('425a68393141', 'hex')], ['xz', Buffer.from('fd377a585a00', 'hex')], ['zstd', Buffer.from('28b52ffd0458', 'hex')],
    ['lz4', Buffer.from('04224d186440', 'hex')], ['snappy', Buffer.from('ff060000734e61507059', 'hex')], ['gpg, RSA', Buffer.from('85020c03aabb', 'hex')],
    ['gpg, elliptic', Buffer.from('845e03aabbcc', 'hex')], ['gpg, armoured', Buffer.from('-----BEGIN PGP MESSAGE-----')], ['a custom filter', deflateRawSync('x'.repeat(100))],
    ['a new-format OpenPGP packet whose length looks like a page', Buffer.from('c1d1ffff03', 'hex')],
  ] as const) {
    it(`${what} is encoded`, () => expect(inspectWalHead(Buffer.from(bytes))).to.deep.equal({type: 'encoded'}))
  }

  it('nothing, and zeros, are the beginning of a file that is being written', () => {
    expect(inspectWalHead(Buffer.alloc(0))).to.deep.equal({type: 'empty'})
    expect(inspectWalHead(Buffer.alloc(40))).to.deep.equal({type: 'empty'})
  })
})

describe('whether a WAL file is whole', () => {
  const segment = parseWalName('000000010000000000000005')!
  const plain = {type: 'plain', segmentSizeBytes: undefined, systemId: undefined} as const
  const encoded = {type: 'encoded'} as const
  const base: FinalityFacts = {file: segment, sizeBytes: 16 * MIB, content: plain, segmentSizeBytes: 16 * MIB, isPassive: false, hasXlogDbLine: false}
  for (const [what, change, answer] of [
    ['a plain segment of full size', {}, undefined],
    ['one that is short', {sizeBytes: 8192}, 'growing'],
    ['one that is too long', {sizeBytes: 17 * MIB}, 'growing'],
    ['one of 64 MiB by its own page, whatever the backups say', {sizeBytes: 64 * MIB, content: {...plain, segmentSizeBytes: 64 * MIB}}, undefined],
    ['zeros of full size', {content: {type: 'empty'}}, undefined],
    ['zeros that are short', {content: {type: 'empty'}, sizeBytes: 8192}, 'growing'],
    ['a compressed one of any size', {content: encoded, sizeBytes: 17_000}, undefined],
    ['a compressed one on a passive node without its line', {content: encoded, sizeBytes: 17_000, isPassive: true}, 'waiting-for-xlog.db'],
    ['a compressed one on a passive node with its line', {content: encoded, sizeBytes: 17_000, isPassive: true, hasXlogDbLine: true}, undefined],
    ['a plain one on a passive node', {isPassive: true}, undefined],
    ['a plain short one on a passive node with its line', {isPassive: true, hasXlogDbLine: true, sizeBytes: 8192}, 'growing'],
    ['a history file', {file: parseWalName('00000002.history')!, sizeBytes: 40}, undefined],
    ['an empty history file', {file: parseWalName('00000002.history')!, sizeBytes: 0, content: {type: 'empty'}}, 'growing'],
    ['a history file on a passive node without its line', {file: parseWalName('00000002.history')!, sizeBytes: 40, isPassive: true}, 'waiting-for-xlog.db'],
    ['a backup label', {file: parseWalName('000000010000000000000005.00000028.backup')!, sizeBytes: 338}, undefined],
  ] as const satisfies readonly (readonly [string, Partial<FinalityFacts>, ReturnType<typeof whyNotFinal>])[]) {
    it(`${what}: ${answer ?? 'yes'}`, () => expect(whyNotFinal({...base, ...change})).to.equal(answer))
  }
})

describe('the listing of wals/', () => {
  const keys = new ArchiveKeys({prefix: '', server: 'pg'})
  const listed = (names: readonly string[]): Pick<ObjectStore, 'list'> => ({
    async* list() {
      for (const name of names) yield {key: keys.wal(name), sizeBytes: 1, lastModified: new Date(0)} satisfies ListedObject
    },
  })
  const open = (names: readonly string[], first: string) => new WalListing(listed(names) as ObjectStore, keys, first, new AbortController().signal)

  it('answers name by name in one pass', async () => {
    const listing = open(['0000000100000000/a', '0000000100000000/b', '00000002.history', '0000000200000000/c'], '0000000100000000')
    expect([...(await listing.under('0000000100000000')).keys()]).to.deep.equal(['0000000100000000/a', '0000000100000000/b'])
    expect((await listing.under('0000000100000001')).size).to.equal(0)
    expect([...(await listing.under('00000002.history')).keys()]).to.deep.equal(['00000002.history'])
    expect([...(await listing.under('0000000200000000')).keys()]).to.deep.equal(['0000000200000000/c'])
    expect((await listing.under('0000000300000000')).size).to.equal(0)
  })

  it('is not led astray by foreign names between ours, in byte order and in folder order', async () => {
    for (const names of [['0000000100000000.old/x', '0000000100000000/a', 'xlog.db'], ['0000000100000000/a', '0000000100000000.old/x', 'xlog.db']]) {
      expect((await open(names, '0000000100000000').under('0000000100000000')).size).to.equal(1)
    }
  })

  it('an order nobody can merge is an error, never a shorter list', async () => {
    const listing = open(['0000000200000000/a', '0000000100000000/b', '0000000300000000/c'], '0000000100000000')
    const error = await listing.under('0000000300000000').then(() => undefined, (thrown: unknown) => thrown)
    expect(error).to.be.instanceOf(StoreRefusedError)
  })

  it('begins at the first name that is asked', async () => {
    const store = createMemoryStore()
    for (const name of ['00000001.history', '0000000100000000/a', '00000002.history', '0000000200000000/c']) await store.put(keys.wal(name), Buffer.from('x'), {kind: 'wal'})
    for (const first of ['0000000100000000', '00000002.history', '0000000200000000']) {
      expect((await new WalListing(store, keys, first, new AbortController().signal).under(first)).size, first).to.equal(1)
    }
  })
})

import {expect} from 'chai'
import {ArchiveKeys} from '../../../src/lib/archive/keys.ts'
import type {ManifestObject} from '../../../src/lib/archive/manifest.ts'
import {createMemoryStore} from '../../../src/lib/store/memory.ts'
import type {ObjectStore} from '../../../src/lib/store/object-store.ts'
import {findGoneReferences} from '../../../src/lib/sync/listing-check.ts'
import type {ServerContext} from '../../../src/lib/sync/server-context.ts'

const ID = '20261103T020000'
const FIRST = '20261101T020000'
const SECOND = '20261102T020000'
const keys = new ArchiveKeys({prefix: 'p', server: 'pg'})

function object(id: string, name: string, sizeBytes = 3): ManifestObject {
  return {key: `base/${id}/${name}`, sizeBytes, crc32c: 0, sha256: ''}
}

/** Compares with a bucket that lists these, in this order, and says how often it was listed. */
async function find(referenced: readonly ManifestObject[], listed: readonly ManifestObject[], keysInMemory?: number) {
  const prefixes: string[] = []
  const store = {...createMemoryStore(), async* list(prefix: string) {
    prefixes.push(prefix)
    for (const {key, sizeBytes} of listed) {
      const absolute = keys.absolute(key)
      if (absolute.startsWith(prefix)) yield {key: absolute, sizeBytes, lastModified: new Date(0)}
    }
  }} as unknown as ObjectStore
  const context = {store, keys, signal: new AbortController().signal} as ServerContext
  const gone = await findGoneReferences(context, ID, async function* () {
    yield* referenced
  }, keysInMemory)
  return {...gone, keys: [...gone.keys].sort(), prefixes: [...new Set(prefixes)].sort()}
}

describe('references to earlier backups, compared with the listing', () => {
  const own = [object(ID, 'packs/0001.tar'), object(ID, 'data/own')]
  const first = Array.from({length: 30}, (_, index) => object(FIRST, `data/${index}`))
  const second = Array.from({length: 30}, (_, index) => object(SECOND, `data/${index}`, index))

  it('all there, in any order, among objects nobody refers to', async () => {
    const listed = [...second, object(FIRST, 'data/other'), ...first].reverse()
    expect(await find([...own, ...first, ...second], listed)).to.deep.equal({
      count: 0, keys: [], owners: [], prefixes: [keys.dataPrefix(FIRST), keys.dataPrefix(SECOND)],
    })
  })

  it('objects of its own are not looked at', async () => {
    expect(await find(own, [])).to.deep.equal({count: 0, keys: [], owners: [], prefixes: []})
  })

  for (const keysInMemory of [100_000, 20, 1]) {
    it(`names what is gone or of another size, with ${keysInMemory} keys in memory at a time`, async () => {
      const listed = [...first.filter((_, index) => index !== 7), ...second.map((each, index) => (index === 9 ? {...each, sizeBytes: 1} : each))]
      expect(await find([...own, ...first, ...second], listed, keysInMemory)).to.deep.include({count: 2, keys: [`base/${FIRST}/data/7`, `base/${SECOND}/data/9`], owners: []})
    })
  }

  it('two sizes exchanged are two that are gone', async () => {
    expect((await find([object(FIRST, 'a', 1), object(FIRST, 'b', 2)], [object(FIRST, 'a', 2), object(FIRST, 'b', 1)])).count).to.equal(2)
  })

  it('an owner of which nothing is left', async () => {
    expect((await find([...first, ...second], second)).keys).to.deep.equal(first.map(({key}) => key).sort())
  })

  it('more than can be remembered one by one cost the backup that owns them, and only that', async () => {
    const many = Array.from({length: 10_001}, (_, index) => object(FIRST, `many/${index}`))
    const gone = await find([...many, ...second], second)
    expect([gone.count, gone.owners]).to.deep.equal([10_001, [FIRST]])
    const fewer = await find([...many.slice(1), ...second], second)
    expect([fewer.count, fewer.keys.length, fewer.owners]).to.deep.equal([10_000, 10_000, []])
  })

  it('Barman\'s metadata under such a key is no data', async () => {
    expect((await find([object(FIRST, 'backup.info')], [object(FIRST, 'backup.info')])).count).to.equal(1)
  })
})

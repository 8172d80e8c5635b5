import {expect} from 'chai'
import {createMemoryStore} from '../../../src/lib/store/memory.ts'
import type {ObjectKey} from '../../../src/lib/store/object-store.ts'

const key = (text: string) => text as ObjectKey

describe('the memory store lets tests look inside', () => {
  it('storage class by kind, tags, content type and kind', async () => {
    const store = createMemoryStore({storageClass: {base: 'STANDARD_IA'}, tags: {owner: 'dba'}, now: () => new Date(5)})
    for (const kind of ['base', 'wal', 'meta'] as const)
      await store.put(key(kind), Buffer.from(kind), {kind, contentType: 'text/plain'})
    const seen = [...store.objects.values()].map(({kind, storageClass, tags, contentType, lastModified}) => [
      kind,
      storageClass,
      tags.owner,
      contentType,
      lastModified.getTime(),
    ])
    expect(seen).to.deep.equal([
      ['base', 'STANDARD_IA', 'dba', 'text/plain', 5],
      ['wal', 'STANDARD', 'dba', 'text/plain', 5],
      ['meta', 'STANDARD', 'dba', 'text/plain', 5],
    ])
  })

  it('requests by operation, pages of a list included', async () => {
    const store = createMemoryStore({pageSize: 2})
    for (const at of ['a', 'b', 'c', 'd', 'e']) await store.put(key(at), Buffer.from(at), {kind: 'wal'})
    for await (const _ of store.list('')) continue
    for await (const _ of store.list('none')) continue
    expect(store.requestCounts()).to.deep.equal({PutObject: 5, ListObjectsV2: 4})
  })

  it('a store without checksums still settles a conditional put by its bytes', async () => {
    const store = createMemoryStore({keepChecksums: false})
    await store.put(key('a'), Buffer.from('1'), {kind: 'wal'})
    expect((await store.head(key('a')))?.crc32c).to.equal(undefined)
    expect(await store.put(key('a'), Buffer.from('1'), {kind: 'wal', ifAbsent: true})).to.equal('stored')
    expect(await store.put(key('a'), Buffer.from('2'), {kind: 'wal', ifAbsent: true})).to.equal('exists')
  })

  it('a buffer that is used again before the answer spoils what is stored, as with a real store', async () => {
    const store = createMemoryStore()
    const buffer = Buffer.from('first')
    const done = store.put(key('a'), buffer, {kind: 'wal'})
    buffer.write('other')
    await done
    expect(String(store.objects.get('a')?.body)).to.equal('other')
    buffer.write('third')
    expect(String(store.objects.get('a')?.body)).to.equal('other')
  })
})

import {expect} from 'chai'
import {createDryRunStore, type DryRunStore} from '../../src/lib/store/dry-run.ts'
import {createMemoryStore, type MemoryStore} from '../../src/lib/store/memory.ts'
import type {ObjectKey} from '../../src/lib/store/object-store.ts'

const key = (text: string) => text as ObjectKey

describe('the dry-run store', () => {
  let inner: MemoryStore
  let store: DryRunStore
  beforeEach(async () => {
    inner = createMemoryStore()
    for (const at of ['base/1/a', 'base/2/b', 'wals/c'])
      await inner.put(key(at), Buffer.from(at), {kind: 'wal', metadata: {m: '1'}})
    store = createDryRunStore(inner)
  })

  it('reads what the store inside has', async () => {
    const listed = []
    for await (const object of store.list('base/', {startAfter: 'base/1/a'})) listed.push(object.key)
    expect(listed).to.deep.equal(['base/2/b'])
    expect(await store.listDirectories('base/')).to.deep.equal(['1', '2'])
    expect(await store.head(key('wals/c'))).to.deep.equal(await inner.head(key('wals/c')))
    expect(String(await store.get(key('wals/c'), {maxBytes: 100}))).to.equal('wals/c')
    const chunks = []
    for await (const chunk of (await store.getStream(key('wals/c'), {begin: 5})) ?? []) chunks.push(chunk)
    expect(Buffer.concat(chunks).toString()).to.equal('c')
    expect(store.limits).to.deep.equal(inner.limits)
    expect(store.requestCounts()).to.deep.equal(inner.requestCounts())
  })

  it('writes nothing and tells what it would have written', async () => {
    const before = new Map(inner.objects)
    await store.put(key('wals/d'), Buffer.from('1234'), {kind: 'wal'})
    await store.putStream(key('manifest'), chunksOf('ab', 'cde'), {kind: 'meta'})
    expect(await store.copy(key('wals/c'), key('wals/e'), {kind: 'wal'})).to.equal(true)
    expect(await store.copy(key('nothing'), key('wals/e'), {kind: 'wal'})).to.equal(false)
    const uploadId = await store.createUpload(key('big'), {kind: 'base'})
    const part = await store.uploadPart(key('big'), uploadId, 1, Buffer.from('part'))
    await store.completeUpload(key('big'), uploadId, [part], {crc32c: part.crc32c, sizeBytes: part.sizeBytes})
    await store.abortUpload(key('big'), uploadId)
    expect(await store.delete([key('wals/c')])).to.deep.equal([])
    expect(inner.objects).to.deep.equal(before)
    expect(inner.uploads.size).to.equal(0)
    expect(store.writes).to.deep.equal([
      {action: 'put', key: 'wals/d', kind: 'wal', sizeBytes: 4},
      {action: 'put', key: 'manifest', kind: 'meta', sizeBytes: 5},
      {action: 'copy', key: 'wals/e', kind: 'wal', sizeBytes: 6},
      {action: 'upload', key: 'big', kind: 'base', sizeBytes: 4},
      {action: 'delete', key: 'wals/c'},
    ])
  })

  it('answers a conditional put as the store would, by looking', async () => {
    const put = (at: string, text: string) => store.put(key(at), Buffer.from(text), {kind: 'wal', ifAbsent: true})
    expect(await put('wals/c', 'wals/c')).to.equal('stored')
    expect(await put('wals/c', 'wals/x')).to.equal('exists')
    expect(await put('wals/c', 'longer than it')).to.equal('exists')
    expect(await put('wals/new', 'new')).to.equal('stored')
    expect(store.writes.map((write) => write.key)).to.deep.equal(['wals/new'])
  })
})

async function* chunksOf(...texts: string[]): AsyncIterable<Uint8Array> {
  for (const text of texts) yield Buffer.from(text)
}

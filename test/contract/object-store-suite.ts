/**
 * What every ObjectStore must do. Run by the files beside this one on the memory store, the dry-run decorator (its reads)
 * and the S3 store on real servers. Where a server cannot do it, its file declares a deviation, and the suite then asserts
 * the deviating behaviour: a server that is mended makes the test fail, so the list stays true.
 */
import {randomBytes} from 'node:crypto'
import {expect} from 'chai'
import {combineCrc32c, crc32c} from '../../src/lib/store/checksum.ts'
import {StoreRefusedError} from '../../src/lib/errors.ts'
import {compareKeys} from '../../src/lib/store/key-order.ts'
import type {ListedObject, ObjectKey, ObjectStore, UploadedPart} from '../../src/lib/store/object-store.ts'

/** What a server does differently; each with the observation that the suite makes of it. */
export interface Deviations {
  /** A wrong CRC32C is accepted and the object stored (moto). */
  readonly acceptsWrongChecksum?: boolean
  /** The CRC32C of a multipart object is another value than that of the whole object (moto). */
  readonly wrongMultipartSum?: boolean
  /** A key cannot be below another key: `x` and `x/y` (versitygw). */
  readonly refusesKeyBelowKey?: boolean
  /** Characters of a key that do not come back in a list, or cannot be stored. */
  readonly spoiltCharacters?: readonly string[]
  /** The CRC32C of a copy is not that of its content (moto). */
  readonly wrongCopySum?: boolean
  /** After an abort UploadPart answers 500 instead of NoSuchUpload (moto). */
  readonly failsAfterAbort?: boolean
  /** A deleted folder stays a CommonPrefix for a while (SeaweedFS). */
  readonly keepsEmptyFolders?: boolean
}

export interface Subject {
  /** A store on an empty bucket. Called before each test. */
  open(): Promise<ObjectStore>
  /** Bytes of a part that is not the last; small where the store allows it. */
  readonly partBytes: number
  readonly deviations?: Deviations
}

const key = (text: string) => text as ObjectKey

async function listAll(store: ObjectStore, prefix: string, startAfter?: string): Promise<ListedObject[]> {
  const objects: ListedObject[] = []
  for await (const object of store.list(prefix, startAfter === undefined ? {} : {startAfter})) objects.push(object)
  return objects
}

async function listKeys(store: ObjectStore, prefix: string, startAfter?: string): Promise<string[]> {
  return (await listAll(store, prefix, startAfter)).map((object) => object.key)
}

async function readAll(stream: AsyncIterable<Uint8Array> | undefined): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream ?? []) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work
  } catch (error) {
    return error
  }

  return undefined
}

/** Declares the tests of the contract for one store. */
export function describeObjectStore(name: string, subject: Subject): void {
  const {deviations = {}} = subject
  let store: ObjectStore

  describe(`the object store contract on ${name}`, () => {
    beforeEach(async () => {
      store = await subject.open()
    })
    afterEach(() => store?.close())

    const put = (at: string, text: string | Buffer, more: {ifAbsent?: boolean; metadata?: Record<string, string>} = {}) =>
      store.put(key(at), Buffer.from(text), {kind: 'wal', ...more})

    describe('put, head and get', () => {
      it('give back what was put, with size, checksum and metadata', async () => {
        const body = randomBytes(70_000)
        expect(await put('wals/a', body, {metadata: {mtime: '1790000000', 'x-y': 'a b=c'}})).to.equal('stored')
        const stat = await store.head(key('wals/a'))
        expect(stat).to.include({key: 'wals/a', sizeBytes: 70_000, crc32c: crc32c(body), storageClass: 'STANDARD'})
        expect(stat?.metadata).to.deep.equal({mtime: '1790000000', 'x-y': 'a b=c'})
        expect(Math.abs((stat?.lastModified.getTime() ?? 0) - Date.now())).to.be.below(60_000)
        expect((await store.get(key('wals/a'), {maxBytes: 70_000}))?.equals(body)).to.equal(true)
      })

      it('take an empty object', async () => {
        await put('empty', '')
        expect(await store.head(key('empty'))).to.include({sizeBytes: 0, crc32c: 0})
        expect(await store.get(key('empty'), {maxBytes: 0})).to.have.length(0)
        expect(await readAll(await store.getStream(key('empty')))).to.have.length(0)
        expect(await listAll(store, 'empty')).to.have.length(1)
      })

      it('answer undefined for a key that is not there', async () => {
        expect(await store.head(key('nothing'))).to.equal(undefined)
        expect(await store.get(key('nothing'), {maxBytes: 10})).to.equal(undefined)
        expect(await store.getStream(key('nothing'))).to.equal(undefined)
      })

      it('replace an object when no condition is given', async () => {
        await put('a', 'first')
        expect(await put('a', 'second')).to.equal('stored')
        expect(String(await store.get(key('a'), {maxBytes: 100}))).to.equal('second')
      })

      it('refuse to read more than the caller expects', async () => {
        await put('a', '12345')
        const error = await errorOf(store.get(key('a'), {maxBytes: 4}))
        expect(error).to.be.instanceOf(StoreRefusedError)
        expect(error).to.include({scope: 'request', storeCode: 'ObjectTooLarge'})
      })

      it('check the CRC32C that comes with the body, and keep the old object', async () => {
        await put('a', 'first')
        const error = await errorOf(store.put(key('a'), Buffer.from('other'), {kind: 'wal', crc32c: 1}))
        if (deviations.acceptsWrongChecksum) {
          expect(error).to.equal(undefined)
          expect(String(await store.get(key('a'), {maxBytes: 100}))).to.equal('other')
          return
        }

        expect(error).to.be.instanceOf(StoreRefusedError)
        expect((error as StoreRefusedError).scope).to.equal('request')
        expect(String(await store.get(key('a'), {maxBytes: 100}))).to.equal('first')
      })

      it('refuse metadata that a store would spoil, and keys without a name', async () => {
        expect(await errorOf(put('a', 'x', {metadata: {Upper: '1'}}))).to.be.instanceOf(TypeError)
        expect(await errorOf(put('a', 'x', {metadata: {m: ''}}))).to.be.instanceOf(TypeError)
        expect(await errorOf(put('a', 'x', {metadata: {m: 'ü'}}))).to.be.instanceOf(TypeError)
        expect(await errorOf(put('/a', 'x'))).to.be.instanceOf(TypeError)
        expect(await listAll(store, '')).to.have.length(0)
      })
    })

    describe('put with ifAbsent', () => {
      it('writes when nothing is there, says stored for the same body and exists for another, and replaces nothing', async () => {
        expect(await put('a', 'one', {ifAbsent: true})).to.equal('stored')
        expect(await put('a', 'one', {ifAbsent: true})).to.equal('stored')
        expect(await put('a', 'two', {ifAbsent: true})).to.equal('exists')
        expect(await put('a', 'longer', {ifAbsent: true})).to.equal('exists')
        expect(String(await store.get(key('a'), {maxBytes: 100}))).to.equal('one')
      })

      it('tells files apart that have the same CRC32C', async () => {
        // Like pg_control: content followed by its own CRC32C, little end first, makes the sum a constant.
        const withOwnSum = (text: string) => {
          const content = Buffer.from(text)
          const sum = Buffer.alloc(4)
          sum.writeUInt32LE(crc32c(content))
          return Buffer.concat([content, sum])
        }

        const [first, second] = [withOwnSum('control file 1'), withOwnSum('control file 2')]
        expect(crc32c(first)).to.equal(crc32c(second))
        await put('pg_control', first, {ifAbsent: true})
        expect(await put('pg_control', second, {ifAbsent: true})).to.equal('exists')
      })

      it('lets exactly one of many writers win', async () => {
        const outcomes = await Promise.all(Array.from({length: 8}, (_, index) => put('race', `writer ${index}`, {ifAbsent: true})))
        expect(outcomes.filter((outcome) => outcome === 'stored')).to.have.length(1)
        const winner = String(await store.get(key('race'), {maxBytes: 100}))
        expect(winner).to.equal(`writer ${outcomes.indexOf('stored')}`)
      })

      it('settles large bodies by size and checksum', async () => {
        const body = randomBytes(2 * 1024 * 1024)
        expect(await put('wal', body, {ifAbsent: true})).to.equal('stored')
        expect(await put('wal', body, {ifAbsent: true})).to.equal('stored')
        expect(await put('wal', randomBytes(body.length), {ifAbsent: true})).to.equal('exists')
        expect((await store.get(key('wal'), {maxBytes: body.length}))?.equals(body)).to.equal(true)
      })
    })

    describe('getStream', () => {
      const body = randomBytes(200_000)
      beforeEach(() => put('object', body))

      it('yields the whole object or the range, both ends included', async () => {
        const range = (options: {begin?: number; end?: number}) => store.getStream(key('object'), options).then(readAll)
        expect((await range({})).equals(body)).to.equal(true)
        expect((await range({begin: 150_000})).equals(body.subarray(150_000))).to.equal(true)
        expect((await range({begin: 10, end: 10})).equals(body.subarray(10, 11))).to.equal(true)
        expect((await range({begin: 0, end: 99_999})).equals(body.subarray(0, 100_000))).to.equal(true)
        expect((await range({begin: 199_990, end: 300_000})).equals(body.subarray(199_990))).to.equal(true)
      })

      it('is refused behind the end of the object', async () => {
        const error = await errorOf(store.getStream(key('object'), {begin: 200_000}).then(readAll))
        expect(error).to.be.instanceOf(StoreRefusedError)
        expect(error).to.include({storeCode: 'InvalidRange', scope: 'request'})
      })

      it('can be left before its end', async () => {
        for await (const chunk of (await store.getStream(key('object'))) ?? []) {
          expect(chunk.length).to.be.above(0)
          break
        }

        expect(await store.head(key('object'))).to.include({sizeBytes: 200_000})
      })
    })

    describe('list', () => {
      it('yields what begins with the prefix, with sizes and times', async () => {
        for (const at of ['wals/1/a', 'wals/1/b', 'wals/2/c', 'walsx']) await put(at, at)
        const objects = await listAll(store, 'wals/')
        expect(objects.map((object) => object.key)).to.have.members(['wals/1/a', 'wals/1/b', 'wals/2/c'])
        for (const object of objects) {
          expect(object.sizeBytes).to.equal(object.key.length)
          expect(Math.abs(object.lastModified.getTime() - Date.now())).to.be.below(60_000)
        }

        expect(await listKeys(store, 'none/')).to.deep.equal([])
      })

      it('gives names with blanks, signs and other scripts back exactly (C22)', async () => {
        const names = ['a b', 'a+b', '100%', 'a%2Bb', 'x#y?z&=', 'q"\'', '~t', '..h', 'end.', '<x>', '&amp;', 'ü', '日本', 'e\u0301', '\u{1F600}', '*(!)', 'a=b', 'a:b;c,d', '@$', 'tr. ']
        for (const at of names) await put(`n/${at}`, at)
        expect((await listKeys(store, 'n/')).map((at) => at.slice(2))).to.have.members(names)
        for (const at of names) expect(String(await store.get(key(`n/${at}`), {maxBytes: 100}))).to.equal(at)
        expect(await store.delete(names.map((at) => key(`n/${at}`)))).to.deep.equal([])
        expect(await listKeys(store, 'n/')).to.deep.equal([])
      })

      for (const [character, label] of [['\t', 'TAB'], ['\n', 'newline'], ['\r', 'CR'], ['\b', '\\x08'], ['\\', 'backslash']] as const) {
        const isSpoilt = deviations.spoiltCharacters?.includes(character) ?? false
        it(`${isSpoilt ? 'does not give back' : 'gives back'} a name with ${label} (C22)`, async () => {
          const at = `c/x${character}y`
          const outcome = await errorOf(put(at, 'x'))
          const found = outcome === undefined ? await listKeys(store, 'c/') : []
          if (isSpoilt) {
            expect(found).not.to.deep.equal([at])
            return
          }

          expect(found).to.deep.equal([at])
          expect(await store.delete([key(at)])).to.deep.equal([])
          expect(await listKeys(store, 'c/')).to.deep.equal([])
        })
      }

      it('sorts by UTF-8 bytes within a page', async () => {
        const names = ['b', 'B', 'a-', 'a.', 'a/x', 'a0', '\u{1F600}', '\uE000', 'ü', '~']
        for (const at of names) await put(`s/${at}`, at)
        const keys = (await listKeys(store, 's/')).map((at) => at.slice(2))
        expect(keys).to.deep.equal([...names].sort(compareKeys))
      })

      it('begins after startAfter, also where that is no key or before the prefix', async () => {
        const names = ['w/1', 'w/2', 'w/2.x', 'w/3/a', 'w/3/b', 'w/4']
        for (const at of names) await put(at, at)
        expect(await listKeys(store, 'w/', 'w/2')).to.have.members(['w/2.x', 'w/3/a', 'w/3/b', 'w/4'])
        expect(await listKeys(store, 'w/', 'w/25')).to.have.members(['w/3/a', 'w/3/b', 'w/4'])
        expect(await listKeys(store, 'w/', 'w/3/a')).to.have.members(['w/3/b', 'w/4'])
        expect(await listKeys(store, 'w/', 'w/4')).to.deep.equal([])
        expect(await listKeys(store, 'w/', 'a')).to.have.members(names)
        expect(await listKeys(store, 'w/', 'x')).to.deep.equal([])
      })

      it('misses nothing after startAfter where folder order and byte order differ', async () => {
        const names = ['f/a-b', 'f/a.b', 'f/a/x', 'f/a/y', 'f/a0', 'f/b']
        for (const at of names) await put(at, at)
        for (const from of [...names, 'f/a', 'f/a/', 'f/a-', 'f/a.', 'f/a/xx']) {
          const wanted = names.filter((at) => compareKeys(at, from) > 0)
          expect(await listKeys(store, 'f/', from), `after ${from}`).to.have.members(wanted)
        }
      })

      it('goes through pages', async function () {
        this.timeout(60_000)
        const names = Array.from({length: 1005}, (_, index) => `p/${String(index).padStart(5, '0')}`)
        await inParallel(names, (at) => put(at, ''))
        expect(await listKeys(store, 'p/')).to.deep.equal(names)
        expect(await listKeys(store, 'p/', names[1000])).to.deep.equal(names.slice(1001))
        expect(await store.delete(names.map(key))).to.deep.equal([])
        expect(await listKeys(store, 'p/')).to.deep.equal([])
      })

      it('sees what was just written and not what was just deleted', async () => {
        for (let round = 0; round < 10; round++) {
          await put(`r/${round}`, 'x')
          expect(await listKeys(store, 'r/')).to.deep.equal([`r/${round}`])
          await store.delete([key(`r/${round}`)])
          expect(await listKeys(store, 'r/')).to.deep.equal([])
        }
      })

      it(`${deviations.refusesKeyBelowKey ? 'cannot have' : 'has'} a key below another key`, async () => {
        await put('x', '1')
        const error = await errorOf(put('x/y', '2'))
        if (deviations.refusesKeyBelowKey) expect(error).to.be.instanceOf(StoreRefusedError).and.to.include({scope: 'request'})
        else expect(await listKeys(store, 'x')).to.have.members(['x', 'x/y'])
      })
    })

    describe('listDirectories', () => {
      it('names what has keys below it, sorted by bytes, and no keys', async () => {
        for (const at of ['base/20260101T000000/data/a', 'base/20260101T000000/b', 'base/20251231T000000/c', 'base/file', 'base/a b+c%/x', 'other/z']) {
          await put(at, 'x')
        }

        expect(await store.listDirectories('base/')).to.deep.equal(['20251231T000000', '20260101T000000', 'a b+c%'])
        expect(await store.listDirectories('none/')).to.deep.equal([])
      })

      it('does not keep a name whose keys are gone, or is known to', async () => {
        await put('base/one/a', 'x')
        await put('base/two/a', 'x')
        await store.delete([key('base/one/a')])
        expect(await store.listDirectories('base/')).to.deep.equal(deviations.keepsEmptyFolders ? ['one', 'two'] : ['two'])
      })
    })

    describe('copy', () => {
      it('makes an object of the same content with the given metadata', async () => {
        const body = randomBytes(30_000)
        await put('a b+c/ü%', body, {metadata: {mtime: '1'}})
        expect(await store.copy(key('a b+c/ü%'), key('copy'), {kind: 'base', metadata: {mtime: '2'}})).to.equal(true)
        expect((await store.get(key('copy'), {maxBytes: 30_000}))?.equals(body)).to.equal(true)
        const stat = await store.head(key('copy'))
        expect(stat).to.include({sizeBytes: 30_000})
        if (deviations.wrongCopySum) expect(stat?.crc32c).not.to.equal(crc32c(body))
        else expect(stat?.crc32c).to.equal(crc32c(body))
        expect(stat?.metadata).to.deep.equal({mtime: '2'})
      })

      it('says false when the source is not there', async () => {
        expect(await store.copy(key('nothing'), key('copy'), {kind: 'base'})).to.equal(false)
        expect(await store.head(key('copy'))).to.equal(undefined)
      })
    })

    describe('delete', () => {
      it('counts a key that is not there as deleted, and takes no keys at all', async () => {
        await put('a', '1')
        await put('b', '2')
        expect(await store.delete([key('a'), key('nothing')])).to.deep.equal([])
        expect(await store.delete([])).to.deep.equal([])
        expect(await listKeys(store, '')).to.deep.equal(['b'])
      })
    })

    describe('putStream', () => {
      for (const sizeBytes of [0, 100_000, 17 * 1024 * 1024]) {
        it(`stores a stream of ${sizeBytes} bytes`, async function () {
          this.timeout(30_000)
          const body = randomBytes(sizeBytes)
          await store.putStream(key('manifest'), inChunks(body, 100_003), {kind: 'meta', metadata: {m: '1'}})
          expect((await store.get(key('manifest'), {maxBytes: sizeBytes}))?.equals(body)).to.equal(true)
          expect((await store.head(key('manifest')))?.metadata).to.deep.equal({m: '1'})
          expect(await store.listUploads(key('manifest'))).to.deep.equal([])
        })
      }

      it('leaves the old object and no open upload when the stream fails', async () => {
        await put('manifest', 'old')
        const failing = async function* () {
          yield randomBytes(9 * 1024 * 1024)
          throw new Error('the disk is gone')
        }

        const error = await errorOf(store.putStream(key('manifest'), failing(), {kind: 'meta'}))
        expect(error).to.be.instanceOf(Error).with.property('message', 'the disk is gone')
        expect(String(await store.get(key('manifest'), {maxBytes: 100}))).to.equal('old')
        expect(await store.listUploads(key('manifest'))).to.deep.equal([])
      })
    })

    describe('multipart uploads', () => {
      const upload = async (at: string, bodies: Buffer[]) => {
        const uploadId = await store.createUpload(key(at), {kind: 'base', metadata: {mtime: '7'}})
        const parts: UploadedPart[] = []
        for (const [index, body] of bodies.entries()) parts.push(await store.uploadPart(key(at), uploadId, index + 1, body))
        const sum = parts.reduce((before, part) => combineCrc32c(before, part.crc32c, part.sizeBytes), 0)
        return {uploadId, parts, whole: {crc32c: sum, sizeBytes: Buffer.concat(bodies).length}, body: Buffer.concat(bodies)}
      }

      const twoParts = () => [randomBytes(subject.partBytes), randomBytes(1234)]

      it('make one object of the parts, with metadata and the checksum of the whole', async () => {
        const {uploadId, parts, whole, body} = await upload('big', twoParts())
        expect(whole.crc32c).to.equal(crc32c(body))
        expect(await store.head(key('big'))).to.equal(undefined)
        await store.completeUpload(key('big'), uploadId, parts, whole)
        const stat = await store.head(key('big'))
        expect(stat).to.include({sizeBytes: body.length})
        expect(stat?.metadata).to.deep.equal({mtime: '7'})
        if (deviations.wrongMultipartSum) expect(stat?.crc32c).not.to.equal(whole.crc32c)
        else expect(stat?.crc32c).to.equal(whole.crc32c)
        expect((await store.get(key('big'), {maxBytes: body.length}))?.equals(body)).to.equal(true)
      })

      it('take a part again, in any order, and can be completed twice', async () => {
        const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = twoParts()
        const uploadId = await store.createUpload(key('big'), {kind: 'base'})
        const partTwo = await store.uploadPart(key('big'), uploadId, 2, second, {crc32c: crc32c(second)})
        await store.uploadPart(key('big'), uploadId, 1, first)
        const partOne = await store.uploadPart(key('big'), uploadId, 1, first)
        const whole = {crc32c: crc32c(Buffer.concat([first, second])), sizeBytes: first.length + second.length}
        await store.completeUpload(key('big'), uploadId, [partOne, partTwo], whole)
        await store.completeUpload(key('big'), uploadId, [partOne, partTwo], whole)
        expect(await store.head(key('big'))).to.include({sizeBytes: whole.sizeBytes})
      })

      it('are not completed with a wrong checksum of the whole, and then with the right one', async () => {
        const {uploadId, parts, whole} = await upload('big', twoParts())
        const error = await errorOf(store.completeUpload(key('big'), uploadId, parts, {...whole, crc32c: (whole.crc32c ^ 1) >>> 0}))
        expect(error).to.be.instanceOf(StoreRefusedError)
        if (deviations.acceptsWrongChecksum) {
          // Found out only by reading back what was stored.
          expect(await store.head(key('big'))).to.include({sizeBytes: whole.sizeBytes})
          return
        }

        expect(await store.head(key('big'))).to.equal(undefined)
        await store.completeUpload(key('big'), uploadId, parts, whole)
        expect(await store.head(key('big'))).to.include({sizeBytes: whole.sizeBytes})
      })

      it('refuse a part with a wrong checksum', async () => {
        const uploadId = await store.createUpload(key('big'), {kind: 'base'})
        const error = await errorOf(store.uploadPart(key('big'), uploadId, 1, Buffer.from('part'), {crc32c: 1}))
        if (deviations.acceptsWrongChecksum) expect(error).to.equal(undefined)
        else expect(error).to.be.instanceOf(StoreRefusedError)
        await store.abortUpload(key('big'), uploadId)
      })

      it('are listed for exactly their key until they are completed or aborted', async () => {
        const first = await store.createUpload(key('big'), {kind: 'base'})
        const second = await store.createUpload(key('big'), {kind: 'base'})
        await store.createUpload(key('bigger'), {kind: 'base'})
        expect(await store.listUploads(key('big'))).to.have.members([first, second])
        await store.abortUpload(key('big'), first)
        await store.abortUpload(key('big'), first)
        expect(await store.listUploads(key('big'))).to.deep.equal([second])
        expect(await store.listUploads(key('other'))).to.deep.equal([])
        expect(await listKeys(store, '')).to.deep.equal([])
      })

      it('are refused after an abort', async function () {
        this.timeout(30_000)
        const {uploadId, parts, whole} = await upload('big', twoParts())
        await store.abortUpload(key('big'), uploadId)
        for (const error of [
          await errorOf(store.uploadPart(key('big'), uploadId, 1, Buffer.from('part'))),
          await errorOf(store.completeUpload(key('big'), uploadId, parts, whole)),
        ]) {
          expect(error).to.be.instanceOf(StoreRefusedError)
          expect(error).to.include({scope: 'request', storeCode: deviations.failsAfterAbort ? 'InternalError' : 'NoSuchUpload'})
        }

        expect(await store.head(key('big'))).to.equal(undefined)
      })
    })

    describe('every method', () => {
      it("rejects with the signal's reason when it is aborted", async () => {
        await put('a', 'x')
        const reason = new Error('stop')
        const signal = AbortSignal.abort(reason)
        const uploadId = await store.createUpload(key('u'), {kind: 'base'})
        const body = Buffer.from('x')
        const attempts = [
          listFirst(store, signal),
          store.listDirectories('a/', {signal}),
          store.head(key('a'), {signal}),
          store.get(key('a'), {maxBytes: 10, signal}),
          store.getStream(key('a'), {signal}),
          store.put(key('b'), body, {kind: 'wal', signal}),
          store.put(key('b'), body, {kind: 'wal', ifAbsent: true, signal}),
          store.putStream(key('b'), inChunks(body, 1), {kind: 'meta', signal}),
          store.copy(key('a'), key('b'), {kind: 'wal', signal}),
          store.createUpload(key('b'), {kind: 'wal', signal}),
          store.uploadPart(key('u'), uploadId, 1, body, {signal}),
          store.completeUpload(key('u'), uploadId, [], {crc32c: 0, sizeBytes: 0}, {signal}),
          store.listUploads(key('u'), {signal}),
          store.delete([key('a')], {signal}),
        ]
        for (const [index, attempt] of attempts.entries()) expect(await errorOf(attempt), `method ${index}`).to.equal(reason)
        await store.abortUpload(key('u'), uploadId)
        expect(await listKeys(store, '')).to.deep.equal(['a'])
      })

      it('is counted by the operation it needs', async () => {
        const before = store.requestCounts()
        await put('a', 'x')
        await store.get(key('a'), {maxBytes: 10})
        await listKeys(store, '')
        const after = store.requestCounts()
        for (const operation of ['PutObject', 'GetObject', 'ListObjectsV2']) {
          expect((after[operation] ?? 0) - (before[operation] ?? 0), operation).to.equal(1)
        }
      })
    })
  })
}

async function listFirst(store: ObjectStore, signal: AbortSignal): Promise<void> {
  for await (const _ of store.list('', {signal})) return
}

async function* inChunks(body: Buffer, chunkBytes: number): AsyncIterable<Uint8Array> {
  for (let begin = 0; begin < body.length; begin += chunkBytes) yield body.subarray(begin, begin + chunkBytes)
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const queue = [...items]
  await Promise.all(
    Array.from({length: 16}, async () => {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item)
    }),
  )
}

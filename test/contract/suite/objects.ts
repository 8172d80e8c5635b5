import {randomBytes} from 'node:crypto'
import {expect} from 'chai'
import {StoreRefusedError} from '../../../src/lib/errors.ts'
import {crc32c} from '../../../src/lib/store/checksum.ts'
import {key, listAll, readAll, errorOf, type Suite} from './suite.ts'

/** Single objects. */
export function describeObjects(suite: Suite): void {
  describe('put, head and get', () => {
    it('give back what was put, with size, checksum and metadata', async () => {
      const body = randomBytes(70_000)
      expect(await suite.put('wals/a', body, {metadata: {mtime: '1790000000', 'x-y': 'a b=c'}})).to.equal('stored')
      const stat = await suite.store.head(key('wals/a'))
      expect(stat).to.include({key: 'wals/a', sizeBytes: 70_000, crc32c: crc32c(body), storageClass: 'STANDARD'})
      expect(stat?.metadata).to.deep.equal({mtime: '1790000000', 'x-y': 'a b=c'})
      expect(Math.abs((stat?.lastModified.getTime() ?? 0) - Date.now())).to.be.below(60_000)
      expect((await suite.store.get(key('wals/a'), {maxBytes: 70_000}))?.equals(body)).to.equal(true)
    })

    it('take an empty object', async () => {
      await suite.put('empty', '')
      expect(await suite.store.head(key('empty'))).to.include({sizeBytes: 0, crc32c: 0})
      expect(await suite.store.get(key('empty'), {maxBytes: 0})).to.have.length(0)
      expect(await readAll(await suite.store.getStream(key('empty')))).to.have.length(0)
      expect(await listAll(suite.store, 'empty')).to.have.length(1)
    })

    it('answer undefined for a key that is not there', async () => {
      expect(await suite.store.head(key('nothing'))).to.equal(undefined)
      expect(await suite.store.get(key('nothing'), {maxBytes: 10})).to.equal(undefined)
      expect(await suite.store.getStream(key('nothing'))).to.equal(undefined)
    })

    it('replace an object when no condition is given', async () => {
      await suite.put('a', 'first')
      expect(await suite.put('a', 'second')).to.equal('stored')
      expect(String(await suite.store.get(key('a'), {maxBytes: 100}))).to.equal('second')
    })

    it('refuse to read more than the caller expects', async () => {
      await suite.put('a', '12345')
      const error = await errorOf(suite.store.get(key('a'), {maxBytes: 4}))
      expect(error).to.be.instanceOf(StoreRefusedError)
      expect(error).to.include({scope: 'request', storeCode: 'ObjectTooLarge'})
    })

    it('check the CRC32C that comes with the body, and keep the old object', async () => {
      await suite.put('a', 'first')
      const error = await errorOf(suite.store.put(key('a'), Buffer.from('other'), {kind: 'wal', crc32c: 1}))
      if (suite.deviations.acceptsWrongChecksum) {
        expect(error).to.equal(undefined)
        expect(String(await suite.store.get(key('a'), {maxBytes: 100}))).to.equal('other')
        return
      }

      expect(error).to.be.instanceOf(StoreRefusedError)
      expect((error as StoreRefusedError).scope).to.equal('request')
      expect(String(await suite.store.get(key('a'), {maxBytes: 100}))).to.equal('first')
    })

    it('refuse metadata that a store would spoil, and keys without a name', async () => {
      expect(await errorOf(suite.put('a', 'x', {metadata: {Upper: '1'}}))).to.be.instanceOf(TypeError)
      expect(await errorOf(suite.put('a', 'x', {metadata: {m: ''}}))).to.be.instanceOf(TypeError)
      expect(await errorOf(suite.put('a', 'x', {metadata: {m: 'ü'}}))).to.be.instanceOf(TypeError)
      expect(await errorOf(suite.put('/a', 'x'))).to.be.instanceOf(TypeError)
      expect(await listAll(suite.store, '')).to.have.length(0)
    })
  })

  describe('put with ifAbsent', () => {
    it('writes when nothing is there, says stored for the same body and exists for another, and replaces nothing', async () => {
      expect(await suite.put('a', 'one', {ifAbsent: true})).to.equal('stored')
      expect(await suite.put('a', 'one', {ifAbsent: true})).to.equal('stored')
      expect(await suite.put('a', 'two', {ifAbsent: true})).to.equal('exists')
      expect(await suite.put('a', 'longer', {ifAbsent: true})).to.equal('exists')
      expect(String(await suite.store.get(key('a'), {maxBytes: 100}))).to.equal('one')
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
      await suite.put('pg_control', first, {ifAbsent: true})
      expect(await suite.put('pg_control', second, {ifAbsent: true})).to.equal('exists')
    })

    it('lets exactly one of many writers win', async () => {
      const outcomes = await Promise.all(
        Array.from({length: 8}, (_, index) => suite.put('race', `writer ${index}`, {ifAbsent: true})),
      )
      expect(outcomes.filter((outcome) => outcome === 'stored')).to.have.length(1)
      const winner = String(await suite.store.get(key('race'), {maxBytes: 100}))
      expect(winner).to.equal(`writer ${outcomes.indexOf('stored')}`)
    })

    it('settles large bodies by size and checksum', async () => {
      const body = randomBytes(2 * 1024 * 1024)
      expect(await suite.put('wal', body, {ifAbsent: true})).to.equal('stored')
      expect(await suite.put('wal', body, {ifAbsent: true})).to.equal('stored')
      expect(await suite.put('wal', randomBytes(body.length), {ifAbsent: true})).to.equal('exists')
      expect((await suite.store.get(key('wal'), {maxBytes: body.length}))?.equals(body)).to.equal(true)
    })
  })

  describe('getStream', () => {
    const body = randomBytes(200_000)
    beforeEach(() => suite.put('object', body))

    it('yields the whole object or the range, both ends included', async () => {
      const range = (options: {begin?: number; end?: number}) => suite.store.getStream(key('object'), options).then(readAll)
      expect((await range({})).equals(body)).to.equal(true)
      expect((await range({begin: 150_000})).equals(body.subarray(150_000))).to.equal(true)
      expect((await range({begin: 10, end: 10})).equals(body.subarray(10, 11))).to.equal(true)
      expect((await range({begin: 0, end: 99_999})).equals(body.subarray(0, 100_000))).to.equal(true)
      expect((await range({begin: 199_990, end: 300_000})).equals(body.subarray(199_990))).to.equal(true)
    })

    it('is refused behind the end of the object', async () => {
      const error = await errorOf(suite.store.getStream(key('object'), {begin: 200_000}).then(readAll))
      expect(error).to.be.instanceOf(StoreRefusedError)
      expect(error).to.include({storeCode: 'InvalidRange', scope: 'request'})
    })

    it('can be left before its end', async () => {
      for await (const chunk of (await suite.store.getStream(key('object'))) ?? []) {
        expect(chunk.length).to.be.above(0)
        break
      }

      expect(await suite.store.head(key('object'))).to.include({sizeBytes: 200_000})
    })
  })
}

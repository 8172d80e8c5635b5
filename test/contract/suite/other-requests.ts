import {randomBytes} from 'node:crypto'
import {expect} from 'chai'
import {crc32c} from '../../../src/lib/store/checksum.ts'
import {key, listKeys, errorOf, listFirst, inChunks, type Suite} from './suite.ts'

/** Copies, deletes, and what all methods have in common. */
export function describeOtherRequests(suite: Suite): void {
  describe('copy', () => {
    it('makes an object of the same content with the given metadata', async () => {
      const body = randomBytes(30_000)
      await suite.put('a b+c/ü%', body, {metadata: {mtime: '1'}})
      expect(await suite.store.copy(key('a b+c/ü%'), key('copy'), {kind: 'base', metadata: {mtime: '2'}})).to.equal(true)
      expect((await suite.store.get(key('copy'), {maxBytes: 30_000}))?.equals(body)).to.equal(true)
      const stat = await suite.store.head(key('copy'))
      expect(stat).to.include({sizeBytes: 30_000})
      if (suite.deviations.wrongCopySum) expect(stat?.crc32c).not.to.equal(crc32c(body))
      else expect(stat?.crc32c).to.equal(crc32c(body))
      expect(stat?.metadata).to.deep.equal({mtime: '2'})
    })

    it('says false when the source is not there', async () => {
      expect(await suite.store.copy(key('nothing'), key('copy'), {kind: 'base'})).to.equal(false)
      expect(await suite.store.head(key('copy'))).to.equal(undefined)
    })
  })

  describe('delete', () => {
    it('counts a key that is not there as deleted, and takes no keys at all', async () => {
      await suite.put('a', '1')
      await suite.put('b', '2')
      expect(await suite.store.delete([key('a'), key('nothing')])).to.deep.equal([])
      expect(await suite.store.delete([])).to.deep.equal([])
      expect(await listKeys(suite.store, '')).to.deep.equal(['b'])
    })
  })

  describe('every method', () => {
    it("rejects with the signal's reason when it is aborted", async () => {
      await suite.put('a', 'x')
      const reason = new Error('stop')
      const signal = AbortSignal.abort(reason)
      const uploadId = await suite.store.createUpload(key('u'), {kind: 'base'})
      const body = Buffer.from('x')
      const attempts = [
        listFirst(suite.store, signal),
        suite.store.listDirectories('a/', {signal}),
        suite.store.head(key('a'), {signal}),
        suite.store.get(key('a'), {maxBytes: 10, signal}),
        suite.store.getStream(key('a'), {signal}),
        suite.store.put(key('b'), body, {kind: 'wal', signal}),
        suite.store.put(key('b'), body, {kind: 'wal', ifAbsent: true, signal}),
        suite.store.putStream(key('b'), inChunks(body, 1), {kind: 'meta', signal}),
        suite.store.copy(key('a'), key('b'), {kind: 'wal', signal}),
        suite.store.createUpload(key('b'), {kind: 'wal', signal}),
        suite.store.uploadPart(key('u'), uploadId, 1, body, {signal}),
        suite.store.completeUpload(key('u'), uploadId, [], {crc32c: 0, sizeBytes: 0}, {signal}),
        suite.store.listUploads(key('u'), {signal}),
        suite.store.delete([key('a')], {signal}),
      ]
      for (const [index, attempt] of attempts.entries()) expect(await errorOf(attempt), `method ${index}`).to.equal(reason)
      await suite.store.abortUpload(key('u'), uploadId)
      expect(await listKeys(suite.store, '')).to.deep.equal(['a'])
    })

    it('is counted by the operation it needs', async () => {
      const before = suite.store.requestCounts()
      await suite.put('a', 'x')
      await suite.store.get(key('a'), {maxBytes: 10})
      await listKeys(suite.store, '')
      const after = suite.store.requestCounts()
      for (const operation of ['PutObject', 'GetObject', 'ListObjectsV2']) {
        expect((after[operation] ?? 0) - (before[operation] ?? 0), operation).to.equal(1)
      }
    })
  })
}

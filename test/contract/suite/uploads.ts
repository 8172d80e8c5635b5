import {randomBytes} from 'node:crypto'
import {expect} from 'chai'
import {StoreRefusedError} from '../../../src/lib/errors.ts'
import {combineCrc32c, crc32c} from '../../../src/lib/store/checksum.ts'
import type {UploadedPart} from '../../../src/lib/store/object-store.ts'
import {key, listKeys, errorOf, inChunks, type Suite} from './suite.ts'

/** Streams and multipart uploads. */
export function describeUploads(suite: Suite): void {
  describe('putStream', () => {
    for (const sizeBytes of [0, 100_000, 17 * 1024 * 1024]) {
      it(`stores a stream of ${sizeBytes} bytes`, async function () {
        this.timeout(30_000)
        const body = randomBytes(sizeBytes)
        await suite.store.putStream(key('manifest'), inChunks(body, 100_003), {kind: 'meta', metadata: {m: '1'}})
        expect((await suite.store.get(key('manifest'), {maxBytes: sizeBytes}))?.equals(body)).to.equal(true)
        expect((await suite.store.head(key('manifest')))?.metadata).to.deep.equal({m: '1'})
        expect(await suite.store.listUploads(key('manifest'))).to.deep.equal([])
      })
    }

    it('leaves the old object and no open upload when the stream fails', async () => {
      await suite.put('manifest', 'old')
      const failing = async function* () {
        yield randomBytes(9 * 1024 * 1024)
        throw new Error('the disk is gone')
      }

      const error = await errorOf(suite.store.putStream(key('manifest'), failing(), {kind: 'meta'}))
      expect(error).to.be.instanceOf(Error).with.property('message', 'the disk is gone')
      expect(String(await suite.store.get(key('manifest'), {maxBytes: 100}))).to.equal('old')
      expect(await suite.store.listUploads(key('manifest'))).to.deep.equal([])
    })
  })

  describe('multipart uploads', () => {
    const upload = async (at: string, bodies: Buffer[]) => {
      const uploadId = await suite.store.createUpload(key(at), {kind: 'base', metadata: {mtime: '7'}})
      const parts: UploadedPart[] = []
      for (const [index, body] of bodies.entries()) parts.push(await suite.store.uploadPart(key(at), uploadId, index + 1, body))
      const sum = parts.reduce((before, part) => combineCrc32c(before, part.crc32c, part.sizeBytes), 0)
      return {uploadId, parts, whole: {crc32c: sum, sizeBytes: Buffer.concat(bodies).length}, body: Buffer.concat(bodies)}
    }

    const twoParts = () => [randomBytes(suite.partBytes), randomBytes(1234)]

    it('make one object of the parts, with metadata and the checksum of the whole', async () => {
      const {uploadId, parts, whole, body} = await upload('big', twoParts())
      expect(whole.crc32c).to.equal(crc32c(body))
      expect(await suite.store.head(key('big'))).to.equal(undefined)
      await suite.store.completeUpload(key('big'), uploadId, parts, whole)
      const stat = await suite.store.head(key('big'))
      expect(stat).to.include({sizeBytes: body.length})
      expect(stat?.metadata).to.deep.equal({mtime: '7'})
      if (suite.deviations.wrongMultipartSum) expect(stat?.crc32c).not.to.equal(whole.crc32c)
      else expect(stat?.crc32c).to.equal(whole.crc32c)
      expect((await suite.store.get(key('big'), {maxBytes: body.length}))?.equals(body)).to.equal(true)
    })

    it('take a part again, in any order, and can be completed twice', async () => {
      const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = twoParts()
      const uploadId = await suite.store.createUpload(key('big'), {kind: 'base'})
      const partTwo = await suite.store.uploadPart(key('big'), uploadId, 2, second, {crc32c: crc32c(second)})
      await suite.store.uploadPart(key('big'), uploadId, 1, first)
      const partOne = await suite.store.uploadPart(key('big'), uploadId, 1, first)
      const whole = {crc32c: crc32c(Buffer.concat([first, second])), sizeBytes: first.length + second.length}
      await suite.store.completeUpload(key('big'), uploadId, [partOne, partTwo], whole)
      await suite.store.completeUpload(key('big'), uploadId, [partOne, partTwo], whole)
      expect(await suite.store.head(key('big'))).to.include({sizeBytes: whole.sizeBytes})
    })

    it('are not completed with a wrong checksum of the whole, and then with the right one', async () => {
      const {uploadId, parts, whole} = await upload('big', twoParts())
      const error = await errorOf(
        suite.store.completeUpload(key('big'), uploadId, parts, {...whole, crc32c: (whole.crc32c ^ 1) >>> 0}),
      )
      expect(error).to.be.instanceOf(StoreRefusedError)
      if (suite.deviations.acceptsWrongChecksum) {
        // Found out only by reading back what was stored.
        expect(await suite.store.head(key('big'))).to.include({sizeBytes: whole.sizeBytes})
        return
      }

      expect(await suite.store.head(key('big'))).to.equal(undefined)
      await suite.store.completeUpload(key('big'), uploadId, parts, whole)
      expect(await suite.store.head(key('big'))).to.include({sizeBytes: whole.sizeBytes})
    })

    it('refuse a part with a wrong checksum', async () => {
      const uploadId = await suite.store.createUpload(key('big'), {kind: 'base'})
      const error = await errorOf(suite.store.uploadPart(key('big'), uploadId, 1, Buffer.from('part'), {crc32c: 1}))
      if (suite.deviations.acceptsWrongChecksum) expect(error).to.equal(undefined)
      else expect(error).to.be.instanceOf(StoreRefusedError)
      await suite.store.abortUpload(key('big'), uploadId)
    })

    it('are listed for exactly their key until they are completed or aborted', async () => {
      const first = await suite.store.createUpload(key('big'), {kind: 'base'})
      const second = await suite.store.createUpload(key('big'), {kind: 'base'})
      await suite.store.createUpload(key('bigger'), {kind: 'base'})
      expect(await suite.store.listUploads(key('big'))).to.have.members([first, second])
      await suite.store.abortUpload(key('big'), first)
      await suite.store.abortUpload(key('big'), first)
      expect(await suite.store.listUploads(key('big'))).to.deep.equal([second])
      expect(await suite.store.listUploads(key('other'))).to.deep.equal([])
      expect(await listKeys(suite.store, '')).to.deep.equal([])
    })

    it('are refused after an abort', async function () {
      this.timeout(30_000)
      const {uploadId, parts, whole} = await upload('big', twoParts())
      await suite.store.abortUpload(key('big'), uploadId)
      for (const error of [
        await errorOf(suite.store.uploadPart(key('big'), uploadId, 1, Buffer.from('part'))),
        await errorOf(suite.store.completeUpload(key('big'), uploadId, parts, whole)),
      ]) {
        expect(error).to.be.instanceOf(StoreRefusedError)
        expect(error).to.include({
          scope: 'request',
          storeCode: suite.deviations.failsAfterAbort ? 'InternalError' : 'NoSuchUpload',
        })
      }

      expect(await suite.store.head(key('big'))).to.equal(undefined)
    })
  })
}

import {randomBytes} from 'node:crypto'
import {expect} from 'chai'
import {errorAnswer} from '../support/fault-server.ts'
import {collect, errorOf, key, useFaultStore} from '../support/fault-store.ts'

describe('what the S3 store sends', () => {
  const faults = useFaultStore()
  const {start, put, first, upload} = faults

  describe('what is sent', () => {
    it('has a CRC32C, a length, no chunk framing, no Expect, and a signed body over http (C31)', async () => {
      await start()
      await put('a', randomBytes(3 * 1024 * 1024))
      const {complete} = await upload('big')
      await complete()
      for (const {operation, headers} of faults.server.requests.filter((request) =>
        /^(PutObject|UploadPart)$/.test(request.operation),
      )) {
        expect(headers, operation).to.include.keys('x-amz-checksum-crc32c', 'content-length')
        expect(headers, operation).to.not.have.any.keys('expect', 'transfer-encoding', 'content-encoding', 'x-amz-trailer')
        expect(headers['x-amz-content-sha256']).to.match(/^[\da-f]{64}$/)
      }
    })

    it('carries storage class by kind, tags and encryption', async () => {
      await start(
        {},
        {
          storageClass: {base: 'STANDARD_IA', wal: 'GLACIER_IR'},
          tags: {owner: 'dba', 'a b': 'c&d'},
          encryption: {type: 'aws:kms', keyId: 'key-1'},
        },
      )
      for (const kind of ['base', 'wal', 'meta'] as const) await faults.store.put(key(kind), Buffer.from('x'), {kind})
      expect(faults.server.objects.get('base')?.headers).to.include({
        'x-amz-storage-class': 'STANDARD_IA',
        'x-amz-tagging': 'owner=dba&a+b=c%26d',
        'x-amz-server-side-encryption': 'aws:kms',
        'x-amz-server-side-encryption-aws-kms-key-id': 'key-1',
      })
      expect(faults.server.objects.get('wal')?.headers).to.include({'x-amz-storage-class': 'GLACIER_IR'})
      expect(faults.server.objects.get('meta')?.headers).to.not.have.property('x-amz-storage-class')
      expect(await faults.store.copy(key('meta'), key('copy'), {kind: 'base'})).to.equal(true)
      expect(faults.server.objects.get('copy')?.headers).to.include({
        'x-amz-storage-class': 'STANDARD_IA',
        'x-amz-tagging': 'owner=dba&a+b=c%26d',
      })
    })

    it('asks for nothing about the bucket itself', async () => {
      await start()
      await put('a')
      await faults.store.head(key('nothing'))
      await collect(faults.store.list('a'))
      expect(faults.server.requests.map((request) => request.operation)).to.deep.equal([
        'PutObject',
        'HeadObject',
        'ListObjectsV2',
      ])
    })
  })

  describe('C34: a bucket that asks for checksums', () => {
    it('is satisfied by single, multipart and batch requests', async () => {
      await start()
      faults.server.hook = ({operation, headers}) => {
        const has = Object.keys(headers).some((name) => name === 'content-md5' || name.startsWith('x-amz-checksum-'))
        return /^(PutObject|UploadPart|DeleteObjects)$/.test(operation) && !has
          ? {answer: errorAnswer(400, 'InvalidRequest')}
          : undefined
      }

      await put('a')
      const {complete} = await upload('big')
      await complete()
      await faults.store.putStream(
        key('m'),
        (async function* () {
          yield Buffer.from('x')
        })(),
        {kind: 'meta'},
      )
      expect(await faults.store.delete([key('a'), key('big'), key('m')])).to.deep.equal([])
      expect(faults.server.objects.size).to.equal(0)
    })

    it('gets Content-MD5 for a batch delete where it knows nothing else', async () => {
      await start()
      await put('a')
      faults.server.hook = ({operation, headers}) =>
        operation === 'DeleteObjects' && headers['content-md5'] === undefined
          ? {answer: errorAnswer(400, 'MissingContentMD5')}
          : undefined
      expect(await faults.store.delete([key('a')])).to.deep.equal([])
      expect(faults.server.objects.size).to.equal(0)
    })

    it('is named when it wants Content-MD5 for a PUT', async () => {
      await start()
      first('PutObject', {
        answer: errorAnswer(
          400,
          'InvalidRequest',
          'Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters',
        ),
      })
      const error = await errorOf(put('a'))
      expect(error).to.include({scope: 'run'})
      expect(error.hint).to.include('Object Lock')
    })
  })

  describe('C35: ETags that are no MD5', () => {
    for (const [label, etag] of [
      ['random', '"0123456789abcdef0123456789abcdef"'],
      ['of parts', '"0123456789abcdef0123456789abcdef-7"'],
      ['unquoted', '0123456789abcdef0123456789abcdef'],
      ['weak', 'W/"0123456789abcdef0123456789abcdef"'],
    ]) {
      for (const keepsChecksums of [true, false]) {
        it(`${label}, ${keepsChecksums ? 'with' : 'without'} checksums kept: what is there is known to be there, and read`, async () => {
          await start({keepsChecksums})
          faults.server.hook = () => ({
            change: (honest) =>
              honest.headers.etag === undefined ? honest : {...honest, headers: {...honest.headers, etag: etag ?? ''}},
          })
          const body = randomBytes(1_200_000)
          expect(await put('a', body, true)).to.equal('stored')
          expect(await put('a', body, true)).to.equal('stored')
          expect(await put('a', randomBytes(1_200_000), true)).to.equal('exists')
          expect((await faults.store.get(key('a'), {maxBytes: 2_000_000}))?.equals(body)).to.equal(true)
          const {complete} = await upload('big')
          await complete()
          await complete()
        })
      }
    }
  })

  describe('C61: a KMS key that may only encrypt', () => {
    it('is pointed to when parts are denied, and the upload can be aborted', async () => {
      await start({}, {encryption: {type: 'aws:kms', keyId: 'k'}})
      faults.server.hook = ({operation}) =>
        operation === 'UploadPart' ? {answer: errorAnswer(403, 'AccessDenied')} : undefined
      const uploadId = await faults.store.createUpload(key('big'), {kind: 'base'})
      const error = await errorOf(faults.store.uploadPart(key('big'), uploadId, 1, Buffer.from('x')))
      expect(error.hint).to.include('kms:Decrypt').and.include('kms:GenerateDataKey')
      await faults.store.abortUpload(key('big'), uploadId)
      expect(faults.server.uploads.size).to.equal(0)
    })
  })
})

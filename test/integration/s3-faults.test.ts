import {randomBytes} from 'node:crypto'
import {expect} from 'chai'
import type {Clock} from '../../src/lib/clock.ts'
import {BarmansError, StoreRefusedError, StoreUnreachableError} from '../../src/lib/errors.ts'
import {crc32c} from '../../src/lib/store/checksum.ts'
import type {ObjectKey} from '../../src/lib/store/object-store.ts'
import {createS3Store, type S3Store} from '../../src/lib/store/s3/object-store.ts'
import type {RetryNotice, S3StoreOptions} from '../../src/lib/store/s3/options.ts'
import {answer, errorAnswer, startFaultServer, xmlAnswer, type Fault, type FaultServer, type FaultServerOptions} from '../support/fault-server.ts'

const key = (text: string) => text as ObjectKey

/** A clock whose pauses take no time and are added up. */
function quickClock(): Clock & {sleptMs: number} {
  const clock = {
    sleptMs: 0,
    now: () => new Date(Date.now() + clock.sleptMs),
    async sleep(milliseconds: number, signal?: AbortSignal) {
      signal?.throwIfAborted()
      clock.sleptMs += milliseconds
      await new Promise((resolve) => setImmediate(resolve))
      signal?.throwIfAborted()
    },
  }
  return clock
}

async function errorOf(work: Promise<unknown>): Promise<BarmansError> {
  try {
    await work
  } catch (error) {
    if (error instanceof BarmansError) return error
    throw error
  }

  throw new Error('no error')
}

async function collect<T>(items: AsyncIterable<T> | undefined): Promise<T[]> {
  const all: T[] = []
  for await (const item of items ?? []) all.push(item)
  return all
}

describe('the S3 store against a server that misbehaves', () => {
  let server: FaultServer
  let store: S3Store
  let clock: ReturnType<typeof quickClock>
  let notices: RetryNotice[]
  const open: Array<{stop(): Promise<void>} | {close(): void}> = []

  const start = async (serverOptions: FaultServerOptions = {}, storeOptions: Partial<S3StoreOptions> = {}) => {
    server = await startFaultServer(serverOptions)
    store = connect(storeOptions)
    open.push(server)
  }

  const connect = (storeOptions: Partial<S3StoreOptions> = {}) => {
    const made = createS3Store({
      bucket: server.bucket,
      endpoint: server.endpoint,
      environment: {AWS_ACCESS_KEY_ID: 'id-of-key', AWS_SECRET_ACCESS_KEY: 'very-secret', HOME: '/nonexistent'},
      clock,
      idleTimeoutMs: 250,
      connectTimeoutMs: 1000,
      onRetry: (notice) => notices.push(notice),
      ...storeOptions,
    })
    open.push(made)
    return made
  }

  beforeEach(() => {
    clock = quickClock()
    notices = []
  })
  afterEach(async () => {
    for (const item of open.splice(0).reverse()) await ('stop' in item ? item.stop() : item.close())
  })

  const put = (at: string, body: string | Buffer = at, ifAbsent = false) => store.put(key(at), Buffer.from(body), {kind: 'wal', ifAbsent})
  const first = (operation: string, fault: Fault, count = 1) => {
    server.hook = (request) => (request.operation === operation && request.number <= count ? fault : undefined)
  }

  const upload = async (at: string) => {
    const bodies = [randomBytes(1000), randomBytes(10)]
    const uploadId = await store.createUpload(key(at), {kind: 'base'})
    const parts = await Promise.all(bodies.map((body, index) => store.uploadPart(key(at), uploadId, index + 1, body)))
    const body = Buffer.concat(bodies)
    return {uploadId, body, complete: () => store.completeUpload(key(at), uploadId, parts, {crc32c: crc32c(body), sizeBytes: body.length})}
  }

  describe('what is sent', () => {
    it('has a CRC32C, a length, no chunk framing, no Expect, and a signed body over http (C31)', async () => {
      await start()
      await put('a', randomBytes(3 * 1024 * 1024))
      const {complete} = await upload('big')
      await complete()
      for (const {operation, headers} of server.requests.filter((request) => /^(PutObject|UploadPart)$/.test(request.operation))) {
        expect(headers, operation).to.include.keys('x-amz-checksum-crc32c', 'content-length')
        expect(headers, operation).to.not.have.any.keys('expect', 'transfer-encoding', 'content-encoding', 'x-amz-trailer')
        expect(headers['x-amz-content-sha256']).to.match(/^[\da-f]{64}$/)
      }
    })

    it('carries storage class by kind, tags and encryption', async () => {
      await start({}, {storageClass: {base: 'STANDARD_IA', wal: 'GLACIER_IR'}, tags: {owner: 'dba', 'a b': 'c&d'}, encryption: {type: 'aws:kms', keyId: 'key-1'}})
      for (const kind of ['base', 'wal', 'meta'] as const) await store.put(key(kind), Buffer.from('x'), {kind})
      expect(server.objects.get('base')?.headers).to.include({
        'x-amz-storage-class': 'STANDARD_IA', 'x-amz-tagging': 'owner=dba&a+b=c%26d',
        'x-amz-server-side-encryption': 'aws:kms', 'x-amz-server-side-encryption-aws-kms-key-id': 'key-1',
      })
      expect(server.objects.get('wal')?.headers).to.include({'x-amz-storage-class': 'GLACIER_IR'})
      expect(server.objects.get('meta')?.headers).to.not.have.property('x-amz-storage-class')
      expect(await store.copy(key('meta'), key('copy'), {kind: 'base'})).to.equal(true)
      expect(server.objects.get('copy')?.headers).to.include({'x-amz-storage-class': 'STANDARD_IA', 'x-amz-tagging': 'owner=dba&a+b=c%26d'})
    })

    it('asks for nothing about the bucket itself', async () => {
      await start()
      await put('a')
      await store.head(key('nothing'))
      await collect(store.list('a'))
      expect(server.requests.map((request) => request.operation)).to.deep.equal(['PutObject', 'HeadObject', 'ListObjectsV2'])
    })
  })

  describe('C22: names in lists', () => {
    const names = ['a b', 'a+b', '100%', 'a%2Bb', 'x#y?z&=', 'tab\there', 'line\nbreak', 'back\bspace', 'q"\'', '~t', 'b\\s', '..h', 'end.']
    for (const encoding of ['plus', 'percent'] as const) {
      it(`come back exactly when the store writes a space as ${encoding === 'plus' ? '+' : '%20'}`, async () => {
        await start({encoding, pageSize: 4})
        for (const name of names) await put(`n/${name}`, name)
        const listed = await collect(store.list('n/'))
        expect(listed.map((object) => object.key.slice(2))).to.have.members(names)
        for (const object of listed) expect(String(await store.get(object.key, {maxBytes: 100}))).to.equal(object.key.slice(2))
        expect(await store.delete(listed.map((object) => object.key))).to.deep.equal([])
        expect(server.objects.size).to.equal(0)
      })
    }

    it('are taken as they are when the store ignores encoding-type, as versitygw does', async () => {
      await start({encoding: 'ignored'})
      for (const name of ['a+b', 'a%2Bb', '100%', 'a b']) await put(`n/${name}`)
      expect((await collect(store.list('n/'))).map((object) => object.key)).to.have.members(['n/a+b', 'n/a%2Bb', 'n/100%', 'n/a b'])
    })

    it('are shown escaped in messages', async () => {
      await start()
      first('PutObject', {answer: errorAnswer(403, 'AccessDenied')})
      const error = await errorOf(put('line\nbreak'))
      expect(error.message).to.include('line\\x0abreak').and.not.include('\n')
    })
  })

  describe('C27: pages of a list', () => {
    const fill = async (count: number) => {
      await start({pageSize: 10})
      for (let index = 0; index < count; index++) await put(`w/${String(index).padStart(3, '0')}`, '')
    }

    const changeLists = (change: (text: string, number: number) => string) => {
      server.hook = ({operation, number}) =>
        operation === 'ListObjectsV2' ? {change: (honest) => ({...honest, body: Buffer.from(change(honest.body.toString(), number))})} : undefined
    }

    it('an end cut off without a token is an error, not a shorter list', async () => {
      await fill(25)
      changeLists((text) => text.replace(/<NextContinuationToken>.*<\/NextContinuationToken>/, ''))
      const error = await errorOf(collect(store.list('w/')))
      expect(error).to.be.instanceOf(StoreRefusedError).and.to.include({storeCode: 'InvalidAnswer', scope: 'run'})
      expect(server.requests.filter((request) => request.operation === 'ListObjectsV2')).to.have.length(1)
    })

    it('the same token twice is an error', async () => {
      await fill(25)
      changeLists((text) => text.replace(/<NextContinuationToken>.*<\/NextContinuationToken>/, '<NextContinuationToken>dy8wMDk</NextContinuationToken>'))
      expect((await errorOf(collect(store.list('w/')))).message).to.include('twice')
      expect(server.requests.filter((request) => request.operation === 'ListObjectsV2')).to.have.length(2)
    })

    it('KeyCount and MaxKeys may be missing, and a page may be empty and go on', async () => {
      await fill(25)
      changeLists((text, number) => {
        const bare = text.replace(/<KeyCount>\d+<\/KeyCount><MaxKeys>\d+<\/MaxKeys>/, '')
        if (number > 1) return bare
        return bare.replace(/<Contents>.*<\/Contents>/, '').replace(/<NextContinuationToken>.*<\/NextContinuationToken>/, `<NextContinuationToken>${Buffer.from('w/').toString('base64url')}</NextContinuationToken>`)
      })
      expect(await collect(store.list('w/'))).to.have.length(25)
    })

    it('a page of another bucket, of another prefix or with foreign keys is an error', async () => {
      await fill(3)
      changeLists((text) => text.replace('<Name>bucket</Name>', '<Name>other</Name>'))
      expect((await errorOf(collect(store.list('w/')))).message).to.include('of bucket "other"')
      changeLists((text) => text.replace('<Prefix>w/</Prefix>', '<Prefix>z/</Prefix>'))
      expect((await errorOf(collect(store.list('w/')))).message).to.include('of prefix "z/"')
      changeLists((text) => text.replace('w/001', 'v/001'))
      expect((await errorOf(collect(store.list('w/')))).message).to.include('"v/001"')
    })

    it('a web page with status 200, or a page cut in the middle, is never an empty list', async () => {
      await fill(3)
      server.hook = ({operation}) => (operation === 'ListObjectsV2' ? {answer: answer(200, {}, Buffer.from('<html><body>log in</body></html>'))} : undefined)
      expect((await errorOf(collect(store.list('w/')))).message).to.include('not one of S3')
      changeLists((text, number) => (number <= 5 ? text.slice(0, -30) : text))
      expect(await collect(store.list('w/'))).to.have.length(3)
      changeLists((text) => text.slice(0, -30))
      expect((await errorOf(collect(store.list('w/')))).message).to.include('cut')
    })

    it('a page that stops arriving is asked for again', async () => {
      await fill(3)
      server.hook = ({operation, number}) => (operation === 'ListObjectsV2' && number < 3 ? (number === 1 ? {stallAtByte: 100} : {cutAtByte: 100}) : undefined)
      expect(await collect(store.list('w/'))).to.have.length(3)
      expect(store.requestCounts().ListObjectsV2).to.equal(3)
    })
  })

  describe('C29: an error document inside a 200', () => {
    const inside = (code: string) => answer(200, {}, Buffer.from(`<?xml version="1.0"?>\n   \n  <Error><Code>${code}</Code><Message>again</Message></Error>`))

    it('of Complete is tried again', async () => {
      await start()
      const {complete, body} = await upload('big')
      first('CompleteMultipartUpload', {answer: inside('InternalError')})
      await complete()
      expect(server.objects.get('big')?.body.equals(body)).to.equal(true)
    })

    it('of Complete, always, is a failure of this object', async () => {
      await start()
      const {complete} = await upload('big')
      first('CompleteMultipartUpload', {answer: inside('InternalError')}, Infinity)
      const error = await errorOf(complete())
      expect(error).to.be.instanceOf(StoreRefusedError).and.to.include({storeCode: 'InternalError', scope: 'request', exitCode: 1})
      expect(store.requestCounts().CompleteMultipartUpload).to.equal(8)
      expect(server.objects.size).to.equal(0)
    })

    it('of Copy is tried again, and always is a failure', async () => {
      await start()
      await put('a')
      first('CopyObject', {answer: inside('SlowDown')})
      expect(await store.copy(key('a'), key('b'), {kind: 'wal'})).to.equal(true)
      expect(String(server.objects.get('b')?.body)).to.equal('a')
      first('CopyObject', {answer: inside('SlowDown')}, Infinity)
      expect(await errorOf(store.copy(key('a'), key('c'), {kind: 'wal'}))).to.include({storeCode: 'SlowDown'})
      expect(server.objects.has('c')).to.equal(false)
    })
  })

  describe('C32: 503', () => {
    const bodies: Fault[] = [
      {answer: errorAnswer(503, 'SlowDown')},
      {answer: answer(503)},
      {answer: answer(503, {'content-type': 'text/html'}, Buffer.from('<html><h1>503</h1><br></html>'))},
      {answer: answer(503, {}, Buffer.from('<html>')), close: true},
      {answer: errorAnswer(503, 'ServiceUnavailable'), close: true},
    ]

    it('to every third PUT, with any body, loses nothing', async () => {
      await start()
      let refusals = 0
      server.hook = ({operation, number}) => (operation === 'PutObject' && number % 3 === 0 ? bodies[refusals++ % bodies.length] : undefined)
      const names = Array.from({length: 100}, (_, index) => `wal-${index}`)
      expect(await Promise.all(names.map((name) => put(name)))).to.deep.equal(names.map(() => 'stored'))
      expect([...server.objects.keys()]).to.have.members(names)
      expect(refusals).to.be.at.least(33)
      expect(store.requestCounts().PutObject).to.equal(server.requests.length)
    })

    it('for ever ends after about a minute of pauses, first for the request, then for the run, with exit code 1', async () => {
      await start()
      server.hook = () => bodies[2]
      const scopes = []
      for (let index = 0; index < 3; index++) {
        const error = (await errorOf(put('a'))) as StoreRefusedError
        expect(error).to.be.instanceOf(StoreRefusedError).and.to.include({storeCode: 'ServiceUnavailable', exitCode: 1})
        expect(error.message).to.include('503')
        scopes.push(error.scope)
      }

      expect(scopes).to.deep.equal(['request', 'request', 'run'])
      expect(clock.sleptMs / 3).to.be.within(20_000, 120_000)
      expect(store.requestCounts().PutObject).to.equal(24)
    })

    it('to one request makes the others wait too', async () => {
      // Real pauses: what counts is when the others are sent.
      const begin = Date.now()
      await start({}, {clock: {now: () => new Date(), sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))}})
      first('PutObject', {answer: answer(503, {'retry-after': '1'})})
      const refused = put('a')
      while (notices.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
      await put('b')
      expect(Date.now() - begin).to.be.at.least(950)
      await refused
    })

    it('is waited for as long as Retry-After says, within bounds', async () => {
      await start()
      first('PutObject', {answer: answer(503, {'retry-after': '7'})})
      await put('a')
      expect(notices).to.have.length(1)
      expect(notices[0]).to.include({operation: 'PutObject', attempt: 1, pauseMs: 7000, reason: 'ServiceUnavailable, HTTP 503'})
    })
  })

  describe('C34: a bucket that asks for checksums', () => {
    it('is satisfied by single, multipart and batch requests', async () => {
      await start()
      server.hook = ({operation, headers}) => {
        const has = Object.keys(headers).some((name) => name === 'content-md5' || name.startsWith('x-amz-checksum-'))
        return /^(PutObject|UploadPart|DeleteObjects)$/.test(operation) && !has ? {answer: errorAnswer(400, 'InvalidRequest')} : undefined
      }

      await put('a')
      const {complete} = await upload('big')
      await complete()
      await store.putStream(key('m'), (async function* () { yield Buffer.from('x') })(), {kind: 'meta'})
      expect(await store.delete([key('a'), key('big'), key('m')])).to.deep.equal([])
      expect(server.objects.size).to.equal(0)
    })

    it('gets Content-MD5 for a batch delete where it knows nothing else', async () => {
      await start()
      await put('a')
      server.hook = ({operation, headers}) =>
        operation === 'DeleteObjects' && headers['content-md5'] === undefined ? {answer: errorAnswer(400, 'MissingContentMD5')} : undefined
      expect(await store.delete([key('a')])).to.deep.equal([])
      expect(server.objects.size).to.equal(0)
    })

    it('is named when it wants Content-MD5 for a PUT', async () => {
      await start()
      first('PutObject', {answer: errorAnswer(400, 'InvalidRequest', 'Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters')})
      const error = await errorOf(put('a'))
      expect(error).to.include({scope: 'run'})
      expect(error.hint).to.include('Object Lock')
    })
  })

  describe('C35: ETags that are no MD5', () => {
    for (const [label, etag] of [['random', '"0123456789abcdef0123456789abcdef"'], ['of parts', '"0123456789abcdef0123456789abcdef-7"'], ['unquoted', '0123456789abcdef0123456789abcdef'], ['weak', 'W/"0123456789abcdef0123456789abcdef"']]) {
      for (const keepsChecksums of [true, false]) {
        it(`${label}, ${keepsChecksums ? 'with' : 'without'} checksums kept: what is there is known to be there, and read`, async () => {
          await start({keepsChecksums})
          server.hook = () => ({change: (honest) => (honest.headers.etag === undefined ? honest : {...honest, headers: {...honest.headers, etag: etag ?? ''}})})
          const body = randomBytes(1_200_000)
          expect(await put('a', body, true)).to.equal('stored')
          expect(await put('a', body, true)).to.equal('stored')
          expect(await put('a', randomBytes(1_200_000), true)).to.equal('exists')
          expect((await store.get(key('a'), {maxBytes: 2_000_000}))?.equals(body)).to.equal(true)
          const {complete} = await upload('big')
          await complete()
          await complete()
        })
      }
    }
  })

  describe('C36: silence', () => {
    it('after a PUT ends by the idle limit; the PUT is sent again on another connection', async () => {
      await start()
      first('PutObject', {silent: 'unserved'})
      expect(await put('a')).to.equal('stored')
      expect(server.connectionCount).to.equal(2)
    })

    it('after a conditional PUT that was carried out is settled by looking, without sending it again', async () => {
      await start()
      first('PutObject', {silent: 'served'})
      expect(await put('a', 'body', true)).to.equal('stored')
      expect(server.requests.map((request) => request.operation)).to.deep.equal(['PutObject', 'HeadObject', 'GetObject'])
    })

    it('of a host that takes connections and says nothing ends as unreachable', async () => {
      await start({}, {maxAttempts: 3})
      server.hook = () => ({silent: 'unserved'})
      const error = await errorOf(store.get(key('a'), {maxBytes: 10}))
      expect(error).to.be.instanceOf(StoreUnreachableError).and.to.include({exitCode: 2})
      expect(error.message).to.include(`127.0.0.1:${server.port} did not answer`)
      expect(server.connectionCount).to.equal(3)
    })

    it('in the middle of a GET, or its early end, makes it go on from there', async () => {
      await start()
      const body = randomBytes(4 * 1024 * 1024)
      await put('a', body)
      const faults: Fault[] = [{stallAtByte: 1024 * 1024}, {cutAtByte: 512 * 1024}, {reset: 'unserved'}]
      server.hook = ({operation, number}) => (operation === 'GetObject' ? faults[number - 1] : undefined)
      expect((await store.get(key('a'), {maxBytes: body.length}))?.equals(body)).to.equal(true)
      const ranges = server.requests.filter((request) => request.operation === 'GetObject').map((request) => request.headers.range)
      expect(ranges[0]).to.equal(undefined)
      expect(ranges).to.have.length(4)
      expect(Number(/^bytes=(\d+)-4194303$/.exec(ranges[3] ?? '')?.[1])).to.be.above(1_000_000)
    })

    it('of every GET ends in an error, never in a short body (C53)', async () => {
      await start({}, {maxAttempts: 3})
      await put('a', randomBytes(100_000))
      server.hook = ({operation}) => (operation === 'GetObject' ? {cutAtByte: 0} : undefined)
      expect(await errorOf(store.get(key('a'), {maxBytes: 100_000}))).to.be.instanceOf(StoreUnreachableError)
      const stream = await store.getStream(key('a'))
      expect(await errorOf(collect(stream))).to.be.instanceOf(StoreUnreachableError)
    })

    it('never joins halves of two objects', async () => {
      await start()
      await put('a', randomBytes(100_000))
      server.hook = ({operation, number}) => {
        if (operation !== 'GetObject') return undefined
        if (number > 1) return undefined
        queueMicrotask(() => {
          const other = server.objects.get('a')
          if (other) server.objects.set('a', {...other, etag: '"other"', body: randomBytes(100_000)})
        })
        return {cutAtByte: 50_000}
      }

      expect((await errorOf(store.get(key('a'), {maxBytes: 100_000}))).message).to.include('changed while it was read')
    })

    it('of Complete is settled', async () => {
      await start()
      for (const silent of ['served', 'unserved'] as const) {
        const {complete, body} = await upload(silent)
        const done = store.requestCounts().CompleteMultipartUpload ?? 0
        server.hook = ({operation, number}) => (operation === 'CompleteMultipartUpload' && number === done + 1 ? {silent} : undefined)
        await complete()
        expect(server.objects.get(silent)?.body.equals(body)).to.equal(true)
      }
    })

    for (const fault of [{silent: 'unserved'}, {answer: answer(503, {'retry-after': '20'})}] as const) {
      it(`ends at once when the run is stopped: ${'silent' in fault ? 'no answer' : 'pause'}`, async () => {
        await start({}, {idleTimeoutMs: 60_000, clock: {now: () => new Date(), sleep: sleepWithSignal}})
        server.hook = () => fault
        const controller = new AbortController()
        const reason = new Error('stopped by SIGTERM')
        const begin = Date.now()
        setTimeout(() => controller.abort(reason), 100)
        const {signal} = controller
        const attempts = [
          store.put(key('a'), Buffer.from('x'), {kind: 'wal', signal}),
          store.put(key('a'), Buffer.from('x'), {kind: 'wal', ifAbsent: true, signal}),
          store.get(key('a'), {maxBytes: 1, signal}),
          store.putStream(key('m'), (async function* () { yield Buffer.from('x') })(), {kind: 'meta', signal}),
          collect(store.list('a', {signal})),
        ]
        const errors = await Promise.allSettled(attempts)
        for (const result of errors) expect(result).to.include({status: 'rejected', reason})
        expect(Date.now() - begin).to.be.below(1500)
      })
    }

    it('of a stalled GET ends at once when the run is stopped', async () => {
      await start({}, {idleTimeoutMs: 60_000})
      await put('a', randomBytes(100_000))
      server.hook = ({operation}) => (operation === 'GetObject' ? {stallAtByte: 50_000} : undefined)
      const controller = new AbortController()
      const stream = await store.getStream(key('a'), {signal: controller.signal})
      setTimeout(() => controller.abort(new Error('stopped')), 100)
      let message = ''
      await collect(stream).catch((error: Error) => (message = error.message))
      expect(message).to.equal('stopped')
    })
  })

  describe('conditional PUTs', () => {
    it('whose answer was lost after they were carried out are stored, and were sent once', async () => {
      await start()
      first('PutObject', {reset: 'served'})
      expect(await put('a', 'body', true)).to.equal('stored')
      expect(store.requestCounts().PutObject).to.equal(1)
    })

    it('whose connection broke before are sent again', async () => {
      await start()
      first('PutObject', {reset: 'unserved'})
      expect(await put('a', 'body', true)).to.equal('stored')
      expect(String(server.objects.get('a')?.body)).to.equal('body')
    })

    it('that meet another object on a broken connection replace nothing, as with minio, which resets instead of 412', async () => {
      await start()
      await put('a', 'old')
      server.hook = ({operation, number}) => (operation === 'PutObject' && number > 1 ? {reset: 'unserved'} : undefined)
      expect(await put('a', 'new', true)).to.equal('exists')
      expect(store.requestCounts().PutObject).to.equal(2)
    })

    it('refused twice although nothing is there, as versitygw does over a delete marker, are written without the condition', async () => {
      await start()
      server.hook = ({headers}) => (headers['if-none-match'] === undefined ? undefined : {answer: errorAnswer(412, 'PreconditionFailed')})
      expect(await put('a', 'body', true)).to.equal('stored')
      expect(String(server.objects.get('a')?.body)).to.equal('body')
    })

    for (const honoursConditions of [true, false]) {
      it(`are found to be ${honoursConditions ? 'honoured' : 'ignored'} by the probe, which keeps the object's metadata`, async () => {
        await start({honoursConditions}, {storageClass: {wal: 'STANDARD_IA'}})
        const options = {kind: 'wal', metadata: {mtime: '5'}} as const
        for (let round = 0; round < 2; round++) {
          expect(await store.probeConditionalPut(key('probe'), Buffer.from('x'), options)).to.equal(honoursConditions ? 'native' : 'head-first')
          expect(server.objects.get('probe')?.headers).to.include({'x-amz-meta-mtime': '5', 'x-amz-storage-class': 'STANDARD_IA'})
        }

        expect(await errorOf(store.probeConditionalPut(key('probe'), Buffer.from('y'), options))).to.be.instanceOf(StoreRefusedError)
        expect(String(server.objects.get('probe')?.body)).to.equal('x')
      })
    }

    it('ask first where the store ignores the condition', async () => {
      await start({honoursConditions: false}, {conditionalPut: 'head-first'})
      expect(await put('a', 'one', true)).to.equal('stored')
      expect(await put('a', 'one', true)).to.equal('stored')
      expect(await put('a', 'two', true)).to.equal('exists')
      expect(String(server.objects.get('a')?.body)).to.equal('one')
      expect(server.requests.every((request) => request.headers['if-none-match'] === undefined)).to.equal(true)
    })
  })

  describe('C40: a batch delete with single errors inside', () => {
    for (const isQuiet of [true, false]) {
      it(`names the keys that stay, ${isQuiet ? 'only errors' : 'deleted keys too'} in the answer`, async () => {
        await start()
        const names = Array.from({length: 1000}, (_, index) => `k/${String(index).padStart(4, '0')}`)
        const kept = new Set(['k/0000', 'k/0500', 'k/0999'])
        server.hook = ({operation}) => {
          if (operation !== 'DeleteObjects') return undefined
          const deleted = isQuiet ? '' : names.filter((name) => !kept.has(name)).map((name) => `<Deleted><Key>${name}</Key></Deleted>`).join('')
          const errors = [...kept].map((name) => `<Error><Key>${name}</Key><Code>AccessDenied</Code><Message>no</Message></Error>`).join('')
          return {answer: xmlAnswer(`<DeleteResult>${deleted}${errors}</DeleteResult>`)}
        }

        const failures = await store.delete(names.map(key))
        expect(failures).to.deep.equal([...kept].map((name) => ({key: name, storeCode: 'AccessDenied', message: 'no'})))
        expect(store.requestCounts().DeleteObjects).to.equal(1)
      })
    }

    it('tries keys again for which the store was busy', async () => {
      await start()
      for (const name of ['a', 'b', 'c']) await put(name)
      first('DeleteObjects', {answer: xmlAnswer('<DeleteResult><Error><Key>b</Key><Code>InternalError</Code></Error><Error><Key>c</Key><Code>AccessDenied</Code></Error></DeleteResult>')})
      expect(await store.delete(['a', 'b', 'c'].map(key))).to.deep.equal([{key: 'c', storeCode: 'AccessDenied', message: ''}])
      expect(server.objects.has('b')).to.equal(false)
      expect(String(server.requests.at(-1)?.body)).to.not.include('<Key>a</Key>')
    })
  })

  describe('C61: a KMS key that may only encrypt', () => {
    it('is pointed to when parts are denied, and the upload can be aborted', async () => {
      await start({}, {encryption: {type: 'aws:kms', keyId: 'k'}})
      server.hook = ({operation}) => (operation === 'UploadPart' ? {answer: errorAnswer(403, 'AccessDenied')} : undefined)
      const uploadId = await store.createUpload(key('big'), {kind: 'base'})
      const error = await errorOf(store.uploadPart(key('big'), uploadId, 1, Buffer.from('x')))
      expect(error.hint).to.include('kms:Decrypt').and.include('kms:GenerateDataKey')
      await store.abortUpload(key('big'), uploadId)
      expect(server.uploads.size).to.equal(0)
    })
  })

  describe('C64: region and endpoint', () => {
    it('a redirect to another region is named in one message, without a storm, also for a HEAD without body', async () => {
      await start()
      server.hook = ({method}) => ({answer: method === 'HEAD' ? answer(301, {'x-amz-bucket-region': 'eu-north-1'}) : {...errorAnswer(301, 'PermanentRedirect'), headers: {'x-amz-bucket-region': 'eu-north-1'}}})
      for (const attempt of [() => store.head(key('a')), () => put('a'), () => collect(store.list('a')), () => store.get(key('a'), {maxBytes: 1})]) {
        const error = await errorOf(attempt())
        expect(error).to.include({scope: 'run'})
        expect(error.message).to.include('eu-north-1')
        expect(error.hint).to.include('eu-north-1')
      }

      expect(server.requests).to.have.length(4)
    })

    it('AuthorizationHeaderMalformed names the region in its body, also behind a HEAD', async () => {
      await start()
      server.hook = ({method}) => ({answer: method === 'HEAD' ? answer(400) : xmlAnswer('<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong</Message><Region>eu-west-1</Region></Error>', 400)})
      expect((await errorOf(store.head(key('a')))).message).to.include('eu-west-1')
      expect((await errorOf(put('a'))).message).to.include('eu-west-1')
    })

    it('a path in the endpoint is used, and a closing slash makes no difference', async () => {
      await start({basePath: '/gw/s3'})
      await put('p/a')
      expect((await collect(store.list('p/'))).map((object) => object.key)).to.deep.equal(['p/a'])
      expect(server.requests[0]?.path).to.match(/^\/gw\/s3\/bucket\/p\/a(\?|$)/)
      store = connect({endpoint: `${server.endpoint}/`})
      await put('p/b')
      expect([...server.objects.keys()]).to.deep.equal(['p/a', 'p/b'])
    })
  })

  describe('C66: the clock', () => {
    for (const minutes of [20, -20]) {
      it(`${minutes} minutes off is corrected from the store's Date, and each attempt is signed anew`, async () => {
        const now = () => new Date(Date.now() + minutes * 60_000)
        await start({now})
        server.hook = ({headers}) => {
          const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(headers['x-amz-date'] ?? '') ?? []
          const signedMs = Date.UTC(Number(y), Number(mo) - 1, Number(d), Number(h), Number(mi), Number(s))
          return Math.abs(now().getTime() - signedMs) > 15 * 60_000 ? {answer: errorAnswer(403, 'RequestTimeTooSkewed')} : undefined
        }

        expect(await put('a')).to.equal('stored')
        expect(server.requests).to.have.length(2)
        expect(server.requests[0]?.headers.authorization).to.not.equal(server.requests[1]?.headers.authorization)
        expect(Math.round((store.clockOffsetMs() ?? 0) / 60_000)).to.equal(minutes)
        await put('b')
        expect(server.requests).to.have.length(3)
      })
    }

    it('that cannot be corrected ends quickly and says by how much it differs', async () => {
      await start({now: () => new Date(Date.now() + 20 * 60_000)})
      server.hook = () => ({answer: errorAnswer(403, 'RequestTimeTooSkewed')})
      const error = await errorOf(put('a'))
      expect(error).to.include({storeCode: 'RequestTimeTooSkewed', scope: 'run'})
      expect(error.message).to.include('differs by 20 min').and.include('behind')
      expect(server.requests.length).to.be.at.most(3)
    })
  })

  it('says nothing secret when a request is denied, in message, hint or what the logger would print', async () => {
    await start()
    const {inspect} = await import('node:util')
    for (const fault of [{answer: errorAnswer(403, 'SignatureDoesNotMatch')}, {reset: 'unserved'}, {silent: 'unserved'}] as const) {
      server.hook = () => fault
      store = connect({maxAttempts: 1})
      const error = await errorOf(put('a'))
      const printed = inspect(error, {depth: 20, showHidden: false})
      for (const secret of ['very-secret', 'AWS4-HMAC', 'Signature=']) expect(printed + error.message + error.hint).to.not.include(secret)
    }
  })
})

function sleepWithSignal(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds)
    signal?.addEventListener('abort', () => {
      clearTimeout(timer)
      reject(signal.reason as Error)
    })
  })
}

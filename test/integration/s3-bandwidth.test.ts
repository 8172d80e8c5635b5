import {randomBytes} from 'node:crypto'
import {once} from 'node:events'
import {mkdtempSync, rmSync} from 'node:fs'
import {createServer, type Server} from 'node:http'
import type {AddressInfo} from 'node:net'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {setTimeout as delay} from 'node:timers/promises'
import {expect} from 'chai'
import {systemClock} from '../../src/lib/local/system-clock.ts'
import {createS3Store, type S3Store} from '../../src/lib/store/s3/object-store.ts'
import {Throttle} from '../../src/lib/store/throttle.ts'
import {makeCertificates} from '../support/certificates.ts'
import {answer} from '../support/fault-server.ts'
import {collect, errorOf, key, useFaultStore} from '../support/fault-store.ts'
import {startProxyServer} from '../support/proxy-server.ts'
import {startServerOrSkip, withBucket, type TestServer} from '../support/s3-servers.ts'
import {startSlowProxy} from '../support/slow-proxy.ts'

const KIB = 1024
const MIB = 1024 ** 2

const throttleOf = (maxBytesPerSecond: number) => new Throttle({maxBytesPerSecond, clock: systemClock})

/** A store at a server of the test's own making, which begins to listen. */
async function connectTo(server: Server, throttle: Throttle): Promise<S3Store> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return createS3Store({
    bucket: 'bucket', endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, clock: systemClock, throttle,
    environment: {AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'secret', HOME: '/nonexistent'},
  })
}

/** The most that `counter` grew by within any second of `work`, looked at ten times a second, and how long it took. */
async function measure(counter: () => number, work: () => Promise<unknown>): Promise<{mostBytesPerSecond: number; tookMs: number}> {
  const begin = performance.now()
  const samples: {atMs: number; bytes: number}[] = []
  const look = () => samples.push({atMs: performance.now() - begin, bytes: counter()})
  look()
  const timer = setInterval(look, 100)
  await work()
  clearInterval(timer)
  look()
  let mostBytesPerSecond = 0
  for (const [index, from] of samples.entries()) {
    const until = samples.slice(index).findLast(({atMs}) => atMs <= from.atMs + 1000)
    mostBytesPerSecond = Math.max(mostBytesPerSecond, (until ?? from).bytes - from.bytes)
  }
  return {mostBytesPerSecond, tookMs: performance.now() - begin}
}

describe('the S3 store with a bandwidth limit', () => {
  describe('at a real server', () => {
    let server: TestServer
    before(async function () {
      server = await startServerOrSkip(this, 'weed')
    })
    after(() => server?.stop())

    it('sends 8 MiB at 2 MiB/s in four seconds, by four PUTs at once, and no second carries much more', async function () {
      this.timeout(30_000)
      const proxy = await startSlowProxy(server.endpoint)
      await withBucket(server, async (bucket) => {
        const store = createS3Store({
          bucket, endpoint: proxy.endpoint, environment: {...server.environment}, clock: systemClock, throttle: throttleOf(2 * MIB),
        })
        const bodies = Array.from({length: 4}, () => randomBytes(2 * MIB))
        const {mostBytesPerSecond, tookMs} = await measure(proxy.sentBytes, async () => {
          await Promise.all(bodies.map(async (body, index) => await store.put(key(`a/${index}`), body, {kind: 'base'})))
        })
        expect(tookMs).to.be.within(3500, 6000)
        expect(mostBytesPerSecond).to.be.within(1 * MIB, 3 * MIB)
        expect(store.requestCounts()).to.deep.equal({PutObject: 4})
        for (const [index, body] of bodies.entries()) {
          expect((await store.head(key(`a/${index}`)))?.sizeBytes).to.equal(body.length)
        }
        store.close()
      })
      await proxy.stop()
    })

    it('counts parts, downloads and two stores of one run together', async function () {
      this.timeout(30_000)
      await withBucket(server, async (bucket) => {
        const throttle = throttleOf(8 * MIB)
        const open = () => createS3Store({bucket, endpoint: server.endpoint, environment: {...server.environment}, clock: systemClock, throttle})
        const [one, other] = [open(), open()]
        const body = randomBytes(6 * MIB)
        const begin = performance.now()
        const sent = (async () => {
          const uploadId = await one.createUpload(key('m'), {kind: 'base'})
          const part = await one.uploadPart(key('m'), uploadId, 1, body)
          await one.abortUpload(key('m'), uploadId)
          return part
        })()
        await Promise.all([sent, other.put(key('o'), body, {kind: 'base'})])
        const sentMs = performance.now() - begin
        expect(sentMs).to.be.within(1350, 4000)
        const received = await one.get(key('o'), {maxBytes: body.length})
        expect(received?.equals(body)).to.equal(true)
        expect(performance.now() - begin - sentMs).to.be.within(650, 3000)
        one.close()
        other.close()
      })
    })
  })

  describe('at a server with faults', () => {
    const faults = useFaultStore()
    const {start, put} = faults

    it('counts the heads of requests: hundreds without a body do not slip through', async function () {
      this.timeout(20_000)
      await start({}, {throttle: throttleOf(64 * KIB), idleTimeoutMs: 5000, clock: systemClock})
      const {tookMs} = await measure(() => 0, async () => {
        for (let round = 0; round < 25; round++) await Promise.all(Array.from({length: 20}, async () => await faults.store.head(key('none'))))
      })
      // A signed head has half a KiB at least.
      expect(tookMs).to.be.above(3800)
    })

    it('does not take a connection on which it holds bytes back for a silent one, while sending and while receiving', async function () {
      this.timeout(20_000)
      await start({}, {throttle: throttleOf(64 * KIB), clock: systemClock})
      const body = randomBytes(96 * KIB)
      const {tookMs} = await measure(() => 0, async () => await Promise.all(['a', 'b', 'c'].map(async (at) => await put(at, body))))
      expect(tookMs).to.be.above(4000)
      const large = randomBytes(512 * KIB)
      await faults.connect({idleTimeoutMs: 60_000}).put(key('large'), large, {kind: 'base'})
      const receiving = faults.connect({throttle: throttleOf(128 * KIB), clock: systemClock})
      const {tookMs: receivedMs} = await measure(() => 0, async () => {
        expect(Buffer.concat(await collect(await receiving.getStream(key('large')))).equals(large)).to.equal(true)
      })
      expect(receivedMs).to.be.above(3500)
      expect(faults.notices, 'nothing was sent or asked for again').to.deep.equal([])
    })

    it('sends the whole body again after a fault, signed anew', async () => {
      await start({}, {throttle: throttleOf(2 * MIB)})
      const body = randomBytes(512 * KIB)
      const inTurn = [{answer: answer(503)}, {reset: 'unserved'}, {silent: 'unserved'}] as const
      faults.server.hook = ({operation, number}) => (operation === 'PutObject' ? inTurn[number - 1] : undefined)
      expect(await put('a', body)).to.equal('stored')
      expect(faults.server.objects.get('a')?.body.equals(body)).to.equal(true)
      expect(faults.notices).to.have.length(3)
    })

    it('ends at once when the run is stopped: in the middle of a body, of an answer and of the queue', async function () {
      this.timeout(20_000)
      await start({}, {idleTimeoutMs: 60_000})
      await put('there', randomBytes(MIB))
      const slow = faults.connect({throttle: throttleOf(64 * KIB), idleTimeoutMs: 60_000, clock: systemClock})
      const controller = new AbortController()
      const reason = new Error('stopped by SIGTERM')
      const {signal} = controller
      const body = randomBytes(MIB)
      const all = [
        ...['a', 'b', 'c', 'd'].map(async (at) => await slow.put(key(at), body, {kind: 'wal', signal})),
        slow.get(key('there'), {maxBytes: MIB, signal}),
      ]
      await delay(300)
      const begin = performance.now()
      controller.abort(reason)
      for (const result of await Promise.allSettled(all)) expect(result).to.include({status: 'rejected', reason})
      expect(performance.now() - begin).to.be.below(1000)
      expect([...faults.server.objects.keys()]).to.deep.equal(['there'])
    })

  })

  it('closes the connection of an answer that nobody reads, or not to its end', async () => {
    const body = randomBytes(4 * MIB)
    const server = createServer((_, response) => response.writeHead(200, {'content-length': body.length}).end(body))
    const store = await connectTo(server, throttleOf(8 * MIB))
    for await (const chunk of (await store.getStream(key('a'))) ?? []) {
      expect(chunk.length).to.be.above(0)
      break
    }
    expect((await errorOf(store.get(key('a'), {maxBytes: 1}))).message).to.contain('at most 1 were expected')
    const open = () => new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)))
    for (let patience = 100; patience > 0 && (await open()) > 0; patience--) await delay(20)
    expect(await open()).to.equal(0)
    store.close()
    server.close()
  })

  it('gives up sending a body that is refused before its end, and begins the next', async function () {
    this.timeout(20_000)
    const server = createServer((request, response) => {
      // Says no to the first bytes of a PUT and reads nothing more of it.
      const document = '<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>'
      request.once('data', () => request.pause())
      response.writeHead(403, {'content-type': 'application/xml', 'content-length': document.length}).end(document)
    })
    const store = await connectTo(server, throttleOf(64 * KIB))
    const begin = performance.now()
    for (let round = 0; round < 6; round++) {
      const error = await errorOf(store.put(key('a'), randomBytes(MIB), {kind: 'wal'}))
      expect(error.message).to.contain('AccessDenied')
    }
    // The six bodies alone would take 96 seconds.
    expect(performance.now() - begin).to.be.below(5000)
    store.close()
    server.closeAllConnections()
    server.close()
  })

  describe('over TLS, through a proxy', () => {
    const faults = useFaultStore()
    const names = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy', 'NO_PROXY', 'no_proxy']
    const saved = names.map((name) => [name, process.env[name]] as const)
    beforeEach(() => {
      for (const name of names) delete process.env[name]
    })
    let directory: string
    before(() => void (directory = mkdtempSync(join(tmpdir(), 'barmans3-bandwidth-'))))
    after(() => rmSync(directory, {recursive: true, force: true}))
    afterEach(() => {
      for (const [name, value] of saved) {
        if (value === undefined) delete process.env[name]
        else process.env[name] = value
      }
    })

    for (const [what, isSecure] of [['a tunnel', true], ['a forwarding proxy', false]] as const) {
      it(`keeps the pace: ${what}`, async () => {
        const proxy = await startProxyServer('user', 'p')
        // One that is left listening would keep the whole level from ending.
        try {
          process.env[isSecure ? 'HTTPS_PROXY' : 'HTTP_PROXY'] = `http://user:p@127.0.0.1:${proxy.port}`
          const certificates = makeCertificates(directory)
          await faults.start(isSecure ? {tls: certificates} : {}, {
            throttle: throttleOf(MIB), idleTimeoutMs: 5000,
            environment: {AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'secret', HOME: directory, AWS_CA_BUNDLE: certificates.caFile},
          })
          const body = randomBytes(MIB)
          const {tookMs} = await measure(() => 0, async () => await faults.put('a', body))
          expect(tookMs).to.be.within(850, 2500)
          expect(faults.server.objects.get('a')?.body.equals(body)).to.equal(true)
          expect(proxy.seen[0]).to.match(isSecure ? /^CONNECT / : /^PUT http:/)
        } finally {
          await proxy.stop()
        }
      })
    }
  })
})

import {randomBytes} from 'node:crypto'
import {expect} from 'chai'
import {StoreUnreachableError} from '../../src/lib/errors.ts'
import {answer, type Fault} from '../support/fault-server.ts'
import {collect, errorOf, key, useFaultStore} from '../support/fault-store.ts'
import {systemClock} from '../../src/lib/local/system-clock.ts'

describe('the S3 store and a server that falls silent', () => {
  const faults = useFaultStore()
  const {start, put, first, upload} = faults

  describe('C36: silence', () => {
    it('after a PUT ends by the idle limit; the PUT is sent again on another connection', async () => {
      await start()
      first('PutObject', {silent: 'unserved'})
      expect(await put('a')).to.equal('stored')
      expect(faults.server.connectionCount).to.equal(2)
    })

    it('after a conditional PUT that was carried out is settled by looking, without sending it again', async () => {
      await start()
      first('PutObject', {silent: 'served'})
      expect(await put('a', 'body', true)).to.equal('stored')
      expect(faults.server.requests.map((request) => request.operation)).to.deep.equal(['PutObject', 'HeadObject', 'GetObject'])
    })

    it('of a host that takes connections and says nothing ends as unreachable', async () => {
      await start({}, {maxAttempts: 3})
      faults.server.hook = () => ({silent: 'unserved'})
      const error = await errorOf(faults.store.get(key('a'), {maxBytes: 10}))
      expect(error).to.be.instanceOf(StoreUnreachableError).and.to.include({exitCode: 2})
      expect(error.message).to.include(`127.0.0.1:${faults.server.port} did not answer`)
      expect(faults.server.connectionCount).to.equal(3)
    })

    it('in the middle of a GET, or its early end, makes it go on from there', async () => {
      await start()
      const body = randomBytes(4 * 1024 * 1024)
      await put('a', body)
      const inTurn: Fault[] = [{stallAtByte: 1024 * 1024}, {cutAtByte: 512 * 1024}, {reset: 'unserved'}]
      faults.server.hook = ({operation, number}) => (operation === 'GetObject' ? inTurn[number - 1] : undefined)
      expect((await faults.store.get(key('a'), {maxBytes: body.length}))?.equals(body)).to.equal(true)
      const ranges = faults.server.requests
        .filter((request) => request.operation === 'GetObject')
        .map((request) => request.headers.range)
      expect(ranges[0]).to.equal(undefined)
      expect(ranges).to.have.length(4)
      expect(Number(/^bytes=(\d+)-4194303$/.exec(ranges[3] ?? '')?.[1])).to.be.above(1_000_000)
    })

    it('of every GET ends in an error, never in a short body (C53)', async () => {
      await start({}, {maxAttempts: 3})
      await put('a', randomBytes(100_000))
      faults.server.hook = ({operation}) => (operation === 'GetObject' ? {cutAtByte: 0} : undefined)
      expect(await errorOf(faults.store.get(key('a'), {maxBytes: 100_000}))).to.be.instanceOf(StoreUnreachableError)
      const stream = await faults.store.getStream(key('a'))
      expect(await errorOf(collect(stream))).to.be.instanceOf(StoreUnreachableError)
    })

    it('never joins halves of two objects', async () => {
      await start()
      await put('a', randomBytes(100_000))
      faults.server.hook = ({operation, number}) => {
        if (operation !== 'GetObject') return undefined
        if (number > 1) return undefined
        queueMicrotask(() => {
          const other = faults.server.objects.get('a')
          if (other) faults.server.objects.set('a', {...other, etag: '"other"', body: randomBytes(100_000)})
        })
        return {cutAtByte: 50_000}
      }

      expect((await errorOf(faults.store.get(key('a'), {maxBytes: 100_000}))).message).to.include('changed while it was read')
    })

    it('of Complete is settled', async () => {
      await start()
      for (const silent of ['served', 'unserved'] as const) {
        const {complete, body} = await upload(silent)
        const done = faults.store.requestCounts().CompleteMultipartUpload ?? 0
        faults.server.hook = ({operation, number}) =>
          operation === 'CompleteMultipartUpload' && number === done + 1 ? {silent} : undefined
        await complete()
        expect(faults.server.objects.get(silent)?.body.equals(body)).to.equal(true)
      }
    })

    for (const fault of [{silent: 'unserved'}, {answer: answer(503, {'retry-after': '20'})}] as const) {
      it(`ends at once when the run is stopped: ${'silent' in fault ? 'no answer' : 'pause'}`, async () => {
        await start({}, {idleTimeoutMs: 60_000, clock: {now: () => new Date(), sleep: systemClock.sleep}})
        faults.server.hook = () => fault
        const controller = new AbortController()
        const reason = new Error('stopped by SIGTERM')
        const begin = Date.now()
        setTimeout(() => controller.abort(reason), 100)
        const {signal} = controller
        const attempts = [
          faults.store.put(key('a'), Buffer.from('x'), {kind: 'wal', signal}),
          faults.store.put(key('a'), Buffer.from('x'), {kind: 'wal', ifAbsent: true, signal}),
          faults.store.get(key('a'), {maxBytes: 1, signal}),
          faults.store.putStream(
            key('m'),
            (async function* () {
              yield Buffer.from('x')
            })(),
            {kind: 'meta', signal},
          ),
          collect(faults.store.list('a', {signal})),
        ]
        const errors = await Promise.allSettled(attempts)
        for (const result of errors) expect(result).to.include({status: 'rejected', reason})
        expect(Date.now() - begin).to.be.below(1500)
      })
    }

    it('of a stalled GET ends at once when the run is stopped', async () => {
      await start({}, {idleTimeoutMs: 60_000})
      await put('a', randomBytes(100_000))
      faults.server.hook = ({operation}) => (operation === 'GetObject' ? {stallAtByte: 50_000} : undefined)
      const controller = new AbortController()
      const stream = await faults.store.getStream(key('a'), {signal: controller.signal})
      setTimeout(() => controller.abort(new Error('stopped')), 100)
      let message = ''
      await collect(stream).catch((error: Error) => (message = error.message))
      expect(message).to.equal('stopped')
    })
  })
})

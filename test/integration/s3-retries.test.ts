import {expect} from 'chai'
import {StoreRefusedError} from '../../src/lib/errors.ts'
import {answer, errorAnswer, type Fault} from '../support/fault-server.ts'
import {errorOf, key, useFaultStore} from '../support/fault-store.ts'

describe('the S3 store and a server that refuses for a while', () => {
  const faults = useFaultStore()
  const {start, put, first, upload} = faults

  describe('C29: an error document inside a 200', () => {
    const inside = (code: string) =>
      answer(200, {}, Buffer.from(`<?xml version="1.0"?>\n   \n  <Error><Code>${code}</Code><Message>again</Message></Error>`))

    it('of Complete is tried again', async () => {
      await start()
      const {complete, body} = await upload('big')
      first('CompleteMultipartUpload', {answer: inside('InternalError')})
      await complete()
      expect(faults.server.objects.get('big')?.body.equals(body)).to.equal(true)
    })

    it('of Complete, always, is a failure of this object', async () => {
      await start()
      const {complete} = await upload('big')
      first('CompleteMultipartUpload', {answer: inside('InternalError')}, Infinity)
      const error = await errorOf(complete())
      expect(error)
        .to.be.instanceOf(StoreRefusedError)
        .and.to.include({storeCode: 'InternalError', scope: 'request', exitCode: 1})
      expect(faults.store.requestCounts().CompleteMultipartUpload).to.equal(8)
      expect(faults.server.objects.size).to.equal(0)
    })

    it('of Copy is tried again, and always is a failure', async () => {
      await start()
      await put('a')
      first('CopyObject', {answer: inside('SlowDown')})
      expect(await faults.store.copy(key('a'), key('b'), {kind: 'wal'})).to.equal(true)
      expect(String(faults.server.objects.get('b')?.body)).to.equal('a')
      first('CopyObject', {answer: inside('SlowDown')}, Infinity)
      expect(await errorOf(faults.store.copy(key('a'), key('c'), {kind: 'wal'}))).to.include({storeCode: 'SlowDown'})
      expect(faults.server.objects.has('c')).to.equal(false)
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
      faults.server.hook = ({operation, number}) =>
        operation === 'PutObject' && number % 3 === 0 ? bodies[refusals++ % bodies.length] : undefined
      const names = Array.from({length: 100}, (_, index) => `wal-${index}`)
      // As many at a time as there are connections: a hundred at once, with a clock that does not wait, refuse one another.
      const outcomes: string[] = []
      const left = names.values()
      await Promise.all(Array.from({length: 16}, async () => {
        for (const name of left) outcomes.push(await put(name))
      }))
      expect(outcomes).to.deep.equal(names.map(() => 'stored'))
      expect([...faults.server.objects.keys()]).to.have.members(names)
      expect(refusals).to.be.at.least(33)
      expect(faults.store.requestCounts().PutObject).to.equal(faults.server.requests.length)
    })

    it('for ever ends after about a minute of pauses, first for the request, then for the run, with exit code 1', async () => {
      await start()
      faults.server.hook = () => bodies[2]
      const scopes = []
      for (let index = 0; index < 3; index++) {
        const error = (await errorOf(put('a'))) as StoreRefusedError
        expect(error).to.be.instanceOf(StoreRefusedError).and.to.include({storeCode: 'ServiceUnavailable', exitCode: 1})
        expect(error.message).to.include('503')
        scopes.push(error.scope)
      }

      expect(scopes).to.deep.equal(['request', 'request', 'run'])
      expect(faults.clock.sleptMs / 3).to.be.within(20_000, 120_000)
      expect(faults.store.requestCounts().PutObject).to.equal(24)
    })

    it('to one request makes the others wait too', async () => {
      // Real pauses: what counts is when the others are sent.
      const begin = Date.now()
      await start(
        {},
        {clock: {now: () => new Date(), sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))}},
      )
      first('PutObject', {answer: answer(503, {'retry-after': '1'})})
      const refused = put('a')
      while (faults.notices.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
      await put('b')
      expect(Date.now() - begin).to.be.at.least(950)
      await refused
    })

    it('is waited for as long as Retry-After says, within bounds', async () => {
      await start()
      first('PutObject', {answer: answer(503, {'retry-after': '7'})})
      await put('a')
      expect(faults.notices).to.have.length(1)
      expect(faults.notices[0]).to.include({
        operation: 'PutObject',
        attempt: 1,
        pauseMs: 7000,
        reason: 'ServiceUnavailable, HTTP 503',
      })
    })
  })
})

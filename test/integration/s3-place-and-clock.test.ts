import {expect} from 'chai'
import {answer, errorAnswer, xmlAnswer} from '../support/fault-server.ts'
import {collect, errorOf, key, useFaultStore} from '../support/fault-store.ts'

describe('the S3 store in the wrong place or at the wrong time', () => {
  const faults = useFaultStore()
  const {start, connect, put} = faults

  describe('C64: region and endpoint', () => {
    it('a redirect to another region is named in one message, without a storm, also for a HEAD without body', async () => {
      await start()
      faults.server.hook = ({method}) => ({
        answer:
          method === 'HEAD'
            ? answer(301, {'x-amz-bucket-region': 'eu-north-1'})
            : {...errorAnswer(301, 'PermanentRedirect'), headers: {'x-amz-bucket-region': 'eu-north-1'}},
      })
      for (const attempt of [
        () => faults.store.head(key('a')),
        () => put('a'),
        () => collect(faults.store.list('a')),
        () => faults.store.get(key('a'), {maxBytes: 1}),
      ]) {
        const error = await errorOf(attempt())
        expect(error).to.include({scope: 'run'})
        expect(error.message).to.include('eu-north-1')
        expect(error.hint).to.include('eu-north-1')
      }

      expect(faults.server.requests).to.have.length(4)
    })

    it('AuthorizationHeaderMalformed names the region in its body, also behind a HEAD', async () => {
      await start()
      faults.server.hook = ({method}) => ({
        answer:
          method === 'HEAD'
            ? answer(400)
            : xmlAnswer(
                '<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong</Message><Region>eu-west-1</Region></Error>',
                400,
              ),
      })
      expect((await errorOf(faults.store.head(key('a')))).message).to.include('eu-west-1')
      expect((await errorOf(put('a'))).message).to.include('eu-west-1')
    })

    it('a path in the endpoint is used, and a closing slash makes no difference', async () => {
      await start({basePath: '/gw/s3'})
      await put('p/a')
      expect((await collect(faults.store.list('p/'))).map((object) => object.key)).to.deep.equal(['p/a'])
      expect(faults.server.requests[0]?.path).to.match(/^\/gw\/s3\/bucket\/p\/a(\?|$)/)
      faults.store = connect({endpoint: `${faults.server.endpoint}/`})
      await put('p/b')
      expect([...faults.server.objects.keys()]).to.deep.equal(['p/a', 'p/b'])
    })
  })

  describe('C66: the clock', () => {
    for (const minutes of [20, -20]) {
      it(`${minutes} minutes off is corrected from the store's Date, and each attempt is signed anew`, async () => {
        const now = () => new Date(Date.now() + minutes * 60_000)
        await start({now})
        faults.server.hook = ({headers}) => {
          const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(headers['x-amz-date'] ?? '') ?? []
          const signedMs = Date.UTC(Number(y), Number(mo) - 1, Number(d), Number(h), Number(mi), Number(s))
          return Math.abs(now().getTime() - signedMs) > 15 * 60_000
            ? {answer: errorAnswer(403, 'RequestTimeTooSkewed')}
            : undefined
        }

        expect(await put('a')).to.equal('stored')
        expect(faults.server.requests).to.have.length(2)
        expect(faults.server.requests[0]?.headers.authorization).to.not.equal(faults.server.requests[1]?.headers.authorization)
        expect(Math.round((faults.store.clockOffsetMs() ?? 0) / 60_000)).to.equal(minutes)
        await put('b')
        expect(faults.server.requests).to.have.length(3)
      })
    }

    it('that cannot be corrected ends quickly and says by how much it differs', async () => {
      await start({now: () => new Date(Date.now() + 20 * 60_000)})
      faults.server.hook = () => ({answer: errorAnswer(403, 'RequestTimeTooSkewed')})
      const error = await errorOf(put('a'))
      expect(error).to.include({storeCode: 'RequestTimeTooSkewed', scope: 'run'})
      expect(error.message).to.include('differs by 20 min').and.include('behind')
      expect(faults.server.requests.length).to.be.at.most(3)
    })
  })

  it('says nothing secret when a request is denied, in message, hint or what the logger would print', async () => {
    await start()
    const {inspect} = await import('node:util')
    for (const fault of [
      {answer: errorAnswer(403, 'SignatureDoesNotMatch')},
      {reset: 'unserved'},
      {silent: 'unserved'},
    ] as const) {
      faults.server.hook = () => fault
      faults.store = connect({maxAttempts: 1})
      const error = await errorOf(put('a'))
      const printed = inspect(error, {depth: 20, showHidden: false})
      for (const secret of ['very-secret', 'AWS4-HMAC', 'Signature='])
        expect(printed + error.message + error.hint).to.not.include(secret)
    }
  })
})

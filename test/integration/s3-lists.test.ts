import {expect} from 'chai'
import {StoreRefusedError} from '../../src/lib/errors.ts'
import {answer, errorAnswer} from '../support/fault-server.ts'
import {collect, errorOf, useFaultStore} from '../support/fault-store.ts'

describe('the S3 store and lists of a server that misbehaves', () => {
  const faults = useFaultStore()
  const {start, put, first} = faults

  describe('C22: names in lists', () => {
    const names = [
      'a b',
      'a+b',
      '100%',
      'a%2Bb',
      'x#y?z&=',
      'tab\there',
      'line\nbreak',
      'back\bspace',
      'q"\'',
      '~t',
      'b\\s',
      '..h',
      'end.',
    ]
    for (const encoding of ['plus', 'percent'] as const) {
      it(`come back exactly when the store writes a space as ${encoding === 'plus' ? '+' : '%20'}`, async () => {
        await start({encoding, pageSize: 4})
        for (const name of names) await put(`n/${name}`, name)
        const listed = await collect(faults.store.list('n/'))
        expect(listed.map((object) => object.key.slice(2))).to.have.members(names)
        for (const object of listed)
          expect(String(await faults.store.get(object.key, {maxBytes: 100}))).to.equal(object.key.slice(2))
        expect(await faults.store.delete(listed.map((object) => object.key))).to.deep.equal([])
        expect(faults.server.objects.size).to.equal(0)
      })
    }

    it('are taken as they are when the store ignores encoding-type, as versitygw does', async () => {
      await start({encoding: 'ignored'})
      for (const name of ['a+b', 'a%2Bb', '100%', 'a b']) await put(`n/${name}`)
      expect((await collect(faults.store.list('n/'))).map((object) => object.key)).to.have.members([
        'n/a+b',
        'n/a%2Bb',
        'n/100%',
        'n/a b',
      ])
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
      faults.server.hook = ({operation, number}) =>
        operation === 'ListObjectsV2'
          ? {change: (honest) => ({...honest, body: Buffer.from(change(honest.body.toString(), number))})}
          : undefined
    }

    it('an end cut off without a token is an error, not a shorter list', async () => {
      await fill(25)
      changeLists((text) => text.replace(/<NextContinuationToken>.*<\/NextContinuationToken>/, ''))
      const error = await errorOf(collect(faults.store.list('w/')))
      expect(error).to.be.instanceOf(StoreRefusedError).and.to.include({storeCode: 'InvalidAnswer', scope: 'run'})
      expect(faults.server.requests.filter((request) => request.operation === 'ListObjectsV2')).to.have.length(1)
    })

    it('the same token twice is an error', async () => {
      await fill(25)
      changeLists((text) =>
        text.replace(
          /<NextContinuationToken>.*<\/NextContinuationToken>/,
          '<NextContinuationToken>dy8wMDk</NextContinuationToken>',
        ),
      )
      expect((await errorOf(collect(faults.store.list('w/')))).message).to.include('twice')
      expect(faults.server.requests.filter((request) => request.operation === 'ListObjectsV2')).to.have.length(2)
    })

    it('KeyCount and MaxKeys may be missing, and a page may be empty and go on', async () => {
      await fill(25)
      changeLists((text, number) => {
        const bare = text.replace(/<KeyCount>\d+<\/KeyCount><MaxKeys>\d+<\/MaxKeys>/, '')
        if (number > 1) return bare
        return bare
          .replace(/<Contents>.*<\/Contents>/, '')
          .replace(
            /<NextContinuationToken>.*<\/NextContinuationToken>/,
            `<NextContinuationToken>${Buffer.from('w/').toString('base64url')}</NextContinuationToken>`,
          )
      })
      expect(await collect(faults.store.list('w/'))).to.have.length(25)
    })

    it('a page of another bucket, of another prefix or with foreign keys is an error', async () => {
      await fill(3)
      changeLists((text) => text.replace('<Name>bucket</Name>', '<Name>other</Name>'))
      expect((await errorOf(collect(faults.store.list('w/')))).message).to.include('of bucket "other"')
      changeLists((text) => text.replace('<Prefix>w/</Prefix>', '<Prefix>z/</Prefix>'))
      expect((await errorOf(collect(faults.store.list('w/')))).message).to.include('of prefix "z/"')
      changeLists((text) => text.replace('w/001', 'v/001'))
      expect((await errorOf(collect(faults.store.list('w/')))).message).to.include('"v/001"')
    })

    it('a web page with status 200, or a page cut in the middle, is never an empty list', async () => {
      await fill(3)
      faults.server.hook = ({operation}) =>
        operation === 'ListObjectsV2' ? {answer: answer(200, {}, Buffer.from('<html><body>log in</body></html>'))} : undefined
      expect((await errorOf(collect(faults.store.list('w/')))).message).to.include('not one of S3')
      changeLists((text, number) => (number <= 5 ? text.slice(0, -30) : text))
      expect(await collect(faults.store.list('w/'))).to.have.length(3)
      changeLists((text) => text.slice(0, -30))
      expect((await errorOf(collect(faults.store.list('w/')))).message).to.include('cut')
    })

    it('a page that stops arriving is asked for again', async () => {
      await fill(3)
      faults.server.hook = ({operation, number}) =>
        operation === 'ListObjectsV2' && number < 3 ? (number === 1 ? {stallAtByte: 100} : {cutAtByte: 100}) : undefined
      expect(await collect(faults.store.list('w/'))).to.have.length(3)
      expect(faults.store.requestCounts().ListObjectsV2).to.equal(3)
    })
  })
})

import {expect} from 'chai'
import {StoreRefusedError} from '../../src/lib/errors.ts'
import {errorAnswer, xmlAnswer} from '../support/fault-server.ts'
import {errorOf, key, useFaultStore} from '../support/fault-store.ts'

describe('the S3 store', () => {
  const faults = useFaultStore()
  const {start, put, first} = faults

  describe('conditional PUTs', () => {
    it('whose answer was lost after they were carried out are stored, and were sent once', async () => {
      await start()
      first('PutObject', {reset: 'served'})
      expect(await put('a', 'body', true)).to.equal('stored')
      expect(faults.store.requestCounts().PutObject).to.equal(1)
    })

    it('whose connection broke before are sent again', async () => {
      await start()
      first('PutObject', {reset: 'unserved'})
      expect(await put('a', 'body', true)).to.equal('stored')
      expect(String(faults.server.objects.get('a')?.body)).to.equal('body')
    })

    it('that meet another object on a broken connection replace nothing, as with minio, which resets instead of 412', async () => {
      await start()
      await put('a', 'old')
      faults.server.hook = ({operation, number}) => (operation === 'PutObject' && number > 1 ? {reset: 'unserved'} : undefined)
      expect(await put('a', 'new', true)).to.equal('exists')
      expect(faults.store.requestCounts().PutObject).to.equal(2)
    })

    it('refused twice although nothing is there, as versitygw does over a delete marker, are written without the condition', async () => {
      await start()
      faults.server.hook = ({headers}) =>
        headers['if-none-match'] === undefined ? undefined : {answer: errorAnswer(412, 'PreconditionFailed')}
      expect(await put('a', 'body', true)).to.equal('stored')
      expect(String(faults.server.objects.get('a')?.body)).to.equal('body')
    })

    for (const honoursConditions of [true, false]) {
      it(`are found to be ${honoursConditions ? 'honoured' : 'ignored'} by the probe, which keeps the object's metadata`, async () => {
        await start({honoursConditions}, {storageClass: {wal: 'STANDARD_IA'}})
        const options = {kind: 'wal', metadata: {mtime: '5'}} as const
        for (let round = 0; round < 2; round++) {
          expect(await faults.store.probeConditionalPut(key('probe'), Buffer.from('x'), options)).to.equal(
            honoursConditions ? 'native' : 'head-first',
          )
          expect(faults.server.objects.get('probe')?.headers).to.include({
            'x-amz-meta-mtime': '5',
            'x-amz-storage-class': 'STANDARD_IA',
          })
        }

        expect(await errorOf(faults.store.probeConditionalPut(key('probe'), Buffer.from('y'), options))).to.be.instanceOf(
          StoreRefusedError,
        )
        expect(String(faults.server.objects.get('probe')?.body)).to.equal('x')
      })
    }

    it('ask first where the store ignores the condition', async () => {
      await start({honoursConditions: false}, {conditionalPut: 'head-first'})
      expect(await put('a', 'one', true)).to.equal('stored')
      expect(await put('a', 'one', true)).to.equal('stored')
      expect(await put('a', 'two', true)).to.equal('exists')
      expect(String(faults.server.objects.get('a')?.body)).to.equal('one')
      expect(faults.server.requests.every((request) => request.headers['if-none-match'] === undefined)).to.equal(true)
    })
  })

  describe('C40: a batch delete with single errors inside', () => {
    for (const isQuiet of [true, false]) {
      it(`names the keys that stay, ${isQuiet ? 'only errors' : 'deleted keys too'} in the answer`, async () => {
        await start()
        const names = Array.from({length: 1000}, (_, index) => `k/${String(index).padStart(4, '0')}`)
        const kept = new Set(['k/0000', 'k/0500', 'k/0999'])
        faults.server.hook = ({operation}) => {
          if (operation !== 'DeleteObjects') return undefined
          const deleted = isQuiet
            ? ''
            : names
                .filter((name) => !kept.has(name))
                .map((name) => `<Deleted><Key>${name}</Key></Deleted>`)
                .join('')
          const errors = [...kept]
            .map((name) => `<Error><Key>${name}</Key><Code>AccessDenied</Code><Message>no</Message></Error>`)
            .join('')
          return {answer: xmlAnswer(`<DeleteResult>${deleted}${errors}</DeleteResult>`)}
        }

        const failures = await faults.store.delete(names.map(key))
        expect(failures).to.deep.equal([...kept].map((name) => ({key: name, storeCode: 'AccessDenied', message: 'no'})))
        expect(faults.store.requestCounts().DeleteObjects).to.equal(1)
      })
    }

    it('tries keys again for which the store was busy', async () => {
      await start()
      for (const name of ['a', 'b', 'c']) await put(name)
      first('DeleteObjects', {
        answer: xmlAnswer(
          '<DeleteResult><Error><Key>b</Key><Code>InternalError</Code></Error><Error><Key>c</Key><Code>AccessDenied</Code></Error></DeleteResult>',
        ),
      })
      expect(await faults.store.delete(['a', 'b', 'c'].map(key))).to.deep.equal([
        {key: 'c', storeCode: 'AccessDenied', message: ''},
      ])
      expect(faults.server.objects.has('b')).to.equal(false)
      expect(String(faults.server.requests.at(-1)?.body)).to.not.include('<Key>a</Key>')
    })
  })
})

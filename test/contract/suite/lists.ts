import {expect} from 'chai'
import {StoreRefusedError} from '../../../src/lib/errors.ts'
import {compareKeys} from '../../../src/lib/store/key-order.ts'
import {key, listAll, listKeys, errorOf, inParallel, type Suite} from './suite.ts'

/** Lists. */
export function describeLists(suite: Suite): void {
  describe('list', () => {
    it('yields what begins with the prefix, with sizes and times', async () => {
      for (const at of ['wals/1/a', 'wals/1/b', 'wals/2/c', 'walsx']) await suite.put(at, at)
      const objects = await listAll(suite.store, 'wals/')
      expect(objects.map((object) => object.key)).to.have.members(['wals/1/a', 'wals/1/b', 'wals/2/c'])
      for (const object of objects) {
        expect(object.sizeBytes).to.equal(object.key.length)
        expect(Math.abs(object.lastModified.getTime() - Date.now())).to.be.below(60_000)
      }

      expect(await listKeys(suite.store, 'none/')).to.deep.equal([])
    })

    it('gives names with blanks, signs and other scripts back exactly (C22)', async () => {
      const names = [
        'a b',
        'a+b',
        '100%',
        'a%2Bb',
        'x#y?z&=',
        'q"\'',
        '~t',
        '..h',
        'end.',
        '<x>',
        '&amp;',
        'ü',
        '日本',
        'e\u0301',
        '\u{1F600}',
        '*(!)',
        'a=b',
        'a:b;c,d',
        '@$',
        'tr. ',
      ]
      for (const at of names) await suite.put(`n/${at}`, at)
      expect((await listKeys(suite.store, 'n/')).map((at) => at.slice(2))).to.have.members(names)
      for (const at of names) expect(String(await suite.store.get(key(`n/${at}`), {maxBytes: 100}))).to.equal(at)
      expect(await suite.store.delete(names.map((at) => key(`n/${at}`)))).to.deep.equal([])
      expect(await listKeys(suite.store, 'n/')).to.deep.equal([])
    })

    for (const [character, label] of [
      ['\t', 'TAB'],
      ['\n', 'newline'],
      ['\r', 'CR'],
      ['\b', '\\x08'],
      ['\\', 'backslash'],
    ] as const) {
      const isSpoilt = suite.deviations.spoiltCharacters?.includes(character) ?? false
      it(`${isSpoilt ? 'does not give back' : 'gives back'} a name with ${label} (C22)`, async () => {
        const at = `c/x${character}y`
        const outcome = await errorOf(suite.put(at, 'x'))
        const found = outcome === undefined ? await listKeys(suite.store, 'c/') : []
        if (isSpoilt) {
          expect(found).not.to.deep.equal([at])
          return
        }

        expect(found).to.deep.equal([at])
        expect(await suite.store.delete([key(at)])).to.deep.equal([])
        expect(await listKeys(suite.store, 'c/')).to.deep.equal([])
      })
    }

    it('sorts by UTF-8 bytes within a page', async () => {
      const names = ['b', 'B', 'a-', 'a.', 'a/x', 'a0', '\u{1F600}', '\uE000', 'ü', '~']
      for (const at of names) await suite.put(`s/${at}`, at)
      const keys = (await listKeys(suite.store, 's/')).map((at) => at.slice(2))
      expect(keys).to.deep.equal([...names].sort(compareKeys))
    })

    it('begins after startAfter, also where that is no key or before the prefix', async () => {
      const names = ['w/1', 'w/2', 'w/2.x', 'w/3/a', 'w/3/b', 'w/4']
      for (const at of names) await suite.put(at, at)
      expect(await listKeys(suite.store, 'w/', 'w/2')).to.have.members(['w/2.x', 'w/3/a', 'w/3/b', 'w/4'])
      expect(await listKeys(suite.store, 'w/', 'w/25')).to.have.members(['w/3/a', 'w/3/b', 'w/4'])
      expect(await listKeys(suite.store, 'w/', 'w/3/a')).to.have.members(['w/3/b', 'w/4'])
      expect(await listKeys(suite.store, 'w/', 'w/4')).to.deep.equal([])
      expect(await listKeys(suite.store, 'w/', 'a')).to.have.members(names)
      expect(await listKeys(suite.store, 'w/', 'x')).to.deep.equal([])
    })

    it('misses nothing after startAfter where folder order and byte order differ', async () => {
      const names = ['f/a-b', 'f/a.b', 'f/a/x', 'f/a/y', 'f/a0', 'f/b']
      for (const at of names) await suite.put(at, at)
      for (const from of [...names, 'f/a', 'f/a/', 'f/a-', 'f/a.', 'f/a/xx']) {
        const wanted = names.filter((at) => compareKeys(at, from) > 0)
        expect(await listKeys(suite.store, 'f/', from), `after ${from}`).to.have.members(wanted)
      }
    })

    it('goes through pages', async function () {
      this.timeout(60_000)
      const names = Array.from({length: 1005}, (_, index) => `p/${String(index).padStart(5, '0')}`)
      await inParallel(names, (at) => suite.put(at, ''))
      expect(await listKeys(suite.store, 'p/')).to.deep.equal(names)
      expect(await listKeys(suite.store, 'p/', names[1000])).to.deep.equal(names.slice(1001))
      expect(await suite.store.delete(names.map(key))).to.deep.equal([])
      expect(await listKeys(suite.store, 'p/')).to.deep.equal([])
    })

    it('sees what was just written and not what was just deleted', async () => {
      for (let round = 0; round < 10; round++) {
        await suite.put(`r/${round}`, 'x')
        expect(await listKeys(suite.store, 'r/')).to.deep.equal([`r/${round}`])
        await suite.store.delete([key(`r/${round}`)])
        expect(await listKeys(suite.store, 'r/')).to.deep.equal([])
      }
    })

    it(`${suite.deviations.refusesKeyBelowKey ? 'cannot have' : 'has'} a key below another key`, async () => {
      await suite.put('x', '1')
      const error = await errorOf(suite.put('x/y', '2'))
      if (suite.deviations.refusesKeyBelowKey)
        expect(error).to.be.instanceOf(StoreRefusedError).and.to.include({scope: 'request'})
      else expect(await listKeys(suite.store, 'x')).to.have.members(['x', 'x/y'])
    })
  })

  describe('listDirectories', () => {
    it('names what has keys below it, sorted by bytes, and no keys', async () => {
      for (const at of [
        'base/20260101T000000/data/a',
        'base/20260101T000000/b',
        'base/20251231T000000/c',
        'base/file',
        'base/a b+c%/x',
        'other/z',
      ]) {
        await suite.put(at, 'x')
      }

      expect(await suite.store.listDirectories('base/')).to.deep.equal(['20251231T000000', '20260101T000000', 'a b+c%'])
      expect(await suite.store.listDirectories('none/')).to.deep.equal([])
    })

    it('does not keep a name whose keys are gone, or is known to', async () => {
      await suite.put('base/one/a', 'x')
      await suite.put('base/two/a', 'x')
      await suite.store.delete([key('base/one/a')])
      expect(await suite.store.listDirectories('base/')).to.deep.equal(
        suite.deviations.keepsEmptyFolders ? ['one', 'two'] : ['two'],
      )
    })
  })
}

import {expect} from 'chai'
import {readFile, readdir, writeFile} from 'node:fs/promises'
import {hostname} from 'node:os'
import {join} from 'node:path'
import {LocalStateError} from '../../../src/lib/errors.ts'
import {readOrCreateWriterId} from '../../../src/lib/local/writer-id.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

describe('the identity of an installation', () => {
  const directory = useTemporaryDirectory()

  it('is made once and stays', async () => {
    const state = join(directory(), 'state')
    const first = await readOrCreateWriterId(state)
    expect(first.id).to.match(/^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[\da-f]{4}-[\da-f]{12}$/)
    expect(first.hostName).to.equal(hostname())
    expect(await readOrCreateWriterId(state)).to.deep.equal(first)
    expect(await readdir(state)).to.deep.equal(['writer.json'])
  })

  it('is one for many first runs at once', async () => {
    const found = await Promise.all(Array.from({length: 20}, () => readOrCreateWriterId(directory())))
    expect(new Set(found.map(({id}) => id)).size).to.equal(1)
  })

  const damages: ReadonlyArray<readonly [string, string]> = [
    ['', 'empty'], ['{"version": 1, "id": "0b', 'not whole JSON'], ['[]', 'not a JSON object'],
    ['{"version": 2, "id": "x"}', 'not version 1'], ['{"version": 1, "id": "../x"}', 'not a UUID'],
  ]
  for (const [text, reason] of damages) {
    it(`is never replaced when its file is damaged (${reason})`, async () => {
      await writeFile(join(directory(), 'writer.json'), text)
      try {
        await readOrCreateWriterId(directory())
        throw new Error('it did not fail')
      } catch (error) {
        expect(error).to.be.instanceOf(LocalStateError)
        expect((error as LocalStateError).message).to.include(reason)
        expect((error as LocalStateError).hint).to.include('restore the file')
      }
      expect(await readFile(join(directory(), 'writer.json'), 'utf8')).to.equal(text)
    })
  }
})

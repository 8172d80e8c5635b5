import {expect} from 'chai'
import {mkdir, readFile, writeFile} from 'node:fs/promises'
import {join} from 'node:path'
import {EMPTY_SYNC_STATE, readSyncState, writeSyncState} from '../../../src/lib/local/sync-state.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

describe('the state of a server', () => {
  const directory = useTemporaryDirectory()

  it('is empty without a document, and comes back as written', async () => {
    expect(await readSyncState(directory(), 'a/b')).to.deep.equal({state: EMPTY_SYNC_STATE, warning: undefined})
    await writeSyncState(directory(), 'a/b', {version: 1, conditionalPut: {'https://s3/b': 'head-first'}})
    const {state} = await readSyncState(directory(), 'a/b')
    expect(state.conditionalPut).to.deep.equal({'https://s3/b': 'head-first'})
    expect((await readSyncState(directory(), 'a')).state).to.deep.equal(EMPTY_SYNC_STATE)
  })

  it('keeps fields that this version does not know', async () => {
    const path = join(directory(), 'main.state.json')
    await writeFile(path, '{"version": 1, "conditionalPut": {"x": "native", "y": "later"}, "notes": [1]}')
    const {state, warning} = await readSyncState(directory(), 'main')
    expect(warning).to.equal(undefined)
    expect(state.conditionalPut).to.deep.equal({x: 'native'})
    await writeSyncState(directory(), 'main', state)
    expect(JSON.parse(await readFile(path, 'utf8'))).to.deep.equal(
      {version: 1, conditionalPut: {x: 'native'}, notes: [1]})
  })

  for (const text of ['', '{"version"', 'null', '{"version": 7}', '\u0000']) {
    it(`counts as absent, with a warning, when it is ${JSON.stringify(text)}`, async () => {
      await writeFile(join(directory(), 'main.state.json'), text)
      const {state, warning} = await readSyncState(directory(), 'main')
      expect(state).to.deep.equal(EMPTY_SYNC_STATE)
      expect(warning).to.include('main.state.json is not used')
    })
  }

  it('counts as absent, with a warning, when something else stands there', async () => {
    await mkdir(join(directory(), 'main.state.json'))
    expect((await readSyncState(directory(), 'main')).warning).to.include('not a regular file')
  })
})

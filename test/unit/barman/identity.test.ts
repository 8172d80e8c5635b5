import {expect} from 'chai'
import path from 'node:path'
import {readCatalog} from '../../../src/lib/barman/catalog.ts'
import {readIdentity, readSystemId} from '../../../src/lib/barman/identity.ts'
import {BarmanFilesError} from '../../../src/lib/errors.ts'
import {LABS} from './fixtures.ts'
import {rejectionOf} from './promises.ts'
import {copyLab, infoText, makeTempTree} from './temp-tree.ts'
import type {TempTree} from './temp-tree.ts'

describe('the identity of a server', () => {
  let tree: TempTree
  beforeEach(() => {
    tree = makeTempTree()
  })
  afterEach(() => tree.remove())

  for (const lab of LABS) {
    it(`of ${lab} is that of its backups`, async () => {
      const copy = copyLab(lab)
      try {
        const {backups} = await readCatalog(copy.server)
        const identity = await readIdentity(copy.server)
        expect(identity === undefined).to.equal(lab === 'barman-3.19.1-passive')
        if (identity !== undefined) expect(identity.version).to.equal(lab.includes('postgres18') ? '18' : '15')
        const systemId = await readSystemId(copy.server)
        expect(systemId).to.equal(backups[0]?.info?.systemId).and.to.equal(identity?.systemId ?? systemId)
      } finally {
        copy.remove()
      }
    })
  }
  it('keeps every digit of a system id written as a JSON number', async () => {
    tree.write('identity.json', '{"systemid": 7712021306369699987, "version": "18"}')
    expect(await readIdentity(tree.server)).to.deep.equal({systemId: '7712021306369699987', version: '18'})
  })
  it('takes a version written as a number, or none', async () => {
    tree.write('identity.json', '{"systemid": "1", "version": 9.6}')
    expect(await readIdentity(tree.server)).to.deep.equal({systemId: '1', version: '9.6'})
    tree.write('identity.json', '{"systemid": "1", "more": null}')
    expect(await readIdentity(tree.server)).to.deep.equal({systemId: '1', version: undefined})
  })
  for (const text of ['', '{', '[]', 'null', '{}', '{"systemid": null}', '{"systemid": "abc"}', '{"systemid": 1.5}', '{"systemid": -1}', '\0\0']) {
    it(`${JSON.stringify(text)} is an error, not "no identity"`, async () => {
      const file = tree.write('identity.json', text)
      const error = await rejectionOf(readSystemId(tree.server))
      expect(error).to.be.instanceOf(BarmanFilesError)
      expect((error as Error).message).to.include(file)
    })
  }
  it('without identity.json is that of the newest backup by begin time that has one', async () => {
    tree.write('meta/20261025T033000-backup.info', infoText({begin_time: '2026-10-25 00:30:00+00:00', systemid: '1'}))
    tree.write('meta/20261025T031500-backup.info', infoText({begin_time: '2026-10-25 01:15:00+00:00', systemid: '2'}))
    tree.write('meta/20261026T000000-backup.info', infoText({begin_time: '2026-10-26 00:00:00+00:00', systemid: 'None'}))
    tree.write('meta/20261027T000000-backup.info', 'nonsense')
    tree.write('meta/20261028T000000-backup.info', infoText({status: 'EMPTY', begin_time: 'None', systemid: '3'}))
    expect(await readSystemId(tree.server)).to.equal('2')
    expect(await readSystemId(tree.server, {catalog: await readCatalog(tree.server)})).to.equal('2')
  })
  it('is not known when nothing names one', async () => {
    expect(await readSystemId(tree.server)).to.equal(undefined)
    tree.write('meta/20261026T000000-backup.info', infoText())
    expect(await readSystemId(tree.server)).to.equal(undefined)
    expect(path.basename(tree.server.directory)).to.equal('pg')
  })
})

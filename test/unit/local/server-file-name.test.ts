import {expect} from 'chai'
import fc from 'fast-check'
import {fileNameForServer, serverOfFileName} from '../../../src/lib/local/server-file-name.ts'

describe('the file name for a server', () => {
  const table: ReadonlyArray<readonly [string, string]> = [
    ['main-server', 'main-server'],
    ['pg_15.example.org', 'pg_15.example.org'],
    ['s_a-pg', 's_a-pg'],
    ['..', '%2E.'],
    ['.hidden', '%2Ehidden'],
    ['a/b', 'a%2Fb'],
    ['50%', '50%25'],
    ['a b$(id)`', 'a%20b%24%28id%29%60'],
    ["it's", 'it%27s'],
    ['ü', '%C3%BC'],
    ['a\nb', 'a%0Ab'],
    ['', '%'],
  ]
  for (const [server, fileName] of table) {
    it(`is ${JSON.stringify(fileName)} for ${JSON.stringify(server)}`, () => {
      expect(fileNameForServer(server)).to.equal(fileName)
      expect(serverOfFileName(fileName)).to.equal(server)
    })
  }

  it('is always one name a directory can hold with any of our endings, and leads back', () => {
    fc.assert(fc.property(fc.string({unit: 'grapheme', maxLength: 60}), (server) => {
      const name = fileNameForServer(server)
      expect(name).to.match(/^[A-Za-z0-9_\-+@:,~%][A-Za-z0-9_\-+@:,.~%]*$/)
      expect(name.length).to.be.within(1, 200)
      const back = serverOfFileName(name)
      if (back !== undefined) expect(back).to.equal(server)
    }))
  })

  it('is cut for very long names, which still differ', () => {
    const one = fileNameForServer(`${'ü'.repeat(300)}1`)
    const other = fileNameForServer(`${'ü'.repeat(300)}2`)
    expect(one.length).to.be.at.most(200)
    expect(one).to.not.equal(other)
    expect(serverOfFileName(one)).to.equal(undefined)
  })
})

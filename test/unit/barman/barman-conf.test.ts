import {expect} from 'chai'
import {chmodSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs'
import {tmpdir} from 'node:os'
import path from 'node:path'
import {parseBarmanConfSection, readLockDirectory} from '../../../src/lib/barman/barman-conf.ts'
import {BarmanFilesError} from '../../../src/lib/errors.ts'
import {asUnprivilegedUser} from './as-other-user.ts'
import {LABS, labPath, readLabText} from './fixtures.ts'
import {rejectionOf} from './promises.ts'

describe('parseBarmanConfSection', () => {
  for (const lab of LABS) {
    it(`reads the globals of ${lab} and nothing of its servers`, () => {
      const globals = parseBarmanConfSection(readLabText(lab, 'barman.conf'), 'barman')
      expect(globals.get('barman_home')).to.equal('/var/lib/barman')
      expect(globals.get('barman_user')).to.equal('barman')
      expect([...globals.keys()]).to.not.include.members(['conninfo'])
      expect([...globals.values()].join()).to.not.include('password')
    })
  }
  it("follows Python's rules", () => {
    const text = [
      '\uFEFF; comment', '[other]', 'barman_home = /wrong', '[barman]', '# comment', '   # indented comment', 'Barman_Home:/srv/barman',
      'barman_lock_directory = "%(barman_home)s/locks"', 'a = one', 'a = two', "b = 'x y'", 'c = None', 'd =', 'novalue', 'e = x = y # not a comment',
      'f = first', '   second', 'percent = 5%%', '[barman2]', 'barman_home = /wrong', '[barman]', 'g = again',
    ].join('\r\n')
    expect(Object.fromEntries(parseBarmanConfSection(text, 'barman'))).to.deep.equal({
      barman_home: '/srv/barman', barman_lock_directory: '/srv/barman/locks', a: 'two', b: 'x y', e: 'x = y # not a comment',
      f: 'first\nsecond', percent: '5%', g: 'again',
    })
  })
  it('ends on options that name each other in a circle', () => {
    expect(parseBarmanConfSection('[barman]\na = %(b)s\nb = %(a)s\n', 'barman').size).to.equal(2)
  })
})

describe('readLockDirectory', () => {
  let home: string
  beforeEach(() => {
    home = mkdtempSync(path.join(tmpdir(), 'barmans3-conf-'))
  })
  afterEach(() => rmSync(home, {recursive: true, force: true}))
  const write = (text: string, name = 'barman.conf') => {
    writeFileSync(path.join(home, name), text)
    return path.join(home, name)
  }

  it('is barman_home unless barman.conf says otherwise', async () => {
    expect(await readLockDirectory({configurationPath: labPath('barman-3.19.1-postgres', 'barman.conf')})).to.equal('/var/lib/barman')
    const own = write('[barman]\nbarman_home = /b\nbarman_lock_directory = /run/barman/\n')
    expect(await readLockDirectory({configurationPath: own})).to.equal('/run/barman')
  })
  it('is looked up where Barman looks: -c, then BARMAN_CONFIG_FILE, then ~/.barman.conf', async () => {
    const given = write('[barman]\nbarman_home = /given\n', 'given.conf')
    const inEnvironment = write('[barman]\nbarman_home = /environment\n', 'environment.conf')
    write('[barman]\nbarman_home = /home\n', '.barman.conf')
    const env = {HOME: home, BARMAN_CONFIG_FILE: inEnvironment}
    expect(await readLockDirectory({configurationPath: given, env})).to.equal('/given')
    expect(await readLockDirectory({env})).to.equal('/environment')
    expect(await readLockDirectory({env: {HOME: home}})).to.equal('/home')
  })
  it('is not known without a file, without the section, or from a relative path', async () => {
    expect(await readLockDirectory({configurationPath: path.join(home, 'none')})).to.equal(undefined)
    expect(await readLockDirectory({configurationPath: write('[pg]\nbarman_home = /b\n')})).to.equal(undefined)
    expect(await readLockDirectory({configurationPath: write('[barman]\nbarman_home = b\n')})).to.equal(undefined)
  })
  it('says so when the file may not be read', async () => {
    const file = write('[barman]\nbarman_home = /b\n')
    chmodSync(home, 0o755)
    chmodSync(file, 0)
    const error = await asUnprivilegedUser(() => rejectionOf(readLockDirectory({configurationPath: file})))
    expect(error).to.be.instanceOf(BarmanFilesError).with.property('message').that.includes(file)
  })
})

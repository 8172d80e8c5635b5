import {expect} from 'chai'
import {existsSync} from 'node:fs'
import {cp, readdir, readFile, rename, rm, symlink, writeFile} from 'node:fs/promises'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {runChild} from '../../support/child.ts'
import {makeInstallation, type Installation} from '../../support/installation.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

const hook = {
  BARMAN_SERVER: 'main', BARMAN_BACKUP_ID: '20261125T073400', BARMAN_PHASE: 'post', BARMAN_STATUS: 'WAITING_FOR_WALS',
  BARMAN_HOOK: 'backup_script', BARMAN_ERROR: '', BARMAN_RETRY: '0',
}

describe('bin/run.js', function () {
  this.timeout(60_000)
  const directory = useTemporaryDirectory()
  let installation: Installation
  let program = ''

  before(async () => {
    installation = await makeInstallation()
    program = join(installation.directory, 'bin/run.js')
  })
  after(async () => {
    await installation.remove()
  })

  const inInstallation = (name: string) => join(installation.directory, name)
  const run = (parameters: readonly string[], isRetry = false) => installation.run(parameters, {
    ...hook, BARMAN_RETRY: isRetry ? '1' : '0', BARMANS3_QUEUE_DIRECTORY: join(directory(), 'queue.d'),
  })

  /** Runs `action` while `name` of the installation is away. */
  async function without(name: string, action: () => Promise<void>): Promise<void> {
    await rename(inInstallation(name), inInstallation('away'))
    try {
      await action()
    } finally {
      await rm(inInstallation(name), {recursive: true, force: true})
      await rename(inInstallation('away'), inInstallation(name))
    }
  }

  /** One line that names what is `missing`; exit 4, 62 for a retry hook, 126 for PostgreSQL. */
  async function expectBroken(missing: string): Promise<void> {
    const codes: Array<readonly [readonly string[], boolean, number]> = [
      [['queue', 'add'], false, 4], [['queue', 'add'], true, 62],
      [['queue', 'add', '--server', 'x'], true, 62], [['base', 'ls'], false, 4], [['wal', 'get', 'a', 'b', 'c'], false, 126],
    ]
    for (const [parameters, isRetry, code] of codes) {
      const {status, stderr} = await run(parameters, isRetry)
      expect(status, parameters.join(' ')).to.equal(code)
      expect(stderr, parameters.join(' ')).to.match(/^barmans3: the installation is broken: [^\n]+; reinstall barmans3\n$/)
      expect(stderr).to.include(missing)
    }
  }

  it('works through a symbolic link, as npm makes it', async () => {
    await symlink(program, join(directory(), 'barmans3'))
    const {stdout, status} = await runChild(process.execPath, [join(directory(), 'barmans3'), '--version'])
    expect([status, stdout.split(' ')[0]]).to.deep.equal([0, 'barmans3/0.1.0'])
    const direct = await runChild(join(directory(), 'barmans3'), ['--version'], {
      env: {PATH: `${fileURLToPath(new URL('../../../node_modules/.bin', import.meta.url))}:${process.env['PATH']}`},
    })
    expect(direct.stdout).to.equal(stdout)
  })

  it('names dist when it is missing', async () => {
    await without('dist', () => expectBroken('dist/lib/'))
  })

  it('names its own second file when it is missing', async () => {
    await without('bin/start.js', () => expectBroken('start.js'))
  })

  it('names a damaged file', async () => {
    const path = inInstallation('dist/lib/errors.js')
    const text = await readFile(path, 'utf8')
    await writeFile(path, text.slice(0, text.length / 2))
    try {
      const {status, stderr} = await run(['queue', 'add'], true)
      expect(status).to.equal(62)
      expect(stderr).to.include('the installation is broken')
      expect((await run(['wal', 'get', 'a', 'b', 'c'])).status).to.equal(126)
    } finally {
      await writeFile(path, text)
    }
  })

  it('without oclif stores the backup, since the hook does not need it, and yet says what is broken', async () => {
    await without('node_modules/@oclif/core', async () => {
      const {status, stdout, stderr} = await run(['queue', 'add'], true)
      expect([status, stdout]).to.deep.equal([62, 'backup 20261125T073400 of main added to the queue\n'])
      expect(stderr).to.include('@oclif/core not found').and.include('reinstall barmans3')
      expect(await readdir(join(directory(), 'queue.d/main'))).to.include('20261125T073400.run')
      expect((await run(['queue', 'add'])).status).to.equal(4)
      expect((await run(['base', 'ls'])).status).to.equal(4)
      expect((await run(['base', 'ls'])).stderr).to.match(/^barmans3: the installation is broken: [^\n]*@oclif\/core[^\n]*\n$/)
      expect((await run(['wal', 'get', 'a', 'b', 'c'])).status).to.equal(126)
    })
  })

  for (const name of ['zod', '@aws-sdk/client-s3', 'cosmiconfig']) {
    it(`queue add says that ${name} is missing, 62 for a retry hook`, async () => {
      await without(`node_modules/${name}`, async () => {
        const {status, stderr} = await run(['queue', 'add'], true)
        expect(status).to.equal(62)
        expect(stderr).to.include(`${name} not found`)
      })
    })
  }

  it('finds packages that npm put one level higher', async () => {
    const outer = join(directory(), 'node_modules')
    const moved = join(outer, 'barmans3')
    for (const name of ['bin', 'dist', 'package.json']) await cp(inInstallation(name), join(moved, name), {recursive: true})
    const environment = {...hook, BARMANS3_QUEUE_DIRECTORY: join(directory(), 'queue.d')}
    const add = () => runChild(process.execPath, [join(moved, 'bin/run.js'), 'queue', 'add'], {
      env: {...environment, PATH: process.env['PATH']},
    })
    expect((await add()).stderr).to.include('zod').and.include('@oclif/core')
    for (const name of await readdir(inInstallation('node_modules'))) {
      await symlink(inInstallation(`node_modules/${name}`), join(outer, name))
    }
    const {status, stderr} = await add()
    expect([status, stderr]).to.deep.equal([0, ''])
  })

  it('turns an uncaught exception into 62 for a retry hook, and into 126 for PostgreSQL', async () => {
    const path = inInstallation('dist/lib/errors.js')
    const text = await readFile(path, 'utf8')
    await writeFile(path, `${text}\nsetTimeout(() => { throw new Error('boom') }, 0)\n`)
    try {
      const asHook = await run(['queue', 'add'], true)
      expect(asHook.status).to.equal(62)
      expect(asHook.stderr).to.include('boom')
      expect((await run(['queue', 'add', '--server', 'x'], true)).status).to.equal(62)
      expect((await run(['wal', 'get', 'a', 'b', 'c'])).status).to.equal(126)
    } finally {
      await writeFile(path, text)
    }
  })

  it('turns a wrong command line into 62 for a retry hook', async () => {
    expect((await run(['queue', 'add', '--no-such-flag'], true)).status).to.equal(62)
    expect((await run(['queue', 'add', '--no-such-flag'])).status).to.be.within(1, 4)
  })

  describe('on an old Node', () => {
    // The version is all that run.js looks at; a preloaded script gives it an old one.
    async function runOld(parameters: readonly string[], isRetry = false) {
      const preload = join(directory(), 'old.cjs')
      await writeFile(preload, `Object.defineProperty(process.versions, 'node', {value: process.env.OLD_NODE})`)
      return runChild(process.execPath, ['--require', preload, program, ...parameters], {
        env: {PATH: process.env['PATH'], OLD_NODE: '22.17.1', BARMAN_RETRY: isRetry ? '1' : '0'},
      })
    }

    it('says so in one line, exit 3, 62 for a retry hook, 126 for PostgreSQL', async () => {
      for (const [parameters, isRetry, code] of [
        [['base', 'ls'], false, 3], [['queue', 'add'], false, 3], [['queue', 'add'], true, 62], [['wal', 'get', 'a'], false, 126],
        [[], false, 3],
      ] as const) {
        const {status, stderr} = await runOld(parameters, isRetry)
        expect(status, parameters.join(' ')).to.equal(code)
        expect(stderr).to.match(/^barmans3: Node 22\.17\.1 is too old, barmans3 needs 22\.18 or newer \(\/[^\n]+\)\n$/)
      }
    })

    it('of this machine, if its Node is older than needed, does the same', async () => {
      const candidates = ['/usr/bin/node', '/usr/local/bin/node', '/usr/bin/nodejs'].filter((path) => existsSync(path))
      for (const node of candidates) {
        const version = (await runChild(node, ['-p', 'process.versions.node'])).stdout.trim()
        const [major = 0, minor = 0] = version.split('.').map(Number)
        const isOld = major < 22 || (major === 22 && minor < 18)
        const {status, stderr} = await runChild(node, [program, '--version'])
        expect([status, stderr.includes(`Node ${version} is too old`)], node).to.deep.equal([isOld ? 3 : 0, isOld])
      }
    })

    it('can be read by it: the syntax is that of scripts before modules', async () => {
      // What a Node without import() and import.meta must parse; `vm` parses it as such a script.
      const {Script} = await import('node:vm')
      const text = (await readFile(program, 'utf8')).replace(/\/\*.*?\*\//gs, '')
      expect(() => new Script(text.replace(/^#!.*/, ''))).to.not.throw()
      expect(text).to.not.match(/\bimport\b *[({]|import\.meta|=>|\b(const|let|class|async|await)\b|`/)
    })
  })
})

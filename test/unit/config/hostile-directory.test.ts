import {execFile} from 'node:child_process'
import {chmod, mkdir, mkdtemp, readdir, realpath, rm, writeFile} from 'node:fs/promises'
import {createRequire} from 'node:module'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {promisify} from 'node:util'
import {expect} from 'chai'

const run = promisify(execFile)
const LOAD = new URL('../../../src/lib/config/load.ts', import.meta.url).href
const QUEUE = new URL('../../../src/lib/config/queue-directory.ts', import.meta.url).href

/** Calls both readers with `CONFIG` and prints what they found and the directory they ended in. */
const READ_BOTH = `
const {loadConfig} = await import('${LOAD}')
const {readQueueDirectory} = await import('${QUEUE}')
const named = process.env.CONFIG && {configFile: process.env.CONFIG}
const where = {environment: {}, ...named, systemFile: process.env.SYSTEM, legacyFile: '/nonexistent/x'}
const cwd = () => { try { return process.cwd() } catch (error) { return error.code } }
const before = cwd()
const {config} = await loadConfig(where)
const {directory, warnings} = await readQueueDirectory(where)
const {s3: {region}, queue: {directory: strict}} = config
console.log(JSON.stringify({region, strict, directory, warnings, moved: cwd() !== before}))
`

describe('a hostile or unusable current directory', () => {
  let root: string
  let hostile: string
  let traces: string
  let system: string

  beforeEach(async () => {
    root = await realpath(await mkdtemp(join(tmpdir(), 'barmans3-hostile-')))
    hostile = join(root, 'cwd')
    traces = join(root, 'traces')
    system = join(root, 'barmans3.yaml')
    await mkdir(join(hostile, '.config'), {recursive: true})
    await mkdir(traces)
    await writeFile(system, 's3: {region: good}\nqueue: {directory: /srv/good}\n')
    const settings = {s3: {region: 'evil'}, queue: {directory: '/evil'}, searchPlaces: ['evil.js'], mergeSearchPlaces: true}
    const leave = (name: string): string => `writeFileSync(${JSON.stringify(join(traces, name))}, '')`
    const value = JSON.stringify(settings)
    const commonJs = (name: string): string =>
      `const {writeFileSync} = require('node:fs'); ${leave(name)}; module.exports = ${value}`
    const esm = (name: string): string => `import {writeFileSync} from 'node:fs'; ${leave(name)}; export default ${value}`
    const code: Record<string, (name: string) => string> = {js: commonJs, cjs: commonJs, mjs: esm, ts: esm}
    const bases = ['.config/config', '.config/barmans3rc', '.barmans3rc', 'barmans3.config', 'evil']
    for (const [extension, write] of Object.entries(code)) {
      for (const base of bases) {
        await writeFile(join(hostile, `${base}.${extension}`), write(`${base.replace('/', '_')}.${extension}`))
      }
    }
    await writeFile(join(hostile, '.barmans3rc'), JSON.stringify(settings))
    await writeFile(join(hostile, 'barmans3.yaml'), 's3: {region: evil}\nqueue: {directory: /evil}\n')
    await writeFile(join(hostile, '.config/config.yaml'), JSON.stringify({cosmiconfig: settings}))
    await writeFile(join(hostile, 'package.json'), JSON.stringify({barmans3: settings, cosmiconfig: settings}))
  })

  afterEach(async () => {
    await chmod(hostile, 0o700).catch(() => undefined)
    await rm(root, {recursive: true, force: true})
  })

  async function read(cwd: string, variables: Record<string, string>): Promise<unknown> {
    const args = ['--no-warnings', '--input-type=module', '--eval', READ_BOTH]
    const {stdout} = await run(process.execPath, args, {cwd, env: {SYSTEM: system, ...variables}})
    return JSON.parse(stdout)
  }

  const good = {region: 'good', strict: '/srv/good', directory: '/srv/good', warnings: [], moved: false}

  it('is dangerous to a program that calls cosmiconfig: its files run (so the tests below can fail)', async () => {
    await rm(join(hostile, '.config/config.yaml'))
    await rm(join(hostile, 'package.json'))
    const cosmiconfig = createRequire(import.meta.url).resolve('cosmiconfig')
    const script = `const {cosmiconfigSync} = require(${JSON.stringify(cosmiconfig)})
      cosmiconfigSync('barmans3', {searchPlaces: []}).load(process.env.SYSTEM)`
    await run(process.execPath, ['--eval', script], {cwd: hostile, env: {SYSTEM: system}})
    expect(await readdir(traces)).to.deep.equal(['.config_config.js'])
  })

  it('is neither searched nor executed, with --config and with the usual places', async () => {
    expect(await read(hostile, {CONFIG: system})).to.deep.equal(good)
    expect(await read(hostile, {})).to.deep.equal(good)
    await rm(join(hostile, '.config/config.yaml'))
    await rm(join(hostile, 'package.json'))
    expect(await read(hostile, {CONFIG: system})).to.deep.equal(good)
    expect(await read(hostile, {})).to.deep.equal(good)
    expect(await readdir(traces)).to.deep.equal([])
  })

  it('gives nothing when there is no configuration anywhere else', async () => {
    const nothing = {strict: '/var/lib/barmans3/queue.d', directory: '/var/lib/barmans3/queue.d', warnings: [], moved: false}
    expect(await read(hostile, {SYSTEM: '/nonexistent/y'})).to.deep.equal(nothing)
    expect(await readdir(traces)).to.deep.equal([])
  })

  it('does not execute a program that is named as the configuration', async () => {
    for (const name of ['evil.js', 'evil.mjs', 'evil.ts', 'evil.cjs']) {
      const script = `const {loadConfig} = await import('${LOAD}')
        const {readQueueDirectory} = await import('${QUEUE}')
        const where = {environment: {}, configFile: process.env.CONFIG}
        const message = await loadConfig(where).then(() => 'accepted', (error) => error.message)
        const queueMessage = await readQueueDirectory(where).then(() => 'accepted', (error) => error.message)
        console.log(JSON.stringify({message, queueMessage}))`
      const args = ['--no-warnings', '--input-type=module', '--eval', script]
      const {stdout} = await run(process.execPath, args, {cwd: hostile, env: {CONFIG: name}})
      expect(JSON.parse(stdout).message, name).to.match(/not valid YAML|not a map/)
      expect(JSON.parse(stdout).queueMessage, name).to.match(/not valid YAML|not a map|^accepted$/)
    }
    expect(await readdir(traces)).to.deep.equal([])
  })

  it('C58: may be closed to us', async () => {
    // The child changes into it first, as cron does with a home that was closed later; root can read it all the same.
    const script = `process.chdir(process.env.CLOSED); (await import('node:fs')).chmodSync('.', 0); ${READ_BOTH}`
    const args = ['--no-warnings', '--input-type=module', '--eval', script]
    const {stdout} = await run(process.execPath, args, {cwd: '/', env: {SYSTEM: system, CLOSED: hostile}})
    expect(JSON.parse(stdout)).to.deep.equal(good)
  })

  it('C58: may be gone; only a relative --config then is an error', async () => {
    const gone = join(root, 'gone')
    await mkdir(gone)
    const script = `process.chdir(process.env.GONE); (await import('node:fs')).rmdirSync(process.env.GONE); ${READ_BOTH}
      const error = await loadConfig({...where, configFile: 'x.yaml'}).catch((error) => error)
      console.log(error.name, error.message)`
    const args = ['--no-warnings', '--input-type=module', '--eval', script]
    const {stdout} = await run(process.execPath, args, {cwd: '/', env: {SYSTEM: system, CONFIG: system, GONE: gone}})
    const [first = '', second] = stdout.split('\n')
    expect(JSON.parse(first)).to.deep.equal(good)
    expect(second).to.equal('UsageError the configuration file x.yaml is relative to a current directory that is gone')
  })
})

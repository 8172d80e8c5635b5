import {execFile} from 'node:child_process'
import {mkdtemp, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {promisify} from 'node:util'
import {expect} from 'chai'
import {UsageError} from '../../../src/lib/errors.ts'
import type {ConfigLocation} from '../../../src/lib/config/config-file.ts'
import type {QueueDirectory} from '../../../src/lib/config/queue-directory.ts'
import {readQueueDirectory} from '../../../src/lib/config/queue-directory.ts'

const DEFAULT = '/var/lib/barmans3/queue.d'
const MODULE = new URL('../../../src/lib/config/queue-directory.ts', import.meta.url).href

describe('queue directory for the hook', () => {
  let root: string
  let systemFile: string

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'barmans3-queue-directory-'))
    systemFile = join(root, 'barmans3.yaml')
  })

  afterEach(() => rm(root, {recursive: true, force: true}))

  function read(location: Partial<ConfigLocation> = {}): Promise<QueueDirectory> {
    return readQueueDirectory({environment: {}, systemFile, legacyFile: join(root, 'barmans3.conf'), ...location})
  }

  async function readText(text: string): Promise<QueueDirectory> {
    await writeFile(systemFile, text)
    return read()
  }

  it('is the default without a file, and without that key', async () => {
    expect(await read()).to.deep.equal({directory: DEFAULT, warnings: []})
    expect(await readText('s3: {uri: s3://b}')).to.deep.equal({directory: DEFAULT, warnings: []})
    expect(await readText('queue:\n')).to.deep.equal({directory: DEFAULT, warnings: []})
    expect(await readText('queue: {directory: }\n')).to.deep.equal({directory: DEFAULT, warnings: []})
  })

  it('is the key of the file, in YAML, in JSON and with escapes', async () => {
    expect(await readText('queue:\n  directory: /srv/q\n')).to.deep.equal({directory: '/srv/q', warnings: []})
    expect(await readText('{"queue": {"directory": "/srv/j"}}')).to.deep.equal({directory: '/srv/j', warnings: []})
    expect(await readText('"q\\u0075eue": {directory: /srv/e}')).to.deep.equal({directory: '/srv/e', warnings: []})
  })

  it('is BASESYNC_QUEUE of the old file, with a warning where a restart empties it', async () => {
    await writeFile(join(root, 'barmans3.conf'), 'ROOT=/var/run\nBASESYNC_QUEUE="$ROOT/barmans3"\n')
    const {directory, warnings} = await read()
    expect(directory).to.equal('/var/run/barmans3')
    expect(warnings.join('\n')).to.match(/emptied when the machine restarts/)
  })

  it('is taken from an old file even when other lines of it cannot be used', async () => {
    await writeFile(join(root, 'barmans3.conf'), 'S3_BUCKET_URI="$(hostname)"\nBASESYNC_QUEUE=/srv/q\n')
    const {directory, warnings} = await read()
    expect(directory).to.equal('/srv/q')
    expect(warnings).to.have.length(1)
    expect(warnings[0]).to.match(/line 1: S3_BUCKET_URI uses a command/)
  })

  it('is BARMANS3_QUEUE_DIRECTORY before anything else', async () => {
    await writeFile(systemFile, 'queue: {directory: /srv/file}')
    expect(await read({environment: {BARMANS3_QUEUE_DIRECTORY: '/srv/env'}})).to.deep.equal({directory: '/srv/env', warnings: []})
    expect(await messageFor(read({environment: {BARMANS3_QUEUE_DIRECTORY: 'env'}}))).to.equal('BARMANS3_QUEUE_DIRECTORY "env" is not an absolute path')
    expect((await read({environment: {BARMANS3_QUEUE_DIRECTORY: ''}})).directory).to.equal('/srv/file')
  })

  it('follows --config and BARMANS3_CONFIG', async () => {
    const other = join(root, 'other.yaml')
    await writeFile(other, 'queue: {directory: /srv/other}')
    await writeFile(systemFile, 'queue: {directory: /srv/file}')
    expect((await read({configFile: other})).directory).to.equal('/srv/other')
    expect((await read({environment: {BARMANS3_CONFIG: other}})).directory).to.equal('/srv/other')
  })

  it('is found in a configuration that is wrong everywhere else', async () => {
    const text = 's3: nonsense\nunknown: 1\nqueue: {directory: /srv/q, x: 1}\n'
    expect(await readText(text)).to.deep.equal({directory: '/srv/q', warnings: []})
  })

  const broken: readonly [string, string][] = [
    ['YAML with a fault', 'queue: {directory: /srv/q\nx'],
    ['a list', '- queue'],
    ['a relative path', 'queue: {directory: q}'],
    ['a number', 'queue: {directory: 5}'],
    ['a control character', 'queue: {directory: "/q\\n"}'],
  ]
  for (const [what, text] of broken) {
    it(`is an error for ${what}: a task in a queue nobody works through would be lost`, async () => {
      const message = await messageFor(readText(text))
      expect(message).to.include(systemFile).and.not.include('\n')
    })
  }

  it('is an error when the named file is missing or a directory', async () => {
    for (const configFile of [join(root, 'none'), root]) expect(await messageFor(read({configFile}))).to.include(configFile)
  })

  it('loads neither the schema nor, where no key can be, the YAML parser', async () => {
    const script = `
      const {registerHooks} = await import('node:module')
      const seen = []
      registerHooks({load: (url, context, next) => { seen.push(url); return next(url, context) }})
      const {readQueueDirectory} = await import('${MODULE}')
      await readQueueDirectory({environment: {}, configFile: process.env.CONFIG})
      console.log(JSON.stringify(seen))`
    const run = promisify(execFile)
    const loadedFor = async (text: string): Promise<string> => {
      await writeFile(systemFile, text)
      const args = ['--no-warnings', '--input-type=module', '--eval', script]
      const {stdout} = await run(process.execPath, args, {env: {CONFIG: systemFile}})
      expect(stdout).to.include('queue-directory.ts')
      return stdout
    }
    expect(await loadedFor('queue: {directory: /srv/q}')).to.include('cosmiconfig').and.not.match(/node_modules\/zod/)
    expect(await loadedFor('s3: {region: x}')).to.not.match(/cosmiconfig|node_modules\/zod/)
  })
})

async function messageFor(reading: Promise<unknown>): Promise<string> {
  try {
    await reading
  } catch (error) {
    if (error instanceof UsageError) return error.message
    throw error
  }
  throw new Error('it was accepted')
}

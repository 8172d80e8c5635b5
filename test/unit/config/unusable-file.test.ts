import {chmod, mkdir, symlink} from 'node:fs/promises'
import {expect} from 'chai'
import {faultOf, useConfigSandbox} from './config-sandbox.ts'

describe('a configuration file that cannot be used', () => {
  const {path: place, write, load, loadText} = useConfigSandbox()

  const texts: readonly [string, string | Uint8Array, RegExp][] = [
    ['is empty', '', /is empty/],
    ['has only comments', '# s3:\n\n  # x\n', /is empty/],
    ['is a list', '- a\n- b\n', /is not a map of settings/],
    ['is a single text', 'hello', /is not a map of settings/],
    ['is null', '---\n', /is not a map of settings/],
    ['has a syntax error', 's3:\n  uri: s3://b\n region: x\n', /not valid YAML: .*\(line 3, column \d+\)/],
    ['is broken JSON', '{"s3": {"uri": "s3://b",}', /not valid YAML/],
    ['has a key twice', 's3: {}\nbase: {}\ns3: {}\n', /not valid YAML: duplicated mapping key \(line 3, column 1\)/],
    ['has two documents', 's3: {}\n---\ns3: {}\n', /not valid YAML/],
    ['has a tag of code', 's3: !!js/function "function () {}"', /not valid YAML/],
    ['is not UTF-8', Uint8Array.from([0x61, 0x3a, 0x20, 0xff, 0xfe]), /not UTF-8/],
    ['is binary', 's3: \u0000', /not a text file/],
    ['is huge', 'a'.repeat(1024 * 1024 + 1), /larger than 1 MiB/],
  ]
  for (const [what, text, why] of texts) {
    it(`${what}: one clear error that names the file`, async () => {
      const path = await write('config.yaml', text)
      const fault = await faultOf(load({configFile: path}))
      expect(fault.message).to.match(why).and.include(path)
      expect(fault.hint).to.be.a('string')
    })
  }

  it('never repeats the lines of a file with a syntax error, which may hold a secret', async () => {
    const fault = await faultOf(loadText('s3:\n  secretAccessKey: topsecret\n bad\n'))
    expect(fault.message).to.match(/line 3/)
    expect(`${fault.message} ${fault.hint} ${String(fault.cause)} ${fault.stack}`).to.not.include('topsecret')
  })

  it('is missing though named by --config or BARMANS3_CONFIG', async () => {
    const path = place('none.yaml')
    expect((await faultOf(load({configFile: path}))).message).to.match(/none\.yaml of --config does not exist$/)
    expect((await faultOf(load({environment: {BARMANS3_CONFIG: path}}))).message).to.match(/of BARMANS3_CONFIG does not exist/)
  })

  it('is a directory, named or in its usual place', async () => {
    expect((await faultOf(load({configFile: place('.')}))).message).to.match(/is a directory/)
    await mkdir(place('etc/barmans3.yaml'), {recursive: true})
    expect((await faultOf(load())).message).to.match(/is a directory/)
  })

  it('is no regular file', async () => {
    expect((await faultOf(load({configFile: '/dev/null'}))).message).to.match(/not a regular file/)
  })

  it('is a loop of links', async () => {
    const path = place('loop.yaml')
    await symlink(path, path)
    expect((await faultOf(load({configFile: path}))).message).to.match(/cannot be read: .*ELOOP/)
  })

  it('imports no other file by $import', async () => {
    const other = await write('other.yaml', 's3: {region: imported}')
    expect((await faultOf(loadText(`$import: ${other}\n`))).message).to.match(/"\$import": not known/)
  })
})

describe('a configuration this user may not read', () => {
  const {path: place, write, load} = useConfigSandbox()

  /** Runs as a user without rights; root would read everything. Modules are loaded before, as their files may be closed too. */
  async function withoutRights<Value>(act: () => Promise<Value>): Promise<Value> {
    await load()
    await chmod(place('.'), 0o755)
    const isRoot = process.geteuid?.() === 0
    if (isRoot) process.seteuid?.(65_534)
    try {
      return await act()
    } finally {
      if (isRoot) process.seteuid?.(0)
    }
  }

  it('is an error with the command that opens it, in its usual place too', async () => {
    const system = await write('etc/barmans3.yaml', 's3: {region: x}')
    await chmod(system, 0)
    for (const options of [{}, {configFile: system}]) {
      const fault = await withoutRights(() => faultOf(load(options)))
      expect(fault.message).to.equal(`the configuration file ${system} cannot be read: permission denied`)
      expect(fault.hint).to.include(`chmod 640 ${system}`)
    }
  })

  it('is passed over below a home that is closed to us, with a warning only when nothing else is found', async () => {
    const home = place('home')
    await write('home/.config/barmans3/config.yaml', 's3: {region: x}')
    await chmod(home, 0)
    try {
      const none = await withoutRights(() => load({homeDirectory: home}))
      expect(none.file).to.equal(undefined)
      const file = `${home}/.config/barmans3/config.yaml`
      expect(none.warnings).to.deep.equal([`${file} is passed over: its directory is closed to this user`])
      await write('opt/barmans3.conf', 'S3_BUCKET_URI=s3://b\n')
      const old = await withoutRights(() => load({homeDirectory: home}))
      expect(old.config.s3.uri).to.deep.equal({bucket: 'b', prefix: ''})
      expect(old.warnings).to.deep.equal([])
    } finally {
      await chmod(home, 0o700)
    }
  })

  it('is an error below a closed directory when it was named', async () => {
    const path = await write('closed/x.yaml', 's3: {region: x}')
    await chmod(place('closed'), 0)
    try {
      const fault = await withoutRights(() => faultOf(load({configFile: path})))
      expect(fault.message).to.equal(`the configuration file ${path} cannot be read: permission denied`)
    } finally {
      await chmod(place('closed'), 0o700)
    }
  })
})

import {chmod, mkdir, mkdtemp, rm, symlink, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {dirname, join} from 'node:path'
import {expect} from 'chai'
import type {LoadedConfig, LoadOptions} from '../../../src/lib/config/load.ts'
import {loadConfig, requireArchiveUri} from '../../../src/lib/config/load.ts'
import {UsageError} from '../../../src/lib/errors.ts'

let root: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'barmans3-config-'))
})

afterEach(async () => {
  await rm(root, {recursive: true, force: true})
})

/** Writes `text` to `name` in the test's directory and returns its path. */
async function write(name: string, text: string | Uint8Array): Promise<string> {
  const path = join(root, name)
  await mkdir(dirname(path), {recursive: true})
  await writeFile(path, text)
  return path
}

/** Loads with every place of the system inside the test's directory. */
function load(options: Partial<LoadOptions> = {}): Promise<LoadedConfig> {
  return loadConfig({
    environment: {},
    systemFile: join(root, 'etc/barmans3.yaml'),
    legacyFile: join(root, 'opt/barmans3.conf'),
    barmanFile: join(root, 'etc/barman.conf'),
    ...options,
  })
}

async function loadText(text: string, options: Partial<LoadOptions> = {}): Promise<LoadedConfig> {
  return load({configFile: await write('config.yaml', text), ...options})
}

/** The error loading ends with; fails when there is none. */
async function faultOf(loading: Promise<unknown>): Promise<UsageError> {
  try {
    await loading
  } catch (error) {
    expect(error).to.be.instanceOf(UsageError)
    return error as UsageError
  }
  return expect.fail('was accepted')
}

describe('configuration', () => {
  it('has the documented defaults without any file', async () => {
    const {config, file, sources, warnings} = await load()
    expect(config).to.deep.equal({
      s3: {storageClass: {}, tags: {}, timeoutMs: 60_000, maxAttempts: 8},
      barman: {command: 'barman'},
      servers: {},
      base: {layout: 'mirror'},
      transfer: {concurrency: 16, partSizeBytes: 16 * 1024 ** 2},
      queue: {directory: '/var/lib/barmans3/queue.d'},
      state: {directory: '/var/lib/barmans3/state'},
    })
    expect(file).to.equal(undefined)
    expect(warnings).to.deep.equal([])
    expect(new Set(Object.values(sources))).to.deep.equal(new Set(['default']))
  })

  it('reads every setting of a YAML file', async () => {
    const {config, warnings} = await loadText(`
s3:
  uri: s3://backup/barman/
  endpoint: https://s3.example.com/
  region: eu-central-1
  profile: backup
  forcePathStyle: true
  storageClass: {base: STANDARD_IA, wal: STANDARD}
  tags: {owner: dba, "cost centre": "42"}
  encryption: {type: aws:kms, keyId: arn:aws:kms:eu-central-1:111122223333:key/x}
  conditionalPut: head-first
  timeout: 2m
  maxAttempts: 3
barman: {configuration: /etc/barman/barman.conf, command: /usr/bin/barman, home: /var/lib/barman}
servers:
  main-server:
  other.example.com:
    directory: /srv/barman//other/
    basebackupsDirectory: /srv/a
    walsDirectory: /srv/b
    metaDirectory: /srv/c
    xlogdbDirectory: /srv/d
    lockDirectory: /srv/e
    uri: s3://elsewhere
    base: {layout: mirror}
base: {layout: mirror}
transfer: {concurrency: 4, partSize: 64 MiB}
queue: {directory: /srv/queue.d}
state: {directory: /srv/state}
`)
    expect(warnings).to.deep.equal([])
    expect(config).to.deep.equal({
      s3: {
        uri: {bucket: 'backup', prefix: 'barman'},
        endpoint: 'https://s3.example.com',
        region: 'eu-central-1',
        profile: 'backup',
        forcePathStyle: true,
        storageClass: {base: 'STANDARD_IA', wal: 'STANDARD'},
        tags: {owner: 'dba', 'cost centre': '42'},
        encryption: {type: 'aws:kms', keyId: 'arn:aws:kms:eu-central-1:111122223333:key/x'},
        conditionalPut: 'head-first',
        timeoutMs: 120_000,
        maxAttempts: 3,
      },
      barman: {configuration: '/etc/barman/barman.conf', command: '/usr/bin/barman', home: '/var/lib/barman'},
      servers: {
        'main-server': {},
        'other.example.com': {
          directory: '/srv/barman/other',
          basebackupsDirectory: '/srv/a',
          walsDirectory: '/srv/b',
          metaDirectory: '/srv/c',
          xlogdbDirectory: '/srv/d',
          lockDirectory: '/srv/e',
          uri: {bucket: 'elsewhere', prefix: ''},
          base: {layout: 'mirror'},
        },
      },
      base: {layout: 'mirror'},
      transfer: {concurrency: 4, partSizeBytes: 64 * 1024 ** 2},
      queue: {directory: '/srv/queue.d'},
      state: {directory: '/srv/state'},
    })
  })

  it('reads JSON, indented with tabs, with CRLF and a BOM', async () => {
    const json = JSON.stringify({s3: {uri: 's3://backup/p'}, transfer: {concurrency: 2}}, undefined, '\t')
    for (const [name, text] of [['a.json', json], ['b', `\ufeff${json.replaceAll('\n', '\r\n')}`]] as const) {
      const {config} = await load({configFile: await write(name, text)})
      expect(config.s3.uri, name).to.deep.equal({bucket: 'backup', prefix: 'p'})
      expect(config.transfer.concurrency, name).to.equal(2)
    }
  })

  it('takes flag over environment over file over default, and says which', async () => {
    const text = 's3: {uri: s3://file, region: file-1, profile: file}\ntransfer: {concurrency: 2}\n'
    const {config, sources, file} = await loadText(text, {
      environment: {BARMANS3_S3_REGION: 'env-1', BARMANS3_S3_PROFILE: 'env', BARMANS3_TRANSFER_CONCURRENCY: '3', PATH: '/bin'},
      overrides: {'s3.profile': 'flag', 'transfer.partSize': '5MiB'},
    })
    expect(config.s3).to.include({region: 'env-1', profile: 'flag'})
    expect(config.transfer).to.deep.equal({concurrency: 3, partSizeBytes: 5 * 1024 ** 2})
    expect(sources).to.include({
      's3.uri': `file ${file}`,
      's3.region': 'environment BARMANS3_S3_REGION',
      's3.profile': 'flag',
      'transfer.concurrency': 'environment BARMANS3_TRANSFER_CONCURRENCY',
      'transfer.partSize': 'flag',
      's3.maxAttempts': 'default',
    })
  })

  it('knows every variable of the environment', async () => {
    const {config} = await load({
      environment: {
        BARMANS3_S3_URI: 's3://env/p',
        BARMANS3_S3_ENDPOINT: 'http://127.0.0.1:9000',
        BARMANS3_S3_REGION: 'r-1',
        BARMANS3_S3_PROFILE: 'p',
        BARMANS3_BARMAN_CONFIGURATION: '/b.conf',
        BARMANS3_BARMAN_COMMAND: '/b',
        BARMANS3_TRANSFER_CONCURRENCY: '1',
        BARMANS3_TRANSFER_PART_SIZE: '6MiB',
        BARMANS3_QUEUE_DIRECTORY: '/q',
        BARMANS3_STATE_DIRECTORY: '/s',
      },
    })
    expect(config).to.deep.include({
      barman: {configuration: '/b.conf', command: '/b'},
      transfer: {concurrency: 1, partSizeBytes: 6 * 1024 ** 2},
      queue: {directory: '/q'},
      state: {directory: '/s'},
    })
    expect(config.s3).to.deep.include({uri: {bucket: 'env', prefix: 'p'}, endpoint: 'http://127.0.0.1:9000'})
    expect(config.s3).to.include({region: 'r-1', profile: 'p'})
  })

  it('takes an empty variable and an empty key for "not set"', async () => {
    const environment = {BARMANS3_S3_REGION: '', BARMANS3_CONFIG: ''}
    const {config, sources} = await loadText('s3:\n  region:\n  tags:\nqueue:\n', {environment})
    expect(config.s3.region).to.equal(undefined)
    expect(config.queue.directory).to.equal('/var/lib/barmans3/queue.d')
    expect(sources).to.not.have.property('s3.region')
  })

  it('refuses a BARMANS3_ variable it does not know, lets those of others pass', async () => {
    const passing = {
      BARMANS3_CONFIG: '',
      BARMANS3_TEST_X: '1',
      BARMANS3_SKIP_NEW_VERSION_CHECK: '1',
      BARMANS3_CACHE_DIR: '/c',
      BARMANS3_AC_BASH_SETUP_PATH: '/x',
    }
    await load({environment: passing})
    const wrong = {BARMANS3_S3_URL: 's3://x', BARMANS3_SECRET_ACCESS_KEY: 'topsecret', BARMANS3_FOO: 'bar'}
    const fault = await faultOf(load({environment: {...passing, ...wrong}}))
    expect(fault.message).to.match(/3 problems/)
    expect(fault.message).to.match(/BARMANS3_S3_URL: not known to this version \(did you mean BARMANS3_S3_URI\?\)/)
    expect(fault.message).to.match(/BARMANS3_FOO: not known to this version[;\n]|BARMANS3_FOO: not known to this version$/)
    expect(fault.message).to.match(/BARMANS3_SECRET_ACCESS_KEY: credentials are not read from here/)
    expect(fault.message).to.not.match(/topsecret|bar$/)
  })

  it('uses /etc/barman.conf for barman.configuration only if it exists', async () => {
    expect((await load()).config.barman).to.deep.equal({command: 'barman'})
    const path = await write('etc/barman.conf', '[barman]\n')
    const {config, sources} = await load()
    expect(config.barman.configuration).to.equal(path)
    expect(sources['barman.configuration']).to.equal('default')
    expect((await loadText('barman: {configuration: /x.conf}')).config.barman.configuration).to.equal('/x.conf')
  })
})

describe('search order of the configuration', () => {
  it('is --config, BARMANS3_CONFIG, /etc, home, /opt, each one only if the ones before are absent', async () => {
    const flag = await write('flag.yaml', 's3: {region: flag}')
    const variable = await write('variable.yaml', 's3: {region: variable}')
    const system = await write('etc/barmans3.yaml', 's3: {region: system}')
    const home = await write('home/.config/barmans3/config.yaml', 's3: {region: home}')
    const legacy = await write('opt/barmans3.conf', 'S3_BUCKET_URI="s3://old/p/"\nBARMAN_ROOTPATH=/var/lib/barman\n')
    const places = {configFile: flag, environment: {BARMANS3_CONFIG: variable}, homeDirectory: join(root, 'home')}

    expect((await load(places)).config.s3.region).to.equal('flag')
    const {configFile: _, ...unflagged} = places
    expect((await load(unflagged)).config.s3.region).to.equal('variable')
    const bare = {homeDirectory: join(root, 'home')}
    expect((await load(bare)).config.s3.region).to.equal('system')
    await rm(system)
    expect((await load(bare)).config.s3.region).to.equal('home')
    expect((await load({environment: {HOME: join(root, 'home')}})).config.s3.region).to.equal('home')
    await rm(home)
    const old = await load(bare)
    expect(old.config.s3.uri).to.deep.equal({bucket: 'old', prefix: 'p'})
    expect(old.config.barman.home).to.equal('/var/lib/barman')
    expect(old.sources['barman.home']).to.equal(`file ${legacy}`)
    await rm(legacy)
    const none = await load(bare)
    expect(none.file).to.equal(undefined)
    expect(none.searched).to.deep.equal([system, home, legacy])
  })

  it('C58: works without HOME and without any variable', async () => {
    const system = await write('etc/barmans3.yaml', 's3: {uri: s3://b/p}')
    expect((await load({environment: {}})).file).to.equal(system)
    await rm(system)
    expect((await load({environment: {}})).searched).to.have.length(2)
  })

  it('C58: a missing bucket is an error only for who needs it, and says where it looked', async () => {
    const none = await load()
    expect(() => requireArchiveUri(none)).to.throw(UsageError, /no bucket.*etc\/barmans3\.yaml, .*opt\/barmans3\.conf/)
    const loaded = await loadText('servers: {own: {uri: s3://own/p}, other: }')
    expect(requireArchiveUri(loaded, 'own')).to.deep.equal({bucket: 'own', prefix: 'p'})
    expect(() => requireArchiveUri(loaded, 'other')).to.throw(UsageError, /s3\.uri is not set in .*config\.yaml/)
    expect(() => requireArchiveUri(loaded, 'constructor')).to.throw(UsageError)
    const both = await loadText('s3: {uri: s3://all}\nservers: {own: {uri: s3://own/p}}')
    expect(requireArchiveUri(both, 'other')).to.deep.equal({bucket: 'all', prefix: ''})
    expect(requireArchiveUri(both)).to.deep.equal({bucket: 'all', prefix: ''})
  })

  it('recognises an old file by its content under any name but .yaml and .json', async () => {
    const {config} = await load({configFile: await write('mine', 'export S3_BUCKET_URI=s3://b\n')})
    expect(config.s3.uri).to.deep.equal({bucket: 'b', prefix: ''})
    const yaml = await load({configFile: await write('new.conf', 's3: {uri: s3://b/=}\n')})
    expect(yaml.config.s3.uri).to.deep.equal({bucket: 'b', prefix: '='})
    expect((await faultOf(load({configFile: await write('x.yaml', 'S3_BUCKET_URI=s3://b\n')}))).message).to.match(/not a map/)
  })

  it('says that a queue in /var/run is emptied by a restart', async () => {
    const {config, warnings} = await load({configFile: await write('x.conf', 'BASESYNC_QUEUE=/var/run/barmans3/queue\n')})
    expect(config.queue.directory).to.equal('/var/run/barmans3/queue')
    expect(warnings).to.have.length(1)
    expect(warnings[0]).to.match(/queue\.directory \/var\/run\/barmans3\/queue is emptied when the machine restarts/)
    const state = await loadText('state: {directory: /run/x}\nqueue: {directory: /runner}')
    expect(state.warnings.join()).to.match(/^state\.directory \/run\/x/)
  })

  it('names all problems of an old file by its own keys and lines', async () => {
    const text = 'S3_BUCKET_URI=gs://b\nBARMAN_ROOTPATH="$(pwd)"\nsource x\nS3_ENDPOINT_URI=h:9000\n'
    const {message} = await faultOf(load({configFile: await write('x.conf', text)}))
    expect(message).to.match(/4 problems/)
    expect(message).to.match(/s3\.uri S3_BUCKET_URI "gs:\/\/b" \(file .*x\.conf\)/)
    expect(message).to.match(/line 2: BARMAN_ROOTPATH uses a command/)
    expect(message).to.match(/line 3 is not KEY="value"/)
    expect(message).to.match(/s3\.endpoint S3_ENDPOINT_URI "h:9000"/)
  })

  it('warns about a file that everybody can write', async () => {
    const path = await write('open.yaml', 's3: {region: x}')
    await chmod(path, 0o666)
    expect((await load({configFile: path})).warnings.join()).to.include(`${path} can be written by everybody`)
    await chmod(path, 0o664)
    expect((await load({configFile: path})).warnings).to.deep.equal([])
  })
})

describe('a configuration file that cannot be used', () => {
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
    const path = join(root, 'none.yaml')
    expect((await faultOf(load({configFile: path}))).message).to.match(/none\.yaml of --config does not exist$/)
    expect((await faultOf(load({environment: {BARMANS3_CONFIG: path}}))).message).to.match(/of BARMANS3_CONFIG does not exist/)
  })

  it('is a directory, named or in its usual place', async () => {
    expect((await faultOf(load({configFile: root}))).message).to.match(/is a directory/)
    await mkdir(join(root, 'etc/barmans3.yaml'), {recursive: true})
    expect((await faultOf(load())).message).to.match(/is a directory/)
  })

  it('is no regular file', async () => {
    expect((await faultOf(load({configFile: '/dev/null'}))).message).to.match(/not a regular file/)
  })

  it('is a loop of links', async () => {
    const path = join(root, 'loop.yaml')
    await symlink(path, path)
    expect((await faultOf(load({configFile: path}))).message).to.match(/cannot be read: .*ELOOP/)
  })

  it('imports no other file by $import', async () => {
    const other = await write('other.yaml', 's3: {region: imported}')
    expect((await faultOf(loadText(`$import: ${other}\n`))).message).to.match(/"\$import": not known/)
  })
})

describe('a configuration this user may not read', () => {
  /** Runs as a user without rights; root would read everything. Modules are loaded before, as their files may be closed too. */
  async function withoutRights<Value>(act: () => Promise<Value>): Promise<Value> {
    await load()
    await chmod(root, 0o755)
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
    const home = join(root, 'home')
    await write('home/.config/barmans3/config.yaml', 's3: {region: x}')
    await chmod(home, 0)
    try {
      const none = await withoutRights(() => load({homeDirectory: home}))
      expect(none.file).to.equal(undefined)
      const place = `${home}/.config/barmans3/config.yaml`
      expect(none.warnings).to.deep.equal([`${place} is passed over: its directory is closed to this user`])
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
    await chmod(join(root, 'closed'), 0)
    try {
      const fault = await withoutRights(() => faultOf(load({configFile: path})))
      expect(fault.message).to.equal(`the configuration file ${path} cannot be read: permission denied`)
    } finally {
      await chmod(join(root, 'closed'), 0o700)
    }
  })
})

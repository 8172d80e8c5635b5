import {chmod, rm} from 'node:fs/promises'
import {expect} from 'chai'
import {requireArchiveUri} from '../../../src/lib/config/load.ts'
import {DEFAULT_LAYOUT} from '../../../src/lib/config/settings.ts'
import {UsageError} from '../../../src/lib/errors.ts'
import {faultOf, useConfigSandbox} from './config-sandbox.ts'

const DAY_MS = 86_400_000

describe('configuration', () => {
  const {write, load, loadText} = useConfigSandbox()

  it('has the documented defaults without any file', async () => {
    const {config, file, sources, warnings} = await load()
    expect(config).to.deep.equal({
      s3: {storageClass: {}, tags: {}, timeoutMs: 60_000, maxAttempts: 8, maxParts: 10_000},
      barman: {command: 'barman'},
      servers: {},
      base: {layout: DEFAULT_LAYOUT, compression: 'zstd', compressionLevel: 3, maxReferenceAgeMs: 30 * DAY_MS},
      transfer: {concurrency: 16, partSizeBytes: 16 * 1024 ** 2, maxBandwidthBytes: 0, abandonAfterMs: 3 * DAY_MS},
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
  maxParts: 1000
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
base: {layout: compact, compression: none, compressionLevel: 19, maxReferenceAge: 0}
transfer: {concurrency: 4, partSize: 64 MiB, maxBandwidth: 50 MiB/s, abandonAfter: 12h}
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
        maxParts: 1000,
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
      base: {layout: 'compact', compression: 'none', compressionLevel: 19, maxReferenceAgeMs: 0},
      transfer: {concurrency: 4, partSizeBytes: 64 * 1024 ** 2, maxBandwidthBytes: 50 * 1024 ** 2, abandonAfterMs: DAY_MS / 2},
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
    expect(config.transfer).to.include({concurrency: 3, partSizeBytes: 5 * 1024 ** 2})
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
        BARMANS3_TRANSFER_MAX_BANDWIDTH: '64KiB/s',
        BARMANS3_QUEUE_DIRECTORY: '/q',
        BARMANS3_STATE_DIRECTORY: '/s',
      },
    })
    expect(config).to.deep.include({
      barman: {configuration: '/b.conf', command: '/b'},
      transfer: {concurrency: 1, partSizeBytes: 6 * 1024 ** 2, maxBandwidthBytes: 65_536, abandonAfterMs: 3 * DAY_MS},
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
  const {path: place, write, load, loadText} = useConfigSandbox()

  it('is --config, BARMANS3_CONFIG, /etc, home, /opt, each one only if the ones before are absent', async () => {
    const flag = await write('flag.yaml', 's3: {region: flag}')
    const variable = await write('variable.yaml', 's3: {region: variable}')
    const system = await write('etc/barmans3.yaml', 's3: {region: system}')
    const home = await write('home/.config/barmans3/config.yaml', 's3: {region: home}')
    const legacy = await write('opt/barmans3.conf', 'S3_BUCKET_URI="s3://old/p/"\nBARMAN_ROOTPATH=/var/lib/barman\n')
    const places = {configFile: flag, environment: {BARMANS3_CONFIG: variable}, homeDirectory: place('home')}

    expect((await load(places)).config.s3.region).to.equal('flag')
    const {configFile: _, ...unflagged} = places
    expect((await load(unflagged)).config.s3.region).to.equal('variable')
    const bare = {homeDirectory: place('home')}
    expect((await load(bare)).config.s3.region).to.equal('system')
    await rm(system)
    expect((await load(bare)).config.s3.region).to.equal('home')
    expect((await load({environment: {HOME: place('home')}})).config.s3.region).to.equal('home')
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

import {mkdtemp, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {expect} from 'chai'
import {loadConfig} from '../../../src/lib/config/load.ts'
import {formatValue} from '../../../src/lib/config/redact.ts'
import {DEFAULT_LAYOUT, SETTINGS} from '../../../src/lib/config/settings.ts'
import {listConfigRows} from '../../../src/lib/config/show.ts'

describe('effective configuration', () => {
  let root: string
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'barmans3-show-'))
  })
  after(() => rm(root, {recursive: true, force: true}))

  it('shows each setting as it would be written, with its source', async () => {
    const configFile = join(root, 'config.yaml')
    await writeFile(
      configFile,
      `s3: {uri: s3://b//p/, timeout: 90s, tags: {owner: dba, a.b: x}}
servers: {main.one: {directory: /d, base: {layout: mirror}, uri: s3://c}, bare: }
`,
    )
    const loaded = await loadConfig({
      configFile,
      environment: {BARMANS3_S3_REGION: 'r-1'},
      overrides: {'transfer.partSize': '33554432'},
      barmanFile: '/nonexistent/x',
    })
    const rows = listConfigRows(loaded).map(({path, value, source}) => `${path}|${value}|${source.replace(configFile, 'F')}`)
    expect(rows).to.deep.equal([
      's3.uri|s3://b/p|file F',
      's3.endpoint||default',
      's3.region|r-1|environment BARMANS3_S3_REGION',
      's3.profile||default',
      's3.forcePathStyle||default',
      's3.storageClass.base||default',
      's3.storageClass.wal||default',
      's3.tags.a.b|x|file F',
      's3.tags.owner|dba|file F',
      's3.encryption.type||default',
      's3.encryption.keyId||default',
      's3.conditionalPut||default',
      's3.timeout|90s|file F',
      's3.maxAttempts|8|default',
      's3.maxParts|10000|default',
      'barman.configuration||default',
      'barman.command|barman|default',
      'barman.home||default',
      'servers.main.one.directory|/d|file F',
      'servers.main.one.uri|s3://c|file F',
      'servers.main.one.base.layout|mirror|file F',
      `base.layout|${DEFAULT_LAYOUT}|default`,
      'base.compression|zstd|default',
      'base.compressionLevel|3|default',
      'base.maxReferenceAge|30d|default',
      'transfer.concurrency|16|default',
      'transfer.partSize|32MiB|flag',
      'transfer.maxBandwidth|0|default',
      'transfer.abandonAfter|3d|default',
      'queue.directory|/var/lib/barmans3/queue.d|default',
      'state.directory|/var/lib/barmans3/state|default',
      'servers.bare|{}|file F',
    ])
  })

  it('names every setting of the table when all are set', async () => {
    const configFile = join(root, 'all.yaml')
    await writeFile(configFile, `
s3:
  {uri: s3://b, endpoint: "https://h", region: r, profile: p, forcePathStyle: true, storageClass: {base: A, wal: B},
   tags: {a: b}, encryption: {type: aws:kms, keyId: k}, conditionalPut: native}
barman: {configuration: /c, home: /h}
servers:
  m: {directory: /d, basebackupsDirectory: /d, walsDirectory: /d, metaDirectory: /d, xlogdbDirectory: /d,
      lockDirectory: /d, uri: s3://b, base: {layout: mirror}}
`)
    const rows = listConfigRows(await loadConfig({configFile, environment: {}}))
    const expected = SETTINGS.map(({path}) => path.replace('*', 'm').replace(/^s3\.tags$/, 's3.tags.a'))
    expect(rows.map(({path}) => path)).to.deep.equal(expected)
    expect(rows.filter(({value}) => value === '')).to.deep.equal([])
  })

  it('writes 0 without a unit and an amount with its largest', async () => {
    const configFile = join(root, 'amounts.yaml')
    await writeFile(configFile, 'base: {maxReferenceAge: 0d}\ntransfer: {maxBandwidth: 65536, abandonAfter: 48h}\n')
    const rows = listConfigRows(await loadConfig({configFile, environment: {}})).map(({path, value}) => `${path}|${value}`)
    expect(rows).to.include.members(['base.maxReferenceAge|0', 'transfer.maxBandwidth|64KiB', 'transfer.abandonAfter|2d'])
  })

  it('hides what may be a secret', () => {
    expect(formatValue('s3.secretAccessKey', 'topsecret')).to.equal('(hidden)')
    expect(formatValue('barman.conninfo', 'host=x password=y')).to.equal('(hidden)')
    expect(formatValue('s3.endpoint', 'https://user:p@ss@host/x')).to.equal('"https://(hidden)@host/x"')
    expect(formatValue('s3.region', 'x'.repeat(500))).to.have.length(119)
    expect(formatValue('s3.region', 'a\u001b[31m')).to.equal('"a\\u001b[31m"')
  })
})

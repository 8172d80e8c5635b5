import {mkdir, readFile} from 'node:fs/promises'
import {expect} from 'chai'
import {AWS_KEYS, planAwsDefaults} from '../../../src/lib/config/aws-section.ts'
import {loadConfig, type LoadOptions, type LoadedConfig} from '../../../src/lib/config/load.ts'
import {listConfigRows} from '../../../src/lib/config/show.ts'
import {useConfigSandbox} from './config-sandbox.ts'

const KIB = 1024
const MIB = 1024 ** 2

/** What one key of the section becomes: the setting's value, or undefined, and the warnings. */
function translate(key: string, value: string): {value: string | boolean | undefined; warnings: readonly string[]} {
  const {values, warnings} = planAwsDefaults({[key]: value}, 'F', () => false)
  return {value: values[AWS_KEYS.get(key) ?? ''], warnings}
}

describe('the s3 section of ~/.aws/config', () => {
  describe('values, as aws reads them', () => {
    const understood: readonly [string, string, string | boolean][] = [
      ['max_concurrent_requests', '20', '20'],
      ['multipart_chunksize', '16MB', String(16 * MIB)],
      ['multipart_chunksize', '16mb', String(16 * MIB)],
      ['multipart_chunksize', '16MiB', String(16 * MIB)],
      ['multipart_chunksize', '16 MB', String(16 * MIB)],
      ['multipart_chunksize', '8192KB', String(8 * MIB)],
      ['multipart_chunksize', '1GB', String(1024 * MIB)],
      ['multipart_chunksize', '8388608', '8388608'],
      ['max_bandwidth', '50MB/s', String(50 * MIB)],
      ['max_bandwidth', '300KB/s', String(300 * KIB)],
      ['max_bandwidth', '800KiB/s', String(800 * KIB)],
      ['max_bandwidth', '131072B/s', '131072'],
      ['max_bandwidth', '1048576', '1048576'],
      ['max_bandwidth', '80Mb/s', String(10 * MIB)],
      ['max_bandwidth', '1048576b/s', '131072'],
      ['addressing_style', 'path', true],
      ['addressing_style', 'virtual', false],
    ]
    for (const [key, text, value] of understood) {
      it(`${key} = ${text}`, () => expect(translate(key, text)).to.deep.equal({value, warnings: []}))
    }

    it('addressing_style = auto is what barmans3 does anyway', () => {
      expect(translate('addressing_style', 'auto')).to.deep.equal({value: undefined, warnings: []})
    })
  })

  describe('a value that is none is a warning with file, key and value, and counts as not there', () => {
    for (const [key, text] of [
      ['max_concurrent_requests', 'many'], ['max_concurrent_requests', '0'], ['max_concurrent_requests', '-4'], ['max_concurrent_requests', '4.5'],
      ['max_concurrent_requests', ''], ['multipart_chunksize', '16MBit'], ['multipart_chunksize', '16B'], ['multipart_chunksize', '0'],
      ['max_bandwidth', '50MB'], ['max_bandwidth', '50MB/h'], ['max_bandwidth', 'MB/s'], ['max_bandwidth', '0'], ['max_bandwidth', '4b/s'],
      ['addressing_style', 'dns'],
    ] as const) {
      it(`${key} = ${text}`, () => {
        const {value, warnings} = translate(key, text)
        expect(value).to.equal(undefined)
        expect(warnings).to.have.length(1)
        expect(warnings[0]).to.match(new RegExp(`^F: s3 ${key} ${JSON.stringify(text)} is ignored: it is not `))
      })
    }
  })

  describe('a value that is too small or too large for barmans3 counts as the nearest possible, with a warning', () => {
    for (const [key, text, value, shown] of [
      ['max_concurrent_requests', '500', '128', '128, the most possible here'],
      ['multipart_chunksize', '1MB', String(5 * MIB), '5MiB, the least possible here'],
      ['multipart_chunksize', '6GB', String(5 * 1024 * MIB), '5GiB, the most possible here'],
      ['max_bandwidth', '10KB/s', String(64 * KIB), '64KiB, the least possible here'],
    ] as const) {
      it(`${key} = ${text}`, () => {
        expect(translate(key, text)).to.deep.equal({value, warnings: [`F: s3 ${key} "${text}" counts as ${shown}`]})
      })
    }
  })

  it('leaves out what has no meaning here without a word, and what is set elsewhere however it is written', () => {
    const silent = {
      multipart_threshold: '64MB', max_queue_size: '10000', payload_signing_enabled: 'true', preferred_transfer_client: 'crt',
      target_bandwidth: 'x', use_accelerate_endpoint: 'false', use_dualstack_endpoint: 'False', us_east_1_regional_endpoint: 'regional',
    }
    expect(planAwsDefaults(silent, 'F', () => false)).to.deep.equal({values: {}, warnings: []})
    const own = {max_concurrent_requests: 'many', multipart_chunksize: '1MB', max_bandwidth: 'x', addressing_style: 'x', use_accelerate_endpoint: 'true'}
    expect(planAwsDefaults(own, 'F', () => true)).to.deep.equal({values: {}, warnings: []})
  })

  it('says that another endpoint of AWS is a setting of its own here', () => {
    for (const key of ['use_accelerate_endpoint', 'use_dualstack_endpoint']) {
      const {warnings} = planAwsDefaults({[key]: 'True'}, 'F', (path) => path !== 's3.endpoint')
      expect(warnings.join()).to.match(new RegExp(`^F: s3 ${key} has no effect here; set s3.endpoint to https://s3`))
    }
  })

  it('is shown on the page of the configuration, key by key', async () => {
    const page = await readFile(new URL('../../../docs/reference/configuration.md', import.meta.url), 'utf8')
    for (const [key, path] of AWS_KEYS) expect(page).to.match(new RegExp(`^\\| \`${key}\` \\| \`${path}\`( \\||:)`, 'm'))
  })

  describe('in the effective configuration', () => {
    const {path, write, loadText} = useConfigSandbox()

    /** Loads `text` for a user whose ~/.aws/config is `aws`. */
    async function loadWith(aws: string, text = '', options: Partial<LoadOptions> = {}): Promise<LoadedConfig> {
      await write('home/.aws/config', aws)
      return await loadText(`s3: {uri: s3://b}\n${text}`, {homeDirectory: path('home'), ...options})
    }

    const SECTION = '[default]\nregion = r1\ns3 =\n  max_concurrent_requests = 20\n  multipart_chunksize = 64MB\n  max_bandwidth = 50MB/s\n  addressing_style = virtual\n'

    it('is more than a default, less than our file, environment and flags, and named as what it is', async () => {
      const alone = await loadWith(SECTION)
      expect(alone.warnings).to.deep.equal([])
      expect(alone.config.transfer).to.include({concurrency: 20, partSizeBytes: 64 * MIB, maxBandwidthBytes: 50 * MIB})
      expect(alone.config.s3.forcePathStyle).to.equal(false)
      const source = `aws profile default in ${path('home/.aws/config')}`
      const rows = listConfigRows(alone).filter((row) => row.source === source)
      expect(rows.map(({path: setting, value}) => `${setting} ${value}`)).to.deep.equal([
        's3.forcePathStyle false', 'transfer.concurrency 20', 'transfer.partSize 64MiB', 'transfer.maxBandwidth 50MiB',
      ])

      const {config, sources} = await loadWith(SECTION, 'transfer: {concurrency: 4, maxBandwidth: 0}\n', {
        environment: {BARMANS3_TRANSFER_PART_SIZE: '5MiB'}, overrides: {'transfer.concurrency': '2'},
      })
      expect(config.transfer).to.include({concurrency: 2, partSizeBytes: 5 * MIB, maxBandwidthBytes: 0})
      expect(sources['s3.forcePathStyle']).to.equal(source)
      expect(sources['transfer.concurrency']).to.equal('flag')
    })

    it('is that of the profile the keys come from', async () => {
      const aws = `${SECTION}[profile backup]\ns3 =\n  max_concurrent_requests = 7\n`
      for (const [what, text, options, concurrency] of [
        ['s3.profile', 's3: {uri: s3://b, profile: backup}\n', {}, 7],
        ['AWS_PROFILE', '{}', {environment: {AWS_PROFILE: 'backup'}}, 7],
        ['s3.profile before AWS_PROFILE', '{}', {environment: {AWS_PROFILE: 'backup', BARMANS3_S3_PROFILE: 'default'}}, 20],
        ['a profile that is not there', '{}', {environment: {AWS_PROFILE: 'gone'}}, 16],
      ] as const) {
        await write('home/.aws/config', aws)
        const {config} = await loadText(text, {homeDirectory: path('home'), ...options})
        expect(config.transfer.concurrency, what).to.equal(concurrency)
      }
    })

    it('is found by AWS_CONFIG_FILE and in the credentials file, and missing where there is no home', async () => {
      const AWS_CONFIG_FILE = await write('elsewhere', SECTION)
      const elsewhere = await loadText('{}', {environment: {AWS_CONFIG_FILE}})
      expect(elsewhere.config.transfer.concurrency).to.equal(20)
      const credentials = await write('credentials', '[default]\naws_access_key_id = AKIAEXAMPLE\ns3 =\n  max_bandwidth = fast\n')
      const {warnings, config} = await loadText('{}', {environment: {AWS_SHARED_CREDENTIALS_FILE: credentials, AWS_CONFIG_FILE}})
      expect(config.transfer).to.include({concurrency: 16, maxBandwidthBytes: 0})
      expect(warnings).to.deep.equal([`${credentials}: s3 max_bandwidth "fast" is ignored: it is not a rate such as 50MB/s`])
      expect((await loadText('{}')).config.transfer.concurrency).to.equal(16)
    })

    it('is not missed where it cannot be read: whoever needs the keys in that file says so', async () => {
      const AWS_CONFIG_FILE = path('directory')
      await mkdir(AWS_CONFIG_FILE)
      const {config, warnings} = await loadText('{}', {environment: {AWS_CONFIG_FILE}})
      expect(config.transfer.concurrency).to.equal(16)
      expect(warnings).to.deep.equal([])
    })

    it('is another file than ours: nothing in it can make the configuration wrong', async () => {
      const noise = '[default]\ns3 =\n  max_concurrent_requests = 9999999999999999999\n  multipart_chunksize\n  max_bandwidth = \u0007\n  __proto__ = x\n  constructor = y\n[broken\n'
      const {config, warnings} = await loadWith(noise)
      expect(config.transfer.concurrency).to.equal(16)
      expect(warnings.join('\n')).to.contain('max_concurrent_requests').and.contain('max_bandwidth "\\u0007"')
    })

    it('counts beside the old file of the bash scripts too', async () => {
      await write('home/.aws/config', SECTION)
      const configFile = await write('barmans3.conf', 'S3_BUCKET_URI="s3://b/p"\n')
      const {config} = await loadConfig({configFile, environment: {}, homeDirectory: path('home'), barmanFile: '/nonexistent/x'})
      expect(config.transfer.concurrency).to.equal(20)
    })
  })
})

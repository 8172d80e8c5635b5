import {mkdtemp, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {expect} from 'chai'
import {loadConfig} from '../../../src/lib/config/load.ts'
import {EXIT, messageOf, UsageError} from '../../../src/lib/errors.ts'

describe('problems of a configuration', () => {
  let root: string
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'barmans3-problems-'))
  })
  after(() => rm(root, {recursive: true, force: true}))

  async function faultOf(text: string): Promise<UsageError> {
    const configFile = join(root, 'config.yaml')
    await writeFile(configFile, text)
    try {
      await loadConfig({configFile, environment: {}})
    } catch (error) {
      expect(error).to.be.instanceOf(UsageError)
      return error as UsageError
    }
    return expect.fail(`was accepted: ${text}`)
  }

  const single: readonly [string, RegExp][] = [
    ['s3: {uri: "gs://b"}', /s3\.uri "gs:\/\/b" \(file .*\): the address of the archive must look like s3:\/\/bucket\/prefix/],
    ['s3: {uri: 5}', /s3\.uri 5 .*must be a text/],
    ['s3: {uri: "s3://b/p\\r"}', /s3\.uri "s3:\/\/b\/p\\r" .*control character/],
    ['s3: {endpoint: "h:9000"}', /s3\.endpoint "h:9000" .*must begin with https:\/\//],
    ['s3: {endpoint: "s3.example.com"}', /must begin with https:\/\//],
    ['s3: {endpoint: "https://"}', /must begin with https:\/\//],
    ['s3: {endpoint: "https:/h"}', /must begin with https:\/\//],
    ['s3: {endpoint: "https://h/?a"}', /query/],
    ['s3: {region: "eu central"}', /s3\.region "eu central" .*region such as/],
    ['s3: {profile: " x"}', /blank/],
    ['s3: {profile: ""}', /must not be empty/],
    ['s3: {forcePathStyle: "yes"}', /must be true or false/],
    ['s3: {storageClass: STANDARD}', /s3\.storageClass "STANDARD" .*must be a section/],
    ['s3: {storageClass: {base: standard-ia}}', /s3\.storageClass\.base .*storage class such as STANDARD_IA/],
    ['s3: {tags: {a: 1}}', /s3\.tags\.a 1 .*must be a text \(put it in quotes\)/],
    ['s3: {tags: {"aws:x": y}}', /s3\.tags\.aws:x .*not a possible name of a tag/],
    ['s3: {tags: {x: "a*b"}}', /s3\.tags\.x "a\*b" .*not a possible value of a tag/],
    ['s3: {tags: {a: a, b: a, c: a, d: a, e: a, f: a, g: a, h: a, i: a, j: a, k: a}}', /s3\.tags.*at most 10 tags/],
    ['s3: {encryption: {type: DES}}', /s3\.encryption\.type "DES" .*must be AES256 or aws:kms/],
    ['s3: {encryption: {}}', /s3\.encryption\.type: must be AES256 or aws:kms/],
    ['s3: {encryption: {type: AES256, keyId: x}}', /s3\.encryption\.keyId .*only for the type aws:kms/],
    ['s3: {conditionalPut: maybe}', /must be native or head-first/],
    ['s3: {timeout: 60}', /s3\.timeout 60 .*must be a duration with its unit/],
    ['s3: {timeout: 1ms}', /must be a duration with its unit from 1s to 1d/],
    ['s3: {timeout: [1s]}', /s3\.timeout .*must be a duration/],
    ['s3: {maxAttempts: 0}', /s3\.maxAttempts 0 .*from 1 to 100/],
    ['s3: {maxAttempts: 2.5}', /from 1 to 100/],
    ['s3: text', /s3 "text" .*must be a section/],
    ['s3: [a]', /s3 .*must be a section/],
    ['barman: {command: "barman -q"}', /name of a program or its absolute path, without arguments/],
    ['barman: {command: ./barman}', /name of a program or its absolute path/],
    ['barman: {configuration: etc/barman.conf}', /must be an absolute path/],
    ['barman: {home: ~/barman}', /must be an absolute path; ~ is not known here/],
    ['servers: [main]', /servers .*must be a section/],
    ['servers: {main: /var/lib/barman/main}', /servers\.main "\/var.*must be a section/],
    ['servers: {"a/b": }', /servers\."a\/b".*not a possible name of a Barman server/],
    ['servers: {"..": }', /servers\.\.\..*not a possible name/],
    ['servers: {all: }', /servers\.all.*not a possible name/],
    ['servers: {"a\\u001b[31m": }', /servers\."a\\u001b\[31m".*not a possible name/],
    ['servers: {a: {directory: "s3://b/x"}}', /servers\.a\.directory "s3:\/\/b\/x" .*is an address, not a path/],
    ['servers: {a: {directory: "gs://b"}}', /is an address, not a path/],
    ['servers: {a: {uri: s3:/x}}', /servers\.a\.uri .*must look like/],
    ['servers: {a: {base: {layout: packed}}}', /servers\.a\.base\.layout "packed" .*must be compact or mirror/],
    ['servers: {a: {base: {compression: none}}}', /servers\.a\.base\.compression: not known/],
    ['base: {layout: Compact}', /base\.layout "Compact" .*must be compact or mirror/],
    ['base: {compression: gzip}', /base\.compression "gzip" .*must be zstd or none/],
    ['base: {compressionLevel: 0}', /base\.compressionLevel 0 .*whole number from 1 to 19/],
    ['base: {compressionLevel: 20}', /from 1 to 19/],
    ['base: {compressionLevel: 2.5}', /from 1 to 19/],
    ['base: {maxReferenceAge: 30}', /base\.maxReferenceAge 30 .*a duration with its unit up to 3650d, such as 30d, or 0/],
    ['base: {maxReferenceAge: never}', /up to 3650d/],
    ['base: {maxReferenceAge: 3651d}', /up to 3650d/],
    ['transfer: {concurrency: 0}', /transfer\.concurrency 0 .*from 1 to 128/],
    ['transfer: {concurrency: 129}', /from 1 to 128/],
    ['transfer: {concurrency: many}', /from 1 to 128/],
    ['transfer: {partSize: 4MiB}', /from 5MiB to 5GiB/],
    ['transfer: {partSize: 6GiB}', /from 5MiB to 5GiB/],
    ['transfer: {partSize: 16}', /from 5MiB to 5GiB/],
    ['transfer: {maxBandwidth: 63KiB}', /transfer\.maxBandwidth "63KiB" .*at least 64KiB, such as 50MiB, or 0 for no limit/],
    ['transfer: {maxBandwidth: 50}', /transfer\.maxBandwidth 50 .*at least 64KiB/],
    ['transfer: {maxBandwidth: 50Mbit/s}', /at least 64KiB/],
    ['transfer: {maxBandwidth: none}', /at least 64KiB/],
    ['transfer: {abandonAfter: 59m}', /transfer\.abandonAfter "59m" .*a duration with its unit from 1h to 365d/],
    ['transfer: {abandonAfter: 366d}', /from 1h to 365d/],
    ['transfer: {abandonAfter: 0}', /from 1h to 365d/],
    ['queue: {directory: queue.d}', /queue\.directory "queue\.d" .*must be an absolute path/],
    ['state: {directory: ""}', /state\.directory "" .*must not be empty/],
  ]
  for (const [text, why] of single) {
    it(`refuses ${text}`, async () => {
      const fault = await faultOf(text)
      expect(fault.message).to.match(/^the configuration has a problem, nothing was touched:\n/).and.match(why)
    })
  }

  const later = [
    'wal: {partial: true}',
    'retention: none',
    'cleanup: {maxShare: 50%}',
  ]
  for (const key of later) {
    it(`says that this version does not know ${key}, rather than accept what has no effect`, async () => {
      expect((await faultOf(key)).message).to.match(/: not known to this version$/)
    })
  }

  const typos: readonly [string, string, string][] = [
    ['S3: {}', 'S3', 's3'],
    ['s3: {url: s3://b}', 's3.url', 'uri'],
    ['s3: {end_point: x}', 's3.end_point', 'endpoint'],
    ['server: {}', 'server', 'servers'],
    ['servers: {a: {direktory: /x}}', 'servers.a.direktory', 'directory'],
    ['servers: {a: {wals_directory: /x}}', 'servers.a.wals_directory', 'walsDirectory'],
    ['transfer: {partsize: 16MiB}', 'transfer.partsize', 'partSize'],
  ]
  for (const [text, path, meant] of typos) {
    it(`guesses what ${path} was meant to be`, async () => {
      expect((await faultOf(text)).message).to.include(`${path}: not known to this version (did you mean ${meant}?)`)
    })
  }

  it('reports everything at once, on one line for a log and with the exit code of the command line', async () => {
    const fault = await faultOf(`
s3: {uri: x, endpoint: y, regoin: z}
servers: {a/b: {directory: q, x: 1}, c: 5}
transfer: {concurrency: 0, partSize: 0}
wal: 1
__proto__: {x: 1}
`)
    const wrong = ['s3.uri', 's3.endpoint', 's3.regoin', 'servers."a/b"', 'servers.c', 'transfer.concurrency']
    for (const path of [...wrong, 'transfer.partSize', 'wal', '__proto__']) {
      expect(fault.message).to.include(`  ${path}`)
    }
    expect(fault.exitCode).to.equal(EXIT.usage)
    expect(fault.hint).to.match(/^correct .*config\.yaml; docs\/reference\/configuration\.md/)
    expect(messageOf(fault)).to.not.include('\n')
  })

  it('ends at once for a file whose aliases are endless or many', async () => {
    expect((await faultOf('a: &a {b: *a}\nservers: &s {x: *s}\n')).message).to.match(/  a: not known to this version/)
    const levels = Array.from({length: 30}, (_, n) => `l${n + 1}: &l${n + 1} {a: *l${n}, b: *l${n}, c: *l${n}, d: *l${n}}`)
    expect((await faultOf(`l0: &l0 {x: 1}\n${levels.join('\n')}\n`)).message).to.match(/31 problems/)
  })

  for (const text of ['servers: {__proto__: {directory: /x}}', 's3: {tags: {__proto__: x}}', 'servers: {a: {__proto__: {}}}']) {
    it(`does not silently ignore ${text}`, async () => {
      expect((await faultOf(text)).message).to.include('__proto__')
    })
  }

  it('refuses credentials by where they belong and shows none of them', async () => {
    const fault = await faultOf(`
s3:
  uri: s3://AKIAEXAMPLE:topsecret@bucket/p
  endpoint: https://user:topsecret@s3.example.com
  accessKeyId: AKIAEXAMPLE
  secretAccessKey: topsecret
  aws_session_token: topsecret
barman: {conninfo: password=topsecret}
password: topsecret
`)
    expect(fault.message.match(/credentials/g)?.length).to.be.greaterThan(5)
    const keys = ['s3.accessKeyId', 's3.secretAccessKey', 's3.aws_session_token', 'barman.conninfo', 'password']
    for (const path of ['s3.uri', 's3.endpoint', ...keys]) {
      expect(fault.message).to.include(path)
    }
    expect(`${fault.message}${fault.hint}${fault.stack}`).to.not.match(/AKIA|topsecret/)
  })

  const endpoints: readonly [string, string][] = [
    ['https://h:9000/', 'https://h:9000'],
    ['https://h/gw/s3', 'https://h/gw/s3'],
    ['http://[::1]:8333', 'http://[::1]:8333'],
  ]
  for (const [written, meant] of endpoints) {
    it(`C64: takes the endpoint ${written} as ${meant}`, async () => {
      const configFile = join(root, 'config.yaml')
      await writeFile(configFile, `s3: {endpoint: "${written}"}`)
      const {config} = await loadConfig({configFile, environment: {}})
      expect(config.s3.endpoint).to.equal(meant)
    })
  }
})

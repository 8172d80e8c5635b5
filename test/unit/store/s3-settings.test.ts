import {mkdtempSync, rmSync, writeFileSync} from 'node:fs'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {expect} from 'chai'
import {UsageError} from '../../../src/lib/errors.ts'
import {parseEndpoint} from '../../../src/lib/store/s3/endpoint.ts'
import {safeStartAfter} from '../../../src/lib/store/s3/listing.ts'
import {parseAwsIni, readAwsProfile} from '../../../src/lib/store/s3/profile.ts'

describe('C64: an endpoint', () => {
  for (const [text, href] of [
    ['https://h:9000', 'https://h:9000/'],
    ['https://h:9000/', 'https://h:9000/'],
    ['https://h/gw/s3', 'https://h/gw/s3'],
    ['https://h/gw/s3//', 'https://h/gw/s3'],
    ['HTTP://127.0.0.1:9000', 'http://127.0.0.1:9000/'],
    ['https://[::1]:9000', 'https://[::1]:9000/'],
  ] as const) {
    it(`${text} is taken as ${href}`, () => expect(parseEndpoint(text).href).to.equal(href))
  }

  for (const [text, hint] of [
    ['h:9000', 'write it as https://h:9000'],
    ['s3.example.com/', 'write it as https://s3.example.com'],
    ['ftp://h', 'write it as https://host:port'],
    ['https://', 'write it as https://host:port'],
    ['https://h/?x=1', 'write it as https://host:port'],
    ['', 'write it as https://host:port'],
  ] as const) {
    it(`${JSON.stringify(text)} is refused: ${hint}`, () => {
      expect(() => parseEndpoint(text))
        .to.throw(UsageError)
        .with.property('hint', hint)
    })
  }

  it('with a user in it is refused without showing the password', () => {
    expect(() => parseEndpoint('https://user:geheim@h'))
      .to.throw(UsageError)
      .with.property('message')
      .that.does.not.include('geheim')
    expect(() => parseEndpoint('h://user:geheim@h'))
      .to.throw(UsageError)
      .with.property('message')
      .that.does.not.include('geheim')
  })
})

describe('C60: an AWS profile', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'barmans3-profile-'))
  })
  afterEach(() => rmSync(directory, {recursive: true, force: true}))

  const read = (config: string, credentials: string, profile?: string) => {
    const AWS_CONFIG_FILE = join(directory, 'config')
    const AWS_SHARED_CREDENTIALS_FILE = join(directory, 'credentials')
    writeFileSync(AWS_CONFIG_FILE, config)
    writeFileSync(AWS_SHARED_CREDENTIALS_FILE, credentials)
    return readAwsProfile({AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE}, profile)
  }

  it('is read the same from clean files and from files with CRLF, a byte order mark, indentation, blanks and comments', () => {
    const clean = read(
      '[profile backup]\nregion = eu-central-1\ns3 =\n  max_concurrent_requests = 20\n',
      '[backup]\naws_access_key_id = A\naws_secret_access_key = a+/=\n',
      'backup',
    )
    const odd = read(
      '\uFEFF# made by hand\r\n[profile  backup ]\r\n  region = eu-central-1   ; here\r\n  s3 =\r\n    max_concurrent_requests = 20\r\n',
      '\uFEFF[ backup ]\r\n\taws_access_key_id=A \r\n\taws_secret_access_key = a+/= \t\r\n',
      'backup',
    )
    expect(clean.settings).to.deep.equal({region: 'eu-central-1', aws_access_key_id: 'A', aws_secret_access_key: 'a+/='})
    expect(clean.s3).to.deep.equal({max_concurrent_requests: '20'})
    expect(odd).to.deep.equal(clean)
  })

  it('ends the s3 block at the next plain key, and does not mix profiles', () => {
    const {settings, s3} = read(
      '[default]\ns3 =\n  multipart_chunksize = 64MB\nregion = r1\n[profile other]\nregion = r2\n',
      '',
    )
    expect(settings).to.deep.equal({region: 'r1'})
    expect(s3).to.deep.equal({multipart_chunksize: '64MB'})
    expect(read('[profile other]\nregion = r2\n', '').found).to.equal(false)
  })

  it('lets the credentials file win, takes quoted names, and keeps # inside a value', () => {
    const profile = read(
      '[profile "my one"]\naws_access_key_id = FROM_CONFIG\n',
      '[my one]\naws_access_key_id = A#B\n',
      'my one',
    )
    expect(profile.settings).to.deep.equal({aws_access_key_id: 'A#B'})
  })

  it('of files that are not there is not found, and no error', () => {
    const profile = readAwsProfile({HOME: directory}, undefined)
    expect(profile).to.deep.include({found: false, settings: {}, name: 'default'})
    expect(profile.files).to.deep.equal([join(directory, '.aws/config'), join(directory, '.aws/credentials')])
  })

  it('keeps sections apart when a key stands before the first', () => {
    expect([...parseAwsIni('lost = 1\n[a]\nx = 1\n[b]\nx = 2\n[a]\ny = 3')]).to.deep.equal([
      ['a', {x: '1', y: '3'}],
      ['b', {x: '2'}],
    ])
  })
})

describe('what is sent as StartAfter', () => {
  for (const [prefix, startAfter, sent] of [
    ['wals/', 'wals/0000000100000001/000000010000000100000042', 'wals/0000000100000001/00000001000000010000004'],
    ['p-1/wals/', 'p-1/wals/0000000100000001', 'p-1/wals/000000010000000'],
    ['f/', 'f/a-b', undefined],
    ['f/', 'f/abc.d', 'f/ab'],
    ['f/', 'f/a/-x', 'f/a/'],
    ['f/', 'f/', undefined],
    ['f/', 'f/a\u{1F600}', 'f/a'],
  ] as const) {
    it(`for ${JSON.stringify(startAfter)} below ${prefix} is ${JSON.stringify(sent)}`, () => {
      expect(safeStartAfter(prefix, startAfter)).to.equal(sent)
    })
  }
})

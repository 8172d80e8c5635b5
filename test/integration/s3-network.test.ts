import {mkdtempSync, rmSync, writeFileSync} from 'node:fs'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {inspect} from 'node:util'
import {expect} from 'chai'
import {StoreRefusedError, StoreUnreachableError, UsageError} from '../../src/lib/errors.ts'
import {systemClock} from '../../src/lib/local/system-clock.ts'
import type {ObjectKey} from '../../src/lib/store/object-store.ts'
import {createS3Store} from '../../src/lib/store/s3/object-store.ts'
import type {S3StoreOptions} from '../../src/lib/store/s3/options.ts'
import {makeCertificates, type Certificates} from '../support/certificates.ts'
import {startFaultServer, type FaultServer} from '../support/fault-server.ts'
import {startProxyServer, type ProxyServer} from '../support/proxy-server.ts'

const KEY = 'a/b' as ObjectKey
const PROXY_NAMES = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy', 'NO_PROXY', 'no_proxy']

describe('the S3 store and the network around it', () => {
  let directory: string
  let certificates: Certificates
  let secure: FaultServer
  let plain: FaultServer
  let proxy: ProxyServer
  const saved = new Map<string, string | undefined>()

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'barmans3-network-'))
    certificates = makeCertificates(directory)
    secure = await startFaultServer({tls: certificates})
    plain = await startFaultServer()
    for (const name of PROXY_NAMES) saved.set(name, process.env[name])
  })
  after(async () => {
    await secure?.stop()
    await plain?.stop()
    rmSync(directory, {recursive: true, force: true})
  })
  beforeEach(async () => {
    for (const name of PROXY_NAMES) delete process.env[name]
    proxy = await startProxyServer('user', 'p@ss')
  })
  afterEach(async () => {
    for (const [name, value] of saved) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }

    secure.requests.length = 0
    await proxy.stop()
  })

  const withStore = async <T>(
    endpoint: string,
    work: (store: ReturnType<typeof createS3Store>) => Promise<T>,
    more: Partial<S3StoreOptions> & {ca?: boolean} = {},
  ) => {
    const {ca = true, ...options} = more
    const store = createS3Store({
      bucket: 'bucket',
      endpoint,
      clock: systemClock,
      maxAttempts: 2,
      connectTimeoutMs: 1500,
      idleTimeoutMs: 1500,
      environment: {
        AWS_ACCESS_KEY_ID: 'id',
        AWS_SECRET_ACCESS_KEY: 'secret',
        HOME: directory,
        ...(ca ? {AWS_CA_BUNDLE: certificates.caFile} : {}),
      },
      ...options,
    })
    try {
      return await work(store)
    } finally {
      store.close()
    }
  }

  const roundTrip = (endpoint: string, more: Partial<S3StoreOptions> = {}) =>
    withStore(
      endpoint,
      async (store) => {
        await store.put(KEY, Buffer.from('content'), {kind: 'wal'})
        return String(await store.get(KEY, {maxBytes: 100}))
      },
      more,
    )

  const errorOf = async (work: Promise<unknown>): Promise<unknown> => {
    try {
      await work
    } catch (error) {
      return error
    }

    throw new Error('no error')
  }

  describe('C62: certificates of AWS_CA_BUNDLE', () => {
    it('are trusted, and over TLS the body is not hashed for the signature', async () => {
      expect(await roundTrip(secure.endpoint)).to.equal('content')
      const [put] = secure.requests
      expect(put?.headers['x-amz-content-sha256']).to.equal('UNSIGNED-PAYLOAD')
      expect(put?.headers.authorization).to.include('x-amz-checksum-crc32c')
    })

    it('are what the message asks for when they are missing', async () => {
      const error = await errorOf(withStore(secure.endpoint, (store) => store.head(KEY), {ca: false}))
      expect(error).to.be.instanceOf(StoreUnreachableError)
      expect((error as StoreUnreachableError).hint).to.include('AWS_CA_BUNDLE')
    })

    it('that cannot be read are a mistake in the set-up', async () => {
      const bad = join(directory, 'bad.pem')
      writeFileSync(bad, '-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n')
      for (const AWS_CA_BUNDLE of [join(directory, 'none.pem'), bad]) {
        const error = await errorOf(
          withStore(secure.endpoint, (store) => store.head(KEY), {environment: {AWS_CA_BUNDLE, HOME: directory}}),
        )
        expect(error).to.be.instanceOf(UsageError)
        expect((error as UsageError).message).to.include(AWS_CA_BUNDLE)
      }
    })
  })

  describe('C62: a proxy', () => {
    for (const name of ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY']) {
      it(`of ${name} with a percent-encoded password tunnels TLS, private CA inside`, async () => {
        process.env[name] = `http://user:p%40ss@127.0.0.1:${proxy.port}`
        expect(await roundTrip(secure.endpoint)).to.equal('content')
        expect(new Set(proxy.seen)).to.deep.equal(new Set([`CONNECT 127.0.0.1:${secure.port}`]))
        expect(proxy.seen, 'the tunnel is kept open').to.have.length(1)
      })
    }

    it('without a scheme is an http proxy', async () => {
      process.env.https_proxy = `user:p%40ss@127.0.0.1:${proxy.port}`
      expect(await roundTrip(secure.endpoint)).to.equal('content')
      expect(proxy.seen).to.have.length(1)
    })

    it('of HTTP_PROXY gets plain requests', async () => {
      process.env.HTTP_PROXY = `http://user:p%40ss@127.0.0.1:${proxy.port}`
      expect(await roundTrip(plain.endpoint)).to.equal('content')
      expect(proxy.seen[0]).to.match(new RegExp(`^PUT http://127\\.0\\.0\\.1:${plain.port}/bucket/a/b`))
    })

    it('is passed by for hosts in NO_PROXY', async () => {
      process.env.HTTPS_PROXY = `http://user:p%40ss@127.0.0.1:${proxy.port}`
      process.env.NO_PROXY = 'minio.local,127.0.0.1,.internal'
      expect(await roundTrip(secure.endpoint)).to.equal('content')
      expect(proxy.seen).to.deep.equal([])
    })

    it('that refuses, or is not there, is named without its password', async () => {
      for (const url of [`http://user:wr0ng-pw@127.0.0.1:${proxy.port}`, 'http://user:wr0ng-pw@127.0.0.1:1']) {
        process.env.HTTPS_PROXY = url
        const error = await errorOf(withStore(secure.endpoint, (store) => store.put(KEY, Buffer.from('x'), {kind: 'wal'})))
        expect(error).to.satisfy(
          (thrown: unknown) => thrown instanceof StoreUnreachableError || thrown instanceof StoreRefusedError,
        )
        expect((error as Error).message).to.include('127.0.0.1:')
        expect(inspect(error, {depth: 20}))
          .to.not.include('wr0ng-pw')
          .and.not.include(Buffer.from('user:wr0ng-pw').toString('base64'))
      }
    })

    it('that is no URL is a mistake in the set-up, and not shown', async () => {
      process.env.HTTPS_PROXY = 'http://user:wr0ng-pw@host:notaport'
      const error = await errorOf(withStore(secure.endpoint, (store) => store.head(KEY)))
      expect(error).to.be.instanceOf(UsageError)
      expect(inspect(error)).to.not.include('wr0ng-pw')
    })
  })

  describe('an endpoint that cannot be reached', () => {
    const cases: Array<[string, string, RegExp]> = [
      ['nobody listening', 'http://127.0.0.1:1', /nobody listens at 127\.0\.0\.1:1 \(ECONNREFUSED\)/],
      ['an unknown name', 'http://no-such-host.invalid:9000', /the name of no-such-host\.invalid:9000 is not known/],
    ]
    for (const [label, endpoint, message] of cases) {
      it(`is said to be so: ${label}`, async function () {
        this.timeout(20_000)
        const error = await errorOf(withStore(endpoint, (store) => store.head(KEY)))
        expect(error).to.be.instanceOf(StoreUnreachableError)
        expect((error as Error).message).to.match(message)
      })
    }

    it('is said to be so: TLS spoken to a plain port, and plain HTTP to a TLS port', async () => {
      for (const endpoint of [plain.endpoint.replace('http:', 'https:'), secure.endpoint.replace('https:', 'http:')]) {
        const error = await errorOf(withStore(endpoint, (store) => store.put(KEY, Buffer.from('x'), {kind: 'wal'})))
        expect(error, endpoint).to.be.instanceOf(StoreUnreachableError)
      }
    })
  })

  describe('C60 and C58: credentials', () => {
    const keysSeen = () => /Credential=([^/]*)\//.exec(plain.requests.at(-1)?.headers.authorization ?? '')?.[1]
    const configure = (text: string, name = 'credentials') => {
      const file = join(directory, name)
      writeFileSync(file, text)
      return file
    }

    const put = (environment: NodeJS.ProcessEnv, more: Partial<S3StoreOptions> = {}) =>
      withStore(plain.endpoint, (store) => store.put(KEY, Buffer.from('x'), {kind: 'wal'}), {
        environment: {HOME: join(directory, 'nobody'), ...environment},
        ...more,
      })

    it('from the environment are trimmed', async () => {
      expect(await put({AWS_ACCESS_KEY_ID: ' AKID\n', AWS_SECRET_ACCESS_KEY: 'abc+/=\r'})).to.equal('stored')
      expect(keysSeen()).to.equal('AKID')
    })

    it('with a control character inside are refused, without showing them', async () => {
      const error = await errorOf(put({AWS_ACCESS_KEY_ID: 'AKID', AWS_SECRET_ACCESS_KEY: 'abc\ndef'}))
      expect(error).to.be.instanceOf(UsageError)
      expect((error as Error).message).to.equal('control character in the secret of the environment')
    })

    it('from a file with a byte order mark, CRLF, indentation and trailing blanks are the same', async () => {
      const AWS_SHARED_CREDENTIALS_FILE = configure(
        '\uFEFF[default]\r\n  aws_access_key_id = FILEKEY  \r\n  aws_secret_access_key = abc+/=\t\r\n',
      )
      const AWS_CONFIG_FILE = configure(
        '\uFEFF[profile  backup ]\r\n\taws_access_key_id=PROFILEKEY \r\n\taws_secret_access_key=xyz\r\n',
        'config',
      )
      await put({AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE})
      expect(keysSeen()).to.equal('FILEKEY')
      await put({AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE, AWS_PROFILE: 'backup'})
      expect(keysSeen()).to.equal('PROFILEKEY')
      await put({
        AWS_SHARED_CREDENTIALS_FILE,
        AWS_CONFIG_FILE,
        AWS_ACCESS_KEY_ID: 'ENVKEY',
        AWS_SECRET_ACCESS_KEY: 's',
        AWS_PROFILE: 'backup',
      })
      expect(keysSeen(), 'keys in the environment beat AWS_PROFILE').to.equal('ENVKEY')
      await put(
        {AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE, AWS_ACCESS_KEY_ID: 'ENVKEY', AWS_SECRET_ACCESS_KEY: 's'},
        {profile: 'backup'},
      )
      expect(keysSeen(), 'a profile that is asked for beats the environment').to.equal('PROFILEKEY')
    })

    it('found nowhere are one quick error that says where was looked, for any number of objects', async () => {
      const begin = Date.now()
      const before = plain.requests.length
      process.env.AWS_EC2_METADATA_DISABLED = 'true'
      try {
        await withStore(
          plain.endpoint,
          async (store) => {
            for (let index = 0; index < 50; index++) {
              const error = await errorOf(store.put(KEY, Buffer.from('x'), {kind: 'wal'}))
              expect(error).to.be.instanceOf(UsageError)
              expect((error as Error).message)
                .to.include('AWS_ACCESS_KEY_ID')
                .and.include(join(directory, 'nobody', '.aws', 'credentials'))
            }
          },
          {environment: {HOME: join(directory, 'nobody')}},
        )
      } finally {
        delete process.env.AWS_EC2_METADATA_DISABLED
      }

      expect(Date.now() - begin).to.be.below(3000)
      expect(plain.requests.length).to.equal(before)
    })

    it('that nobody has for a profile that was asked for are a mistake in the set-up', async () => {
      expect(await errorOf(put({}, {profile: 'typo'}))).to.be.instanceOf(UsageError)
    })
  })
})

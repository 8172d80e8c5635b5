import {X509Certificate} from 'node:crypto'
import {readFileSync} from 'node:fs'
import {Agent as HttpAgent} from 'node:http'
import {Agent as HttpsAgent} from 'node:https'
import {createSecureContext, getCACertificates, type SecureContext} from 'node:tls'
import {HttpProxyAgent} from 'http-proxy-agent'
import {HttpsProxyAgent} from 'https-proxy-agent'
import {getProxyForUrl} from 'proxy-from-env'
import {errnoOf, UsageError} from '../../errors.ts'

/** The connections of a store: kept alive, through a proxy where the environment says so. */
export interface Agents {
  readonly httpAgent: HttpAgent
  readonly httpsAgent: HttpsAgent
  /** Host and port of the proxy, without its password; for messages. */
  readonly proxy: string | undefined
}

/**
 * Connections for `endpoint` (any bucket below it). HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY are taken from
 * `process.env` in either case; AWS_CA_BUNDLE (or the profile's ca_bundle) adds to the certificates Node trusts,
 * NODE_EXTRA_CA_CERTS among them.
 * @throws UsageError for a bundle that cannot be read or a proxy that is not a URL.
 */
export function createAgents(endpoint: URL, concurrency: number, caBundle: string | undefined): Agents {
  // No limit on sockets: callers bound what is under way, and a request that queued for a socket would be taken for one
  // that cannot connect.
  const options = {keepAlive: true, maxFreeSockets: concurrency, scheduling: 'lifo'} as const
  const secure = caBundle ? {secureContext: createTrust(caBundle)} : {}
  const proxy = proxyOf(endpoint)
  if (!proxy) return {httpAgent: new HttpAgent(options), httpsAgent: new HttpsAgent({...options, ...secure}), proxy: undefined}
  return {
    httpAgent: new HttpProxyAgent(proxy, options),
    // Its own `options` are not those of a TLS agent, so what the connection needs is given with it.
    httpsAgent: new TunnelAgent(proxy, {...options, ...secure}, secure) as unknown as HttpsAgent,
    proxy: proxy.host,
  }
}

/** https-proxy-agent keeps TLS options for the proxy's connection only; the private CA is needed for the one inside it. */
class TunnelAgent extends HttpsProxyAgent<string> {
  readonly #secure: {secureContext?: SecureContext}

  constructor(
    proxy: URL,
    options: ConstructorParameters<typeof HttpsProxyAgent<string>>[1],
    secure: {secureContext?: SecureContext},
  ) {
    super(proxy, options)
    this.#secure = secure
  }

  /** The package guesses by the stack, wrongly when a socket comes free, and then makes a new tunnel for each request. */
  override isSecureEndpoint(): boolean {
    return true
  }

  override connect(
    request: Parameters<HttpsProxyAgent<string>['connect']>[0],
    options: Parameters<HttpsProxyAgent<string>['connect']>[1],
  ) {
    return super.connect(request, {...options, ...this.#secure} as typeof options)
  }
}

function proxyOf(endpoint: URL): URL | undefined {
  let text = getProxyForUrl(endpoint.href)
  if (text === '') return undefined
  // The package gives a proxy without a scheme the scheme of the target; every other tool takes `proxy:3128` for http.
  const scheme = endpoint.protocol.slice(0, -1)
  const names = [`${scheme}_proxy`, `${scheme}_proxy`.toUpperCase(), 'all_proxy', 'ALL_PROXY']
  const written = names.map((name) => process.env[name]).find(Boolean) ?? text
  if (!written.includes('://')) text = `http://${written}`
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new UsageError('the proxy in the environment is not an http:// or https:// URL', {
      hint: `write ${scheme.toUpperCase()}_PROXY as http://user:password@host:port, with the password percent-encoded`,
    })
  }

  return new URL(text)
}

function createTrust(path: string): SecureContext {
  try {
    const certificates = readFileSync(path, 'utf8').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
    // A context takes nonsense without a word; this does not.
    for (const certificate of certificates) void new X509Certificate(certificate)
    if (certificates.length === 0) throw new Error('no certificate in it')
    return createSecureContext({ca: [...getCACertificates('default'), ...certificates]})
  } catch (error) {
    throw new UsageError(`the certificates of AWS_CA_BUNDLE in ${path} cannot be read (${readFault(error)})`, {
      hint: 'let AWS_CA_BUNDLE name a file of PEM certificates that the user of barmans3 can read',
      cause: error,
    })
  }
}

function readFault(error: unknown): string {
  const errno = errnoOf(error) ?? ''
  return /^E[A-Z]+$/.test(errno) ? errno : 'not PEM'
}

// s3null while it runs: one process for each measurement, so that each begins with an empty bucket.

import {spawn, spawnSync} from 'node:child_process'
import {once} from 'node:events'
import {readFileSync} from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import {createServer} from 'node:net'
import {join} from 'node:path'
import {setTimeout as sleep} from 'node:timers/promises'

const START_LIMIT_MS = 10_000
export const BUCKET = 'bench'
/** Larger bodies are counted and forgotten: a GET of them answers zeros. */
export const KEPT_BYTES = 1024 ** 2

/** Makes a self-signed certificate for 127.0.0.1 in `directory`. Returns the paths of certificate and key. */
export function createCertificate(directory) {
  const [certificate, key] = ['certificate.pem', 'key.pem'].map((name) => join(directory, name))
  const {status, error, stderr} = spawnSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=127.0.0.1',
    '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', certificate,
  ], {encoding: 'utf8'})
  if (status !== 0) throw new Error(`openssl could not make a certificate: ${error?.message ?? stderr.trim()}`)
  return {certificate, key}
}

/**
 * Starts s3null on a free port of 127.0.0.1. `tls` names certificate and key, and is undefined for plain HTTP.
 * @throws Error when it does not answer within ten seconds
 */
export async function startServer({program, latencyMs, tls, signal}) {
  const port = await freePort()
  const options = tls ? ['-cert', tls.certificate, '-key', tls.key] : []
  const args = ['-addr', `127.0.0.1:${port}`, '-latency', `${latencyMs}ms`, '-keep', String(KEPT_BYTES), ...options]
  const child = spawn(program, args, {stdio: ['ignore', 'pipe', 'pipe']})
  const server = new Server(child, `${tls ? 'https' : 'http'}://127.0.0.1:${port}`, tls && readFileSync(tls.certificate))
  try {
    await server.waitUntilReady(signal)
  } catch (error) {
    await server.stop()
    throw error
  }
  return server
}

class Server {
  /** Address without closing slash. */
  endpoint
  #child
  #certificate
  #output = ''
  #failure

  constructor(child, endpoint, certificate) {
    this.#child = child
    this.endpoint = endpoint
    this.#certificate = certificate
    child.once('error', (error) => { this.#failure = error })
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => { this.#output = `${this.#output}${chunk}`.slice(-2000) })
    }
  }

  async waitUntilReady(signal) {
    const end = Date.now() + START_LIMIT_MS
    for (;;) {
      signal?.throwIfAborted()
      if (this.#failure || this.#child.exitCode !== null) {
        throw new Error(`s3null did not start: ${this.#failure?.message ?? this.#output.trim()}`)
      }
      try {
        await this.stats()
        return
      } catch (error) {
        if (Date.now() > end) throw new Error(`s3null does not answer: ${error.message}`)
        await sleep(20)
      }
    }
  }

  /** Counts since the start or the last reset: {requests: {kind: count}, bytesIn: bytes of bodies, objects, openUploads}. */
  async stats() {
    const {status, body} = await this.#send('GET', '/__stats')
    if (status !== 200) throw new Error(`s3null answered ${status} instead of its counts`)
    return JSON.parse(body)
  }

  /** Sets the counts to zero. */
  async reset() {
    await this.#send('POST', '/__reset')
  }

  /** Puts `count` WAL segments of `sizeBytes` below `prefix` (which ends in `/`) without sending them. */
  async fillWals({prefix, count, sizeBytes}) {
    await this.#send('POST', `/__fill?${new URLSearchParams({bucket: BUCKET, prefix, n: count, size: sizeBytes})}`)
  }

  /** The body of a small object, or undefined when there is none. */
  async get(key) {
    const {status, body} = await this.#send('GET', `/${BUCKET}/${key}`)
    return status === 200 ? body : undefined
  }

  async stop() {
    if (this.#failure || this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.kill('SIGKILL')
    await once(this.#child, 'close')
  }

  #send(method, path) {
    return new Promise((resolve, reject) => {
      const client = this.#certificate ? https : http
      const options = {method, ca: this.#certificate, agent: false, timeout: 60_000}
      const request = client.request(`${this.endpoint}${path}`, options, (response) => {
        const chunks = []
        response.on('data', (chunk) => chunks.push(chunk))
        response.once('end', () => resolve({status: response.statusCode, body: Buffer.concat(chunks).toString()}))
        response.once('error', reject)
      })
      request.once('timeout', () => request.destroy(new Error(`no answer from ${this.endpoint}${path}`)))
      request.once('error', reject)
      request.end()
    })
  }
}

async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const {port} = listener.address()
  listener.close()
  await once(listener, 'close')
  return port
}

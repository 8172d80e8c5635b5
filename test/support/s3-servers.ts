/**
 * Real S3 servers for tests, each in a process of its own on a free port of 127.0.0.1 with an empty temporary directory.
 * `scripts/install-test-servers.js` installs them.
 */
import {spawn, type ChildProcess} from 'node:child_process'
import {mkdtemp, mkdir, rm} from 'node:fs/promises'
import {createServer} from 'node:net'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {setTimeout as sleep} from 'node:timers/promises'
import {CreateBucketCommand, S3Client} from '@aws-sdk/client-s3'
import type {Context} from 'mocha'
import {findProgram, SERVERS} from '../../scripts/install-test-servers.js'
import {testCacheDirectory} from '../../scripts/test-cache.js'

export type ServerKind = 'weed' | 'versitygw' | 'moto'

export const SERVER_KINDS: readonly ServerKind[] = ['weed', 'versitygw', 'moto']

export interface TestServer {
  readonly kind: ServerKind
  /** Such as `http://127.0.0.1:41234`. */
  readonly endpoint: string
  readonly region: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Keys and region as environment variables, with a HOME that has no ~/.aws; for `S3StoreOptions.environment` or a child process. */
  readonly environment: Readonly<Record<string, string>>
  /** The process, for tests that stop or kill the server. */
  readonly pid: number
  createBucket(name: string): Promise<void>
  /** Ends the process and removes its data. May be called twice. */
  stop(): Promise<void>
}

const ACCESS_KEY_ID = 'testkey'
const SECRET_ACCESS_KEY = 'testsecret123'
const REGION = 'us-east-1'
const READY_TIMEOUT_MS = 30_000
const STOP_TIMEOUT_MS = 1500

/** Processes that are still up when the tests end by an error. */
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/**
 * Starts a server. Throws when its program is not installed or it does not become ready.
 */
export async function startServer(kind: ServerKind): Promise<TestServer> {
  const program = findProgram(SERVERS[kind].program)
  if (program === undefined) throw new Error(missing(kind))
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce(kind, program)
    } catch (error) {
      // Another process can take a port between looking and listening.
      if (attempt === 3) throw error
    }
  }
}

/**
 * Starts a server for a suite, in its `before`. When the server is not installed: fails where CI is set, else skips the
 * suite and says so on stderr.
 */
export async function startServerOrSkip(context: Context, kind: ServerKind): Promise<TestServer> {
  context.timeout(READY_TIMEOUT_MS * 2)
  if (findProgram(SERVERS[kind].program) === undefined && !process.env.CI) {
    process.stderr.write(`\n*** SKIPPED: ${missing(kind)}\n\n`)
    context.skip()
  }

  return startServer(kind)
}

let lastBucket = 0

/** Makes a bucket of its own for `work`, which gets its name. The bucket stays until the server stops. */
export async function withBucket<T>(server: TestServer, work: (bucket: string) => Promise<T>): Promise<T> {
  const bucket = `test-${process.pid}-${++lastBucket}`
  await server.createBucket(bucket)
  return work(bucket)
}

function missing(kind: ServerKind): string {
  return `${SERVERS[kind].program} is not installed (looked at ${testCacheDirectory()} and the PATH): run node scripts/install-test-servers.js ${kind}`
}

async function startOnce(kind: ServerKind, program: string): Promise<TestServer> {
  const directory = await mkdtemp(join(tmpdir(), `barmans3-${kind}-`))
  const port = await freePort()
  const {args, environment} = await commandLine(kind, directory, port)
  // TMPDIR: weed writes its log files there.
  const child = spawn(program, args, {cwd: directory, env: {...process.env, TMPDIR: directory, ...environment}, stdio: ['ignore', 'pipe', 'pipe']})
  running.add(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (output = (output + chunk.toString()).slice(-4000)))
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  child.once('error', (error) => (output += error.message))
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
      await ended
      clearTimeout(timer)
    }

    running.delete(child)
    await rm(directory, {recursive: true, force: true, maxRetries: 3})
  }

  const endpoint = `http://127.0.0.1:${port}`
  if (!(await becomesReady(endpoint, () => child.exitCode !== null || child.pid === undefined))) {
    await stop()
    throw new Error(`${kind} did not become ready: ${output}`)
  }

  return {
    kind,
    endpoint,
    region: REGION,
    accessKeyId: ACCESS_KEY_ID,
    secretAccessKey: SECRET_ACCESS_KEY,
    environment: {
      AWS_ACCESS_KEY_ID: ACCESS_KEY_ID,
      AWS_SECRET_ACCESS_KEY: SECRET_ACCESS_KEY,
      AWS_REGION: REGION,
      AWS_EC2_METADATA_DISABLED: 'true',
      HOME: directory,
    },
    pid: child.pid ?? 0,
    createBucket: (name) => createBucket(endpoint, name),
    stop,
  }
}

async function commandLine(
  kind: ServerKind,
  directory: string,
  port: number,
): Promise<{args: string[]; environment: Record<string, string>}> {
  const data = join(directory, 'data')
  await mkdir(data)
  if (kind === 'moto') return {args: ['-H', '127.0.0.1', '-p', String(port)], environment: {}}
  if (kind === 'versitygw') {
    const versions = join(directory, 'versions')
    await mkdir(versions)
    return {
      args: ['--keep-alive', '--quiet', '--port', `127.0.0.1:${port}`, 'posix', '--versioning-dir', versions, data],
      environment: {ROOT_ACCESS_KEY: ACCESS_KEY_ID, ROOT_SECRET_KEY: SECRET_ACCESS_KEY},
    }
  }

  const parts = await Promise.all(
    ['master', 'volume', 'filer', 'admin'].map(async (part) => `-${part}.port=${await freePort()}`),
  )
  return {
    // By default weed listens on all addresses, reports to its makers, makes missing buckets and deletes full ones.
    args: [
      'mini',
      `-dir=${data}`,
      '-ip=127.0.0.1',
      '-ip.bind=127.0.0.1',
      `-s3.port=${port}`,
      ...parts,
      '-master.telemetry=false',
      '-webdav=false',
      '-admin.ui=false',
      '-s3.port.iceberg=0',
      '-s3.port.lance=0',
      '-s3.autoCreateBucket=false',
      '-s3.allowDeleteBucketNotEmpty=false',
    ],
    environment: {AWS_ACCESS_KEY_ID: ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: SECRET_ACCESS_KEY},
  }
}

async function becomesReady(endpoint: string, hasEnded: () => boolean): Promise<boolean> {
  const deadline = Date.now() + READY_TIMEOUT_MS
  while (Date.now() < deadline && !hasEnded()) {
    try {
      const {status} = await fetch(endpoint, {signal: AbortSignal.timeout(2000)})
      if (status !== 503) return true
    } catch {
      // Not listening yet.
    }

    await sleep(30)
  }

  return false
}

async function createBucket(endpoint: string, name: string): Promise<void> {
  const client = new S3Client({
    endpoint,
    region: REGION,
    forcePathStyle: true,
    credentials: {accessKeyId: ACCESS_KEY_ID, secretAccessKey: SECRET_ACCESS_KEY},
    maxAttempts: 10,
  })
  try {
    await client.send(new CreateBucketCommand({Bucket: name}))
  } finally {
    client.destroy()
  }
}

/** A port nobody listens on, and whose number plus 10,000 (weed's second port) is free too. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000)
    if ((await isFree(port)) && (await isFree(port + 10_000))) return port
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({port, host: '127.0.0.1', exclusive: true}, () => server.close(() => resolve(true)))
  })
}

import {spawn} from 'node:child_process'
import type {ChildProcess} from 'node:child_process'
import {
  appendFileSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync,
} from 'node:fs'
import {createServer} from 'node:net'
import {join} from 'node:path'
import {setTimeout as sleep} from 'node:timers/promises'
import {postgresBinDirectory} from '../../../scripts/test-cache.js'
import type {TestUser} from './test-user.ts'
import {giveTo, identityOf, runAs, runAsOrThrow} from './test-user.ts'

/** What a PostgreSQL server of a lab is made of. */
export interface PostgresServerOptions {
  readonly major: 15 | 18
  readonly user: TestUser
  /** Directory for data, socket and log; exists and belongs to the user. */
  readonly directory: string
  /** Where archived WAL goes: a copy under a temporary name on the same file system, then a rename. */
  readonly incomingDirectory: string
  /** Size of WAL segments in MiB; default 16. */
  readonly walSegmentSizeMiB?: number
  /** Writes WAL summaries, which block-level incrementals need (18). */
  readonly summarizeWal?: boolean
}

/**
 * A PostgreSQL server of its own: trust authentication, a socket and a port on 127.0.0.1, no fsync. It ends with the process that
 * started it, however that ends (parent-death signal), so a killed test run leaves no server behind.
 */
export class PostgresServer {
  readonly options: PostgresServerOptions
  readonly binDirectory: string
  readonly dataDirectory: string
  readonly socketDirectory: string
  readonly logFile: string
  port = 0
  #process: ChildProcess | undefined

  constructor(options: PostgresServerOptions) {
    this.options = options
    this.binDirectory = postgresBinDirectory(options.major)
    this.dataDirectory = join(options.directory, 'pgdata')
    this.socketDirectory = join(options.directory, 'socket')
    this.logFile = join(options.directory, 'postgres.log')
  }

  /** Makes the cluster and its configuration. */
  async create(): Promise<void> {
    const {user, directory, incomingDirectory, major, walSegmentSizeMiB, summarizeWal} = this.options
    if (!existsSync(join(this.binDirectory, 'initdb'))) {
      throw new Error(`PostgreSQL ${major} is not in ${this.binDirectory}: run node scripts/setup-tests.js`)
    }
    const staging = join(directory, 'archiving')
    for (const path of [this.socketDirectory, staging]) {
      mkdirSync(path)
      giveTo(user, path)
    }
    const segments = walSegmentSizeMiB === undefined ? [] : [`--wal-segsize=${walSegmentSizeMiB}`]
    await runAsOrThrow(user, join(this.binDirectory, 'initdb'), [
      '--pgdata', this.dataDirectory, '--no-sync', '--auth', 'trust', '--username', 'postgres', '--encoding', 'UTF8',
      '--locale', 'C', ...segments,
    ])
    appendFileSync(join(this.dataDirectory, 'postgresql.conf'), [
      "listen_addresses = '127.0.0.1'", `unix_socket_directories = '${this.socketDirectory}'`,
      'fsync = off', 'shared_buffers = 16MB', 'max_connections = 20', 'max_wal_senders = 5', 'autovacuum = off',
      'wal_level = replica', 'archive_mode = on', "restore_command = 'false'",
      `archive_command = 'cp "%p" "${staging}/%f" && mv "${staging}/%f" "${incomingDirectory}/%f"'`,
      ...(summarizeWal === true ? ['summarize_wal = on'] : []),
      ...(major >= 18 ? ['io_method = sync'] : []), '',
    ].join('\n'))
  }

  /** Starts the server and waits until it takes connections. The first start chooses the port. */
  async start(): Promise<void> {
    if (this.port !== 0) return this.#start(this.port)
    for (let attempt = 1; this.port === 0; attempt++) {
      const port = await findFreePort()
      try {
        await this.#start(port)
        this.port = port
      } catch (error) {
        // Somebody may have taken the port since it was found free.
        if (attempt === 3 || !/could not bind/.test(String(error))) throw error
      }
    }
  }

  async #start(port: number): Promise<void> {
    const log = openSync(this.logFile, 'a')
    const args = ['--pdeathsig', 'INT', '--', join(this.binDirectory, 'postgres'), '-D', this.dataDirectory, '-p', String(port)]
    const child = spawn('setpriv', args, {
      ...identityOf(this.options.user),
      cwd: '/',
      env: {LANG: 'C.UTF-8', TZ: 'UTC', PATH: '/usr/bin:/bin'},
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    this.#process = child
    const deadline = Date.now() + 30_000
    while (!this.#isReady()) {
      if (child.exitCode !== null || child.signalCode !== null || Date.now() > deadline) {
        await this.stop('SIGQUIT')
        throw new Error(`PostgreSQL did not start\n${readFileSync(this.logFile, 'utf8').slice(-3000)}`)
      }
      await sleep(10)
    }
  }

  /** Stops the server (SIGINT: fast, with a checkpoint; SIGQUIT: at once). Nothing to do when it does not run. */
  async stop(signal: 'SIGINT' | 'SIGQUIT' = 'SIGINT'): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise(resolve => { child.once('exit', resolve) })
    child.kill(signal)
    await ended
  }

  /** Runs SQL in database `postgres` as superuser and returns the rows, fields separated by `|`. Throws on an SQL error. */
  async psql(sql: string): Promise<string> {
    const args = [
      '-XAtq', '-v', 'ON_ERROR_STOP=1', '-h', this.socketDirectory, '-p', String(this.port),
      '-U', 'postgres', '-d', 'postgres', '-f', '-',
    ]
    const {code, stdout, stderr} = await runAs(this.options.user, join(this.binDirectory, 'psql'), args, {input: sql})
    if (code !== 0) throw new Error(`psql ended with ${code}\n${sql}\n${stderr}`)
    return stdout.trimEnd()
  }

  /** Ends the current WAL segment and waits until it is archived; returns its name. */
  async switchWal(): Promise<string> {
    const name = await this.psql(
      "CREATE TABLE IF NOT EXISTS wal_filler (); DROP TABLE wal_filler; SELECT pg_walfile_name(pg_switch_wal());")
    await this.waitForArchived(name)
    return name
  }

  /** Waits until a WAL file has left PostgreSQL through archive_command. */
  async waitForArchived(name: string): Promise<void> {
    const done = join(this.dataDirectory, 'pg_wal', 'archive_status', `${name}.done`)
    const ready = join(this.dataDirectory, 'pg_wal', 'archive_status', `${name}.ready`)
    const deadline = Date.now() + 20_000
    while (!existsSync(done)) {
      if (Date.now() > deadline) throw new Error(`${name} was not archived (${existsSync(ready) ? 'ready' : 'not even ready'})`)
      await sleep(10)
    }
  }

  /** Copies the data directory of the stopped server, for {@link promote}. Returns the copy's path. */
  async copyData(): Promise<string> {
    const copy = `${this.dataDirectory}.copy`
    await runAsOrThrow(this.options.user, 'cp', ['-a', this.dataDirectory, copy])
    return copy
  }

  /**
   * Starts the stopped server in recovery, from `copy` in place of its data directory if given, and waits until it has promoted
   * itself to the next timeline.
   */
  async promote(copy?: string): Promise<void> {
    if (copy !== undefined) {
      rmSync(this.dataDirectory, {recursive: true})
      renameSync(copy, this.dataDirectory)
    }
    const signalFile = join(this.dataDirectory, 'recovery.signal')
    writeFileSync(signalFile, '')
    giveTo(this.options.user, signalFile)
    await this.start()
    const deadline = Date.now() + 20_000
    // The file goes some time before the server takes writes.
    while (existsSync(signalFile) || (await this.psql('SELECT pg_is_in_recovery()')) !== 'f') {
      if (Date.now() > deadline) throw new Error(`PostgreSQL did not promote\n${readFileSync(this.logFile, 'utf8').slice(-3000)}`)
      await sleep(10)
    }
  }

  #isReady(): boolean {
    try {
      return readFileSync(join(this.dataDirectory, 'postmaster.pid'), 'utf8').trimEnd().endsWith('ready')
    } catch {
      return false
    }
  }
}

/** Returns a TCP port of 127.0.0.1 that was free just now. */
export function findFreePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => {
        if (address === null || typeof address === 'string') reject(new Error('no port'))
        else resolve(address.port)
      })
    })
  })
}

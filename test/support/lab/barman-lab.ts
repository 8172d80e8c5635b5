/** A real PostgreSQL with a real Barman that backs it up, for end-to-end tests. */

import {appendFileSync, chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs'
import {dirname, join} from 'node:path'
import {setTimeout as sleep} from 'node:timers/promises'
import {barmanEnvironment} from '../../../scripts/test-cache.js'
import {formatGlobalSection, formatServerSection} from './barman-configuration.ts'
import type {LabOptions} from './barman-configuration.ts'
import {isKept, makeLabDirectory} from './lab-directory.ts'
import {PostgresServer} from './postgres-server.ts'
import type {RunOptions, RunResult, TestUser} from './test-user.ts'
import {findTestUser, giveTo, runAs} from './test-user.ts'

export type {BackupMethod, LabOptions} from './barman-configuration.ts'
export type {RunOptions, RunResult, TestUser} from './test-user.ts'

/** What to back up and how long to wait. */
export interface LabBackupOptions {
  /** Value of `--name` (Barman ≥ 3.3). */
  readonly name?: string
  /** Id of the parent: a block-level incremental (PostgreSQL 18). */
  readonly incrementalOf?: string
  /**
   * `done` (default): after `barman backup` WAL is switched and archived until the status is DONE. `in-barman`: `--wait`, so
   * that hooks see DONE. `no`: returns as soon as `barman backup` has ended; the status may still be WAITING_FOR_WALS.
   */
  readonly wait?: 'done' | 'in-barman' | 'no'
  /** Variables for `barman backup`, which hands them on to its hooks. */
  readonly env?: Readonly<Record<string, string>>
}

/** Makes a lab and starts its PostgreSQL; WAL archiving works, there is no backup yet. Stop it with `stop()`. */
export async function createLab(options: LabOptions = {}): Promise<BarmanLab> {
  const lab = new BarmanLab(options)
  try {
    await lab.create()
  } catch (error) {
    await lab.stop()
    throw error
  }
  return lab
}

/** One Barman server and its PostgreSQL, all below `directory`. */
export class BarmanLab {
  readonly options: LabOptions
  readonly user: TestUser
  readonly directory: string
  readonly serverName: string
  readonly barmanHome: string
  readonly serverDirectory: string
  readonly walsDirectory: string
  readonly baseDirectory: string
  /** barman_lock_directory: Barman's default, barman_home. */
  readonly lockDirectory: string
  readonly configurationFile: string
  readonly logFile: string
  readonly socketDirectory: string
  /** Absolute path of the `barman` program. */
  readonly barmanProgram: string
  readonly postgres: PostgresServer
  /** Directory of a tablespace, if there is one. */
  readonly tablespaceDirectory: string
  #lastId = ''

  constructor(options: LabOptions) {
    this.options = options
    this.user = findTestUser()
    this.directory = makeLabDirectory(this.user)
    this.serverName = options.serverName ?? 'main-server'
    this.barmanHome = join(this.directory, 'barman')
    this.serverDirectory = join(this.barmanHome, this.serverName)
    this.walsDirectory = join(this.serverDirectory, 'wals')
    this.baseDirectory = join(this.serverDirectory, 'base')
    this.lockDirectory = this.barmanHome
    this.configurationFile = join(this.directory, 'barman.conf')
    this.logFile = join(this.directory, 'barman.log')
    this.tablespaceDirectory = join(this.directory, 'ts1')
    this.barmanProgram = join(barmanEnvironment(options.barmanVersion ?? '3.19.1'), 'bin', 'barman')
    this.postgres = new PostgresServer({
      major: options.postgres ?? 15,
      user: this.user,
      directory: this.directory,
      incomingDirectory: join(this.serverDirectory, 'incoming'),
      ...(options.walSegmentSizeMiB === undefined ? {} : {walSegmentSizeMiB: options.walSegmentSizeMiB}),
      ...(options.summarizeWal === undefined ? {} : {summarizeWal: options.summarizeWal}),
    })
    this.socketDirectory = this.postgres.socketDirectory
  }

  /** Makes everything below the lab's directory and starts PostgreSQL; called by {@link createLab}. */
  async create(): Promise<void> {
    if (!existsSync(this.barmanProgram)) throw new Error(`there is no ${this.barmanProgram}: run node scripts/setup-tests.js`)
    for (const path of [this.barmanHome, this.serverDirectory, join(this.directory, 'home'), this.#configurationDirectory()]) {
      this.#makeDirectory(path)
    }
    for (const name of ['incoming', 'streaming', 'errors', 'base', 'wals']) this.#makeDirectory(join(this.serverDirectory, name))
    await this.postgres.create()
    await this.postgres.start()
    this.writeFile(this.configurationFile, formatGlobalSection(this))
    this.writeFile(this.serverConfigurationFile, formatServerSection(this))
    await this.psql('CREATE ROLE barman SUPERUSER LOGIN REPLICATION; CREATE TABLE marker (note text);')
    if (this.options.isSmall === true) {
      // Each statement by itself: a database cannot be dropped inside a transaction.
      await this.psql('UPDATE pg_database SET datistemplate = false;')
      for (const name of ['template0', 'template1']) await this.psql(`DROP DATABASE ${name};`)
    }
    if (this.options.tablespace === true) {
      this.#makeDirectory(this.tablespaceDirectory)
      await this.psql(`CREATE TABLESPACE ts1 LOCATION '${this.tablespaceDirectory}';`)
      await this.psql("CREATE TABLE marker_ts (note text) TABLESPACE ts1; INSERT INTO marker_ts VALUES ('in a tablespace');")
    }
    // Barman refuses a backup as long as no WAL has ever come.
    await this.switchWal()
    await this.archiveWal()
  }

  /** File of the server section, in the directory of Barman's configuration files. */
  get serverConfigurationFile(): string {
    return join(this.#configurationDirectory(), `${this.serverName}.conf`)
  }

  /** Adds lines to the server section (hooks, for instance); Barman reads them at its next start. */
  addServerLines(...lines: readonly string[]): void {
    appendFileSync(this.serverConfigurationFile, `${lines.join('\n')}\n`)
  }

  /** Runs SQL as superuser; returns the rows, fields separated by `|`. */
  psql(sql: string): Promise<string> {
    return this.postgres.psql(sql)
  }

  /** Adds a row to table `marker`. */
  async insertRow(note: string): Promise<void> {
    await this.psql(`INSERT INTO marker VALUES ('${note.replaceAll("'", "''")}');`)
  }

  /** Ends the current WAL segment and waits until it lies in incoming/; returns its name. */
  switchWal(): Promise<string> {
    return this.postgres.switchWal()
  }

  /** Runs any program as the lab's user; HOME is below the lab, PATH has PostgreSQL and Barman. */
  runAsUser(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const path = [this.postgres.binDirectory, dirname(this.barmanProgram), '/usr/local/bin', '/usr/bin', '/bin'].join(':')
    return runAs(this.user, command, args, {...options, env: {HOME: join(this.directory, 'home'), PATH: path, ...options.env}})
  }

  /** Runs `barman` with this lab's configuration; an exit code other than 0 is returned, not thrown. */
  barman(...args: readonly string[]): Promise<RunResult> {
    return this.runAsUser(this.barmanProgram, ['--config', this.configurationFile, ...args])
  }

  /** Runs `barman cron` and waits for what it starts in the background. */
  async cron(): Promise<void> {
    await this.#barmanOrThrow('cron', '--keep-descriptors')
  }

  /** Takes what lies in incoming/ into wals/, in the foreground. */
  async archiveWal(): Promise<void> {
    await this.#barmanOrThrow('archive-wal', this.serverName)
  }

  /** Takes a backup and returns its id; throws with Barman's output when it fails. */
  async backup(options: LabBackupOptions = {}): Promise<string> {
    await this.#waitForNextId()
    const flags = [
      ...(options.name === undefined ? [] : ['--name', options.name]),
      ...(options.incrementalOf === undefined ? [] : ['--incremental', options.incrementalOf]),
      ...(options.wait === 'in-barman' ? ['--wait', '--wait-timeout', '30'] : []),
    ]
    const args = ['--config', this.configurationFile, 'backup', ...flags, this.serverName]
    const {code, stdout, stderr} = await this.runAsUser(this.barmanProgram, args, {...(options.env && {env: options.env})})
    const id = /\/base\/(\d{8}T\d{6})/.exec(stdout)?.[1]
    if (code !== 0 || id === undefined) throw new Error(`barman backup ended with ${code}\n${stdout}${stderr}`)
    this.#lastId = id
    if (options.wait !== 'no') await this.#waitUntilDone(id)
    return id
  }

  /** Reads `backup.info` of a backup, from the place this Barman version uses. */
  readBackupInfo(id: string): string {
    return readFileSync(this.backupInfoPath(id), 'utf8')
  }

  /** Path of `backup.info` of a backup: in meta/, else below base/. */
  backupInfoPath(id: string): string {
    const path = join(this.serverDirectory, 'meta', `${id}-backup.info`)
    return existsSync(path) ? path : join(this.baseDirectory, id, 'backup.info')
  }

  /**
   * Stops PostgreSQL and promotes it to the next timeline, which archives into the same server. `diverge`: what comes back is
   * the state before another two segments of the old timeline were archived (a point-in-time restore), so both timelines hold
   * those segments.
   */
  async switchTimeline(options: {readonly diverge?: boolean} = {}): Promise<void> {
    await this.postgres.stop()
    const copy = options.diverge === true ? await this.postgres.copyData() : undefined
    if (copy !== undefined) {
      await this.postgres.start()
      for (let segment = 0; segment < 2; segment++) {
        await this.insertRow('only on the old timeline')
        await this.switchWal()
      }
      await this.postgres.stop()
    }
    await this.postgres.promote(copy)
    await this.switchWal()
    await this.archiveWal()
  }

  /** Writes an executable script below the lab, owned by its user; returns its path. */
  writeScript(name: string, text: string): string {
    const path = join(this.directory, name)
    this.writeFile(path, text)
    chmodSync(path, 0o755)
    return path
  }

  /** Writes a file of the lab's user. */
  writeFile(path: string, text: string): void {
    writeFileSync(path, text)
    giveTo(this.user, path)
  }

  /** Stops PostgreSQL and removes everything; BARMANS3_KEEP_LABS=1 keeps the files. */
  async stop(): Promise<void> {
    await this.postgres.stop('SIGQUIT')
    if (isKept()) console.error(`lab kept: ${this.directory}`)
    else rmSync(this.directory, {recursive: true, force: true})
  }

  async #waitUntilDone(id: string): Promise<void> {
    const deadline = Date.now() + 20_000
    while (!/^status=DONE$/m.test(this.readBackupInfo(id))) {
      if (Date.now() > deadline) throw new Error(`backup ${id} did not become DONE\n${this.readBackupInfo(id)}`)
      await this.switchWal()
      await this.archiveWal()
      await this.#barmanOrThrow('check-backup', this.serverName, id)
    }
  }

  /** Ids are local time (here UTC) to the second and nothing keeps two backups of one second apart. */
  async #waitForNextId(): Promise<void> {
    while (new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '') <= this.#lastId) await sleep(20)
  }

  async #barmanOrThrow(...args: readonly string[]): Promise<void> {
    const {code, stdout, stderr} = await this.barman(...args)
    if (code !== 0) throw new Error(`barman ${args.join(' ')} ended with ${code}\n${stdout}${stderr}`)
  }

  #configurationDirectory(): string {
    return join(this.directory, 'barman.d')
  }

  #makeDirectory(path: string): void {
    mkdirSync(path)
    giveTo(this.user, path)
  }
}

/** From the configuration to Barman's servers: which there are, and where their files lie. */
import {readdir} from 'node:fs/promises'
import {join} from 'node:path'
import {checkServerName, serverFromDirectories, type BarmanServer} from '../barman/server-directories.ts'
import {readAllServers, readServer, type BarmanCommandOptions} from '../barman/show-servers.ts'
import type {Config, ServerConfig} from '../config/schema.ts'
import {UsageError, errnoOf, messageOf} from '../errors.ts'
import type {Progress} from '../progress.ts'

/** Directories that lie in barman_home beside the servers' own. */
const isServerDirectory = (name: string) => !name.startsWith('.') && name !== 'lost+found'

/** Barman's servers as this configuration knows them; barman itself is asked at most once for all. */
export class ServerDirectory {
  readonly #config: Config
  readonly #progress: Progress
  readonly #signal: AbortSignal
  readonly #known = new Map<string, BarmanServer>()

  constructor(config: Config, progress: Progress, signal: AbortSignal) {
    this.#config = config
    this.#signal = signal
    this.#progress = progress
  }

  /**
   * The server of that name: with directories of the configuration, below `barman.home`, or as Barman says.
   * @throws UsageError when there is no such server, or Barman keeps it in a bucket
   */
  async get(name: string): Promise<BarmanServer> {
    const known = this.#known.get(name)
    if (known) return known
    checkServerName(name)
    const server = await this.#resolve(name)
    this.#known.set(name, server)
    return server
  }

  async #resolve(name: string): Promise<BarmanServer> {
    const settings = this.#settings(name)
    const {home} = this.#config.barman
    const directory = settings.directory ?? (home === undefined ? undefined : join(home, name))
    if (directory !== undefined) return fromSettings(name, directory, settings, home)
    return withSettings(await readServer(name, this.#commandOptions()), settings)
  }

  #commandOptions(): BarmanCommandOptions {
    const {command, configuration} = this.#config.barman
    return {command, signal: this.#signal, ...(configuration === undefined ? {} : {configurationPath: configuration})}
  }

  #settings(name: string): ServerConfig {
    return Object.hasOwn(this.#config.servers, name) ? (this.#config.servers[name] ?? {}) : {}
  }

  /**
   * All servers: those of the configuration and those Barman knows, sorted. Barman need not be installed when the
   * configuration names some.
   * @throws UsageError when there is none
   */
  async names(): Promise<string[]> {
    const names = new Set(Object.keys(this.#config.servers))
    for (const name of await this.#askedNames(names.size > 0)) names.add(name)
    if (names.size === 0) {
      throw new UsageError('no Barman server is known', {hint: 'name one: barmans3 wal sync SERVER, or set servers or barman.configuration'})
    }
    return [...names].sort()
  }

  async #askedNames(hasOwn: boolean): Promise<string[]> {
    const {home} = this.#config.barman
    if (home !== undefined) return await listHome(home)
    try {
      const {servers, refused} = await readAllServers(this.#commandOptions())
      for (const {name, error} of refused) this.#progress.warn(`server "${name}" is left out: ${messageOf(error)}`)
      for (const server of servers) {
        if (this.#settings(server.name).directory === undefined) this.#known.set(server.name, withSettings(server, this.#settings(server.name)))
      }
      return servers.map(({name}) => name)
    } catch (error) {
      // Without barman the servers of the configuration are all there are.
      if (hasOwn && error instanceof UsageError) return []
      throw error
    }
  }
}

async function listHome(home: string): Promise<string[]> {
  try {
    const entries = await readdir(home, {withFileTypes: true})
    return entries.filter((entry) => entry.isDirectory() && isServerDirectory(entry.name)).map(({name}) => name)
  } catch (error) {
    throw new UsageError(`cannot list barman.home ${home}: ${errnoOf(error) ?? messageOf(error)}`, {
      cause: error, hint: 'see whether its disk is mounted and whether barmans3 runs as the user barman',
    })
  }
}

function fromSettings(name: string, directory: string, settings: ServerConfig, home: string | undefined): BarmanServer {
  const {basebackupsDirectory, walsDirectory, xlogdbDirectory} = settings
  const lockDirectory = settings.lockDirectory ?? home
  const server = serverFromDirectories(name, {
    directory, basebackupsDirectory, walsDirectory, lockDirectory,
    xlogDbPath: xlogdbDirectory === undefined ? undefined : join(xlogdbDirectory, `${name}-xlog.db`),
  })
  return settings.metaDirectory === undefined ? server : {...server, metaDirectory: settings.metaDirectory}
}

/** What Barman said, with what the configuration says otherwise. */
function withSettings(server: BarmanServer, settings: ServerConfig): BarmanServer {
  const {name} = server
  const {basebackupsDirectory, walsDirectory, lockDirectory, metaDirectory, xlogdbDirectory} = settings
  return {
    ...server,
    ...(basebackupsDirectory === undefined ? {} : {basebackupsDirectory}),
    ...(walsDirectory === undefined ? {} : {walsDirectory}),
    ...(lockDirectory === undefined ? {} : {lockDirectory}),
    ...(metaDirectory === undefined ? {} : {metaDirectory}),
    ...(xlogdbDirectory === undefined ? {} : {xlogDbPath: join(xlogdbDirectory, `${name}-xlog.db`)}),
  }
}

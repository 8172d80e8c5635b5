import path from 'node:path'
import {BarmanFilesError, UsageError} from '../errors.ts'

/** One server of a Barman host: where its files are. All paths are absolute. */
export interface BarmanServer {
  readonly name: string
  /** Barman's `backup_directory`: identity.json and, unless moved, everything else lies below it. */
  readonly directory: string
  readonly basebackupsDirectory: string
  readonly walsDirectory: string
  /** `<directory>/meta`; Barman (3.13.2 and later) has no setting for it. */
  readonly metaDirectory: string
  /** Barman's `barman_lock_directory`; undefined when not known, and then Barman's locks cannot be taken. */
  readonly lockDirectory: string | undefined
  /** Where xlog.db should be; undefined when not known (`findXlogDb` then looks). */
  readonly xlogDbPath: string | undefined
  readonly streamingDirectory: string | undefined
  /** Whether it copies another Barman; undefined when not known. */
  readonly isPassive: boolean | undefined
  readonly isActive: boolean
  /** Who named the directories: our configuration, or Barman itself. */
  readonly origin: 'configuration' | 'barman'
}

/** Directories of one server as the configuration gives them. */
export interface ServerDirectories {
  /** Barman's `backup_directory`. */
  readonly directory: string
  readonly basebackupsDirectory?: string | undefined
  readonly walsDirectory?: string | undefined
  readonly lockDirectory?: string | undefined
  readonly xlogDbPath?: string | undefined
  readonly streamingDirectory?: string | undefined
  readonly isPassive?: boolean | undefined
}

/**
 * The keys of `barman show-servers` that barmans3 reads; every one may be missing or null. The answer holds connection
 * strings with passwords as well, so nothing outside this list is ever kept.
 */
export const SHOW_SERVERS_KEYS = [
  'backup_directory',
  'basebackups_directory',
  'wals_directory',
  'xlogdb_directory',
  'barman_lock_directory',
  'barman_home',
  'streaming_wals_directory',
  'passive_node',
  'active',
] as const

export type ShowServersKey = (typeof SHOW_SERVERS_KEYS)[number]
export type ShowServersEntry = Readonly<Partial<Record<ShowServersKey, unknown>>>

/**
 * The server `name` with the directories of our configuration; what is not given has Barman's default below `directory`.
 * The lock directory has no default: a wrong guess would lock nothing. Throws UsageError for a name no server can have,
 * a relative path, and a URL.
 */
export function serverFromDirectories(name: string, settings: ServerDirectories): BarmanServer {
  checkServerName(name)
  const local = (setting: string, value: string) => localDirectory(name, setting, value)
  const directory = local('directory', settings.directory)
  const optional = (setting: string, value: string | undefined) => (value === undefined ? undefined : local(setting, value))
  return {
    name,
    directory,
    basebackupsDirectory: optional('basebackupsDirectory', settings.basebackupsDirectory) ?? path.join(directory, 'base'),
    walsDirectory: optional('walsDirectory', settings.walsDirectory) ?? path.join(directory, 'wals'),
    metaDirectory: path.join(directory, 'meta'),
    lockDirectory: optional('lockDirectory', settings.lockDirectory),
    xlogDbPath: optional('xlogDbPath', settings.xlogDbPath),
    streamingDirectory: optional('streamingDirectory', settings.streamingDirectory) ?? path.join(directory, 'streaming'),
    isPassive: settings.isPassive,
    isActive: true,
    origin: 'configuration',
  }
}

/**
 * The server `name` from its object in the answer of `barman show-servers`. `lockDirectory` is used when the object has
 * none (Barman 3.16 and later). Throws UsageError when Barman keeps the server in a bucket, and BarmanFilesError when
 * the object names no `backup_directory`.
 */
export function serverFromShowServers(name: string, entry: ShowServersEntry, lockDirectory?: string): BarmanServer {
  checkServerName(name)
  const text = (key: ShowServersKey) => (typeof entry[key] === 'string' && entry[key] !== '' ? entry[key] : undefined)
  const local = (key: ShowServersKey) => {
    const value = text(key)
    return value === undefined ? undefined : localDirectory(name, key, value)
  }
  const directory = local('backup_directory')
  if (directory === undefined) {
    throw new BarmanFilesError(`barman show-servers names no backup_directory for server ${name}`, {
      hint: `set servers.${name}.directory in the configuration of barmans3`,
    })
  }
  const walsDirectory = local('wals_directory') ?? path.join(directory, 'wals')
  const xlogDbDirectory = local('xlogdb_directory')
  return {
    name,
    directory,
    basebackupsDirectory: local('basebackups_directory') ?? path.join(directory, 'base'),
    walsDirectory,
    metaDirectory: path.join(directory, 'meta'),
    lockDirectory: local('barman_lock_directory') ?? lockDirectory ?? local('barman_home'),
    // Barman 3.13 gave xlog.db a directory setting and the server's name at the same time.
    xlogDbPath: xlogDbDirectory ? path.join(xlogDbDirectory, `${name}-xlog.db`) : path.join(walsDirectory, 'xlog.db'),
    streamingDirectory: local('streaming_wals_directory') ?? path.join(directory, 'streaming'),
    isPassive: typeof entry.passive_node === 'boolean' ? entry.passive_node : undefined,
    isActive: entry.active !== false,
    origin: 'barman',
  }
}

/** Throws UsageError for a name that cannot be a server's: it becomes a directory, a part of keys, and an argument. */
export function checkServerName(name: string): void {
  const reason = serverNameFault(name)
  if (reason === undefined) return
  throw new UsageError(`${JSON.stringify(name)} cannot be the name of a Barman server: ${reason}`, {
    hint: 'see `barman list-servers` for the names',
  })
}

function serverNameFault(name: string): string | undefined {
  if (name === '') return 'it is empty'
  if (name === '.' || name === '..' || name.includes('/')) return 'it would lead to another directory'
  if (name.includes('\0')) return 'it contains a NUL character'
  return undefined
}

function localDirectory(server: string, setting: string, value: string): string {
  if (value.includes('://')) {
    const place = `${urlKind(value)} (${setting})`
    throw new UsageError(`server ${server} is kept in ${place}, and barmans3 copies local directories only`, {
      hint: 'its backups are off this host already; leave this server out, or name a local directory',
    })
  }
  if (value === '' || value.includes('\0') || !path.isAbsolute(value)) {
    throw new UsageError(`${setting} of server ${server} is not an absolute path`, {hint: 'give the whole path, from / on'})
  }
  return path.resolve(value)
}

/** Scheme and host only: the rest of a URL may hold credentials. */
function urlKind(value: string): string {
  return `${value.slice(0, value.indexOf('://'))}://…`
}

/**
 * The table of all settings: the path in the file, the environment variable, the default. What reads it: the loader
 * (layers), the problem texts (did you mean), `doctor --show-config` and the test that compares the documentation.
 */

export interface Setting {
  /** Path in the file; `*` stands for a Barman server's name. */
  readonly path: string
  readonly environment?: string
  /** As it would be written in the file; absent when there is none. */
  readonly default?: string
}

export const SYSTEM_FILE = '/etc/barmans3.yaml'
export const LEGACY_FILE = '/opt/barmans3/barmans3.conf'
export const BARMAN_FILE = '/etc/barman.conf'
export const QUEUE_DIRECTORY_VARIABLE = 'BARMANS3_QUEUE_DIRECTORY'
export const DEFAULT_QUEUE_DIRECTORY = '/var/lib/barmans3/queue.d'

/** The layout of base backups where the configuration says nothing. */
export const DEFAULT_LAYOUT: 'mirror' | 'compact' = 'compact'

export const SETTINGS: readonly Setting[] = [
  {path: 's3.uri', environment: 'BARMANS3_S3_URI'},
  {path: 's3.endpoint', environment: 'BARMANS3_S3_ENDPOINT'},
  {path: 's3.region', environment: 'BARMANS3_S3_REGION'},
  {path: 's3.profile', environment: 'BARMANS3_S3_PROFILE'},
  {path: 's3.forcePathStyle'},
  {path: 's3.storageClass.base'},
  {path: 's3.storageClass.wal'},
  {path: 's3.tags'},
  {path: 's3.encryption.type'},
  {path: 's3.encryption.keyId'},
  {path: 's3.conditionalPut'},
  {path: 's3.timeout', default: '60s'},
  {path: 's3.maxAttempts', default: '8'},
  {path: 's3.maxParts', default: '10000'},
  {path: 'barman.configuration', environment: 'BARMANS3_BARMAN_CONFIGURATION'},
  {path: 'barman.command', environment: 'BARMANS3_BARMAN_COMMAND', default: 'barman'},
  {path: 'barman.home'},
  {path: 'servers.*.directory'},
  {path: 'servers.*.basebackupsDirectory'},
  {path: 'servers.*.walsDirectory'},
  {path: 'servers.*.metaDirectory'},
  {path: 'servers.*.xlogdbDirectory'},
  {path: 'servers.*.lockDirectory'},
  {path: 'servers.*.uri'},
  {path: 'servers.*.base.layout'},
  {path: 'base.layout', default: DEFAULT_LAYOUT},
  {path: 'base.compression', default: 'zstd'},
  {path: 'base.compressionLevel', default: '3'},
  {path: 'base.maxReferenceAge', default: '30d'},
  {path: 'transfer.concurrency', environment: 'BARMANS3_TRANSFER_CONCURRENCY', default: '16'},
  {path: 'transfer.partSize', environment: 'BARMANS3_TRANSFER_PART_SIZE', default: '16MiB'},
  {path: 'transfer.maxBandwidth', environment: 'BARMANS3_TRANSFER_MAX_BANDWIDTH', default: '0'},
  {path: 'transfer.abandonAfter', default: '3d'},
  {path: 'queue.directory', environment: QUEUE_DIRECTORY_VARIABLE, default: DEFAULT_QUEUE_DIRECTORY},
  {path: 'state.directory', environment: 'BARMANS3_STATE_DIRECTORY', default: '/var/lib/barmans3/state'},
]

/** Names of `BARMANS3_*` that are no settings: ours, and those oclif and its plugins read (`scopedEnvVar`). */
const OTHER_VARIABLES: ReadonlySet<string> = new Set([
  'BARMANS3_CONFIG',
  'BARMANS3_BINPATH',
  'BARMANS3_CACHE_DIR',
  'BARMANS3_CONFIG_DIR',
  'BARMANS3_DATA_DIR',
  'BARMANS3_DEBUG',
  'BARMANS3_DISABLE_THEME',
  'BARMANS3_NPM_REGISTRY',
  'BARMANS3_REDIRECTED',
])

/** Beginnings of names that others read: our tests, oclif's update check and autocompletion. */
const OTHER_PREFIXES = ['BARMANS3_TEST_', 'BARMANS3_SKIP_', 'BARMANS3_NEW_VERSION_', 'BARMANS3_FORCE_VERSION_', 'BARMANS3_AC_']

/** The set variables of `environment` whose name begins with `BARMANS3_` and means nothing, sorted. */
export function listUnknownVariables(environment: Readonly<Record<string, string | undefined>>): string[] {
  const settings = new Set(SETTINGS.map((setting) => setting.environment))
  return Object.keys(environment)
    .filter((name) => name.startsWith('BARMANS3_') && environment[name] !== undefined)
    .filter((name) => !settings.has(name) && !OTHER_VARIABLES.has(name))
    .filter((name) => !OTHER_PREFIXES.some((prefix) => name.startsWith(prefix)))
    .sort()
}

/**
 * The warning for a directory that a restart of the machine empties, undefined for others. The bash scripts kept their
 * queue in /var/run; what waits there is lost.
 */
export function formatVolatileWarning(setting: string, path: string): string | undefined {
  const isVolatile = ['/run', '/var/run', '/dev/shm'].some((root) => path === root || path.startsWith(`${root}/`))
  return isVolatile ? `${setting} ${path} is emptied when the machine restarts; use a directory below /var/lib` : undefined
}

/** The names that may stand directly in the section `path` ([] is the whole file), in the order of the table. */
export function listKeys(path: readonly string[]): string[] {
  const depth = path.length
  const inside = SETTINGS.map((setting) => setting.path.split('.')).filter((parts) => {
    return parts.length > depth && path.every((name, index) => parts[index] === '*' || parts[index] === name)
  })
  return [...new Set(inside.map((parts) => parts[depth] ?? ''))].filter((name) => name !== '*')
}

/** The one of `candidates` that `name` is probably a slip of the pen for, undefined when none is near. */
export function nearestName(name: string, candidates: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]/g, '')
  const near = candidates
    .map((candidate) => ({candidate, distance: editDistance(plain(name), plain(candidate))}))
    .filter(({candidate, distance}) => distance <= Math.min(3, Math.floor(candidate.length / 3)))
    .sort((left, right) => left.distance - right.distance)
  return near[0]?.candidate
}

/** Levenshtein's distance; names are short, so one row of the table at a time is plenty. */
function editDistance(left: string, right: string): number {
  let row = Array.from({length: right.length + 1}, (_, index) => index)
  for (let i = 1; i <= left.length; i++) {
    const next = [i]
    for (let j = 1; j <= right.length; j++) {
      const swap = (row[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1)
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[right.length] ?? 0
}

/**
 * Finds, reads, merges and checks the configuration. The only place that imports cosmiconfig, and only its loaders
 * (text → value): `cosmiconfig()` itself executes `.config/config.js` of the current directory, whatever it is asked.
 * cosmiconfig and the schema are imported when needed, so that the hook does not wait for what it does not use.
 */
import {access} from 'node:fs/promises'
import {UsageError} from '../errors.ts'
import type {ArchiveUri} from './archive-uri.ts'
import type {ConfigLocation} from './config-file.ts'
import {readConfigText} from './config-file.ts'
import type {ConfigSource, Layers, MergedSettings, Section} from './layers.ts'
import {isSection, mergeLayers, nestPaths} from './layers.ts'
import {isLegacyConf, parseLegacyConf} from './legacy-conf.ts'
import type {Config} from './schema.ts'
import {BARMAN_FILE, formatVolatileWarning, listUnknownVariables, SYSTEM_FILE} from './settings.ts'

export interface LoadOptions extends ConfigLocation {
  /** Values of flags by dotted path, such as `{'transfer.concurrency': '4'}`; they win over everything. */
  readonly overrides?: Readonly<Record<string, string>>
}

export interface LoadedConfig {
  readonly config: Config
  /** Dotted path as in the file (`transfer.partSize`) → where the value comes from; not set: no entry. */
  readonly sources: Readonly<Record<string, ConfigSource>>
  /** The file that was read; undefined when there is none. */
  readonly file: string | undefined
  /** The places where a file was looked for, first to last. */
  readonly searched: readonly string[]
  readonly warnings: readonly string[]
}

/** The settings of a configuration file, unchecked. */
export interface RawSettings {
  readonly settings: Section
  /** The old `KEY="value"` file. */
  readonly isLegacy: boolean
  /** What is wrong in single lines of an old file; its other lines are in `settings`. */
  readonly problems: readonly string[]
  readonly warnings: readonly string[]
}

/**
 * The effective configuration: flag over environment over file over the `s3` section of ~/.aws/config over default. A missing file is fine, a missing `s3.uri`
 * too (`requireArchiveUri` is for those who need it). Throws UsageError with all problems at once, each with path,
 * value and source, and never with a secret.
 */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig> {
  const {file, searched, warnings} = await readConfigText(options)
  const raw = file === undefined ? undefined : await parseConfigText(file.path, file.text)
  const {merged, warnings: awsWarnings} = await mergeWithAws(options, {
    ...(file === undefined || raw === undefined ? {} : {file: {path: file.path, settings: raw.settings}}),
    environment: options.environment,
    overrides: options.overrides ?? {},
    defaults: await findDefaults(options),
  })
  const problems = [...(raw?.problems ?? []), ...listSkippedKeys(merged.sources)]
  const unknown = listUnknownVariables(options.environment)
  const {configSchema} = await import('./schema.ts')
  const checked = configSchema.safeParse(merged.settings)
  if (!checked.success || problems.length > 0 || unknown.length > 0) {
    const {formatUnknownVariable, toUsageError} = await import('./problems.ts')
    const issues = checked.success ? [] : checked.error.issues
    const others = [...problems, ...unknown.map(formatUnknownVariable)]
    throw toUsageError(issues, others, {...merged, file: file?.path, isLegacy: raw?.isLegacy ?? false})
  }
  const config = checked.data
  const volatile = [
    formatVolatileWarning('queue.directory', config.queue.directory) ?? [],
    formatVolatileWarning('state.directory', config.state.directory) ?? [],
  ].flat()
  const allWarnings = [...warnings, ...(raw?.warnings ?? []), ...awsWarnings, ...volatile]
  return {config, sources: merged.sources, file: file?.path, searched, warnings: allWarnings}
}

/**
 * Where the archive of `server` is: its own `uri`, else `s3.uri`; without a server, `s3.uri`. Throws UsageError that
 * says where a configuration was looked for when neither is set.
 */
export function requireArchiveUri(loaded: LoadedConfig, server?: string): ArchiveUri {
  const {servers, s3} = loaded.config
  const own = server !== undefined && Object.hasOwn(servers, server) ? servers[server]?.uri : undefined
  const uri = own ?? s3.uri
  if (uri !== undefined) return uri
  const why =
    loaded.file === undefined
      ? `there is no configuration file (looked at ${loaded.searched.join(', ')})`
      : `s3.uri is not set in ${loaded.file}`
  throw new UsageError(`no bucket is configured: ${why}`, {
    hint: `set s3.uri: s3://bucket/prefix in ${loaded.file ?? SYSTEM_FILE}, or BARMANS3_S3_URI in the environment`,
  })
}

/**
 * The settings in the text of the file at `path`, unchecked: YAML, JSON (which YAML reads), or the old `KEY="value"`
 * file. Throws UsageError when the text is empty, not a map, or has wrong syntax (with its line).
 */
export async function parseConfigText(path: string, text: string): Promise<RawSettings> {
  if (!/\.(ya?ml|json)$/i.test(path) && isLegacyConf(text)) {
    const legacy = parseLegacyConf(text, path)
    return {...legacy, settings: nestPaths(legacy.settings), isLegacy: true}
  }
  const settings = await parseYaml(path, text)
  if (isSection(settings)) return {settings, isLegacy: false, problems: [], warnings: []}
  throw new UsageError(`the configuration file ${path} is not a map of settings`, {
    hint: 'write lines such as "s3: {uri: s3://bucket/prefix}"; see docs/reference/configuration.md',
  })
}

async function parseYaml(path: string, text: string): Promise<unknown> {
  if (text.split('\n').every((line) => /^\s*(#|$)/.test(line))) {
    throw new UsageError(`the configuration file ${path} is empty`, {hint: 'write the settings into it or remove it'})
  }
  const {defaultLoaders} = await import('cosmiconfig')
  try {
    return defaultLoaders['.yaml'](path, text)
  } catch (error) {
    // The parser's own message quotes the lines around the fault, which may hold a secret: only its reason is kept.
    throw new UsageError(`the configuration file ${path} is not valid YAML: ${formatYamlFault(error)}`, {
      hint: 'correct that line; nothing was touched',
    })
  }
}

function formatYamlFault(error: unknown): string {
  if (!(error instanceof Error)) return 'it cannot be parsed'
  const {reason, mark} = error as Error & {reason?: unknown; mark?: {line?: unknown; column?: unknown}}
  const why = typeof reason === 'string' ? reason : 'it cannot be parsed'
  const {line, column} = mark ?? {}
  return typeof line === 'number' && typeof column === 'number' ? `${why} (line ${line + 1}, column ${column + 1})` : why
}

/** A map's key `__proto__` is skipped by zod without a word; nothing that is written may be without effect. */
function listSkippedKeys(sources: Readonly<Record<string, ConfigSource>>): string[] {
  const skipped = Object.keys(sources).filter((path) => /^(servers|s3\.tags)\.__proto__(\.|$)/.test(path))
  return skipped.map((path) => `${path}: __proto__ is not a possible name`)
}

/** The layers together with what the `s3` section of the profile in ~/.aws/config says, of the profile they name. */
async function mergeWithAws(
  location: ConfigLocation, layers: Layers,
): Promise<{readonly merged: MergedSettings; readonly warnings: readonly string[]}> {
  const {readAwsProfile} = await import('../store/s3/profile.ts')
  const {planAwsDefaults} = await import('./aws-section.ts')
  const merged = mergeLayers(layers)
  const s3 = merged.settings['s3']
  const chosen = isSection(s3) && typeof s3['profile'] === 'string' ? s3['profile'] : undefined
  const home = location.homeDirectory || location.environment['HOME'] || '/nonexistent'
  try {
    const {name, s3: section, s3File} = readAwsProfile({...location.environment, HOME: home}, chosen)
    const {values, warnings} = planAwsDefaults(section, s3File, (path) => (merged.sources[path] ?? 'default') !== 'default')
    return {merged: mergeLayers({...layers, aws: {source: `aws profile ${name} in ${s3File}`, values}}), warnings}
  } catch (error) {
    // A file that cannot be read is said by whoever needs the keys in it.
    if (error instanceof UsageError) return {merged, warnings: []}
    throw error
  }
}

async function findDefaults(location: ConfigLocation): Promise<Record<string, string>> {
  const path = location.barmanFile ?? BARMAN_FILE
  try {
    await access(path)
    return {'barman.configuration': path}
  } catch {
    return {}
  }
}

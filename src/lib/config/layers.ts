/**
 * Flag over environment over file over aws's own file over default: puts the layers of the configuration together and notes for each value
 * where it comes from. Pure; nothing is checked here.
 */
import {SETTINGS} from './settings.ts'

/** Where a value comes from. */
export type ConfigSource = 'flag' | 'default' | `environment ${string}` | `file ${string}` | `aws profile ${string}`

export type Section = Record<string, unknown>

export interface Layers {
  /** The file's settings and their path; absent without a file. */
  readonly file?: {readonly path: string; readonly settings: Section}
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Dotted path → value of a flag. */
  readonly overrides: Readonly<Record<string, string>>
  /** Dotted path → value for settings whose default is not the same everywhere. */
  readonly defaults: Readonly<Record<string, string>>
  /** Dotted path → value that another tool's file suggests; more than a default, less than a file of ours. */
  readonly aws?: {readonly source: ConfigSource; readonly values: Readonly<Record<string, string | boolean>>}
}

export interface MergedSettings {
  readonly settings: Section
  /** Dotted path of each single value → its source. */
  readonly sources: Record<string, ConfigSource>
}

/** Merges the layers. An empty key (`region:`) and an empty variable (`BARMANS3_S3_REGION=`) mean "not set". */
export function mergeLayers(layers: Layers): MergedSettings {
  const settings = withoutNulls(layers.file?.settings ?? {})
  const sources: Record<string, ConfigSource> = {}
  if (layers.file !== undefined) noteSources(settings, [], `file ${layers.file.path}`, sources)

  for (const {path, default: fallback} of SETTINGS) {
    if (sources[path] !== undefined) continue
    const suggested = layers.aws?.values[path]
    const value = suggested ?? layers.defaults[path] ?? fallback
    const source = suggested === undefined ? 'default' : (layers.aws?.source ?? 'default')
    if (value !== undefined) put(settings, path, value, source, sources)
  }
  for (const {path, environment: name} of SETTINGS) {
    const value = name === undefined ? undefined : layers.environment[name]
    if (value !== undefined && value !== '') put(settings, path, value, `environment ${name}`, sources)
  }
  for (const [path, value] of Object.entries(layers.overrides)) put(settings, path, value, 'flag', sources)
  return {settings, sources}
}

/** True for a map of settings, not for a list or a single value. */
export function isSection(value: unknown): value is Section {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Dotted paths → sections: `{'s3.uri': x}` → `{s3: {uri: x}}`. */
export function nestPaths(flat: Readonly<Record<string, string>>): Section {
  const settings: Section = {}
  for (const [path, value] of Object.entries(flat)) put(settings, path, value, 'default', {})
  return settings
}

/** No setting lies deeper; what does is an unknown key, and a YAML alias may make it endless. */
const MAX_DEPTH = 5

/** `main-server:` below `servers` names a server without settings of its own; elsewhere an empty key is left out. */
function withoutNulls(section: Section, path: readonly string[] = []): Section {
  const entries = Object.entries(section).flatMap(([key, value]): [string, unknown][] => {
    if (value === null) return path.length === 1 && path[0] === 'servers' ? [[key, {}]] : []
    const isDeep = path.length >= MAX_DEPTH
    return [[key, isSection(value) && !isDeep ? withoutNulls(value, [...path, key]) : value]]
  })
  return Object.fromEntries(entries)
}

function noteSources(value: unknown, path: readonly string[], source: ConfigSource, sources: Record<string, ConfigSource>): void {
  const isLeaf = !isSection(value) || path.length >= MAX_DEPTH || (path.length > 1 && Object.keys(value).length === 0)
  if (isLeaf) sources[path.join('.')] = source
  else for (const [key, inner] of Object.entries(value)) noteSources(inner, [...path, key], source, sources)
}

/** Where a section is no section, the value is left out: that section is reported as the problem it is. */
function put(settings: Section, path: string, value: string | boolean, source: ConfigSource, sources: Record<string, ConfigSource>): void {
  const sections = path.split('.')
  const key = sections.pop() ?? ''
  let section = settings
  for (const name of sections) {
    if (!Object.hasOwn(section, name)) section[name] = {}
    const inner = section[name]
    if (!isSection(inner)) return
    section = inner
  }
  section[key] = value
  sources[path] = source
}

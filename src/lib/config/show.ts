/**
 * The effective configuration as rows, for people. Pure.
 */
import {formatArchiveUri} from './archive-uri.ts'
import type {ConfigSource} from './layers.ts'
import type {LoadedConfig} from './load.ts'
import {isSecretName, redactAddress} from './redact.ts'
import type {Config} from './schema.ts'
import {SETTINGS} from './settings.ts'
import {formatDuration, formatSize} from './units.ts'

export interface ConfigRow {
  /** Path as in the file. */
  readonly path: string
  /** As it would be written in the file, credentials hidden; empty when not set. */
  readonly value: string
  readonly source: ConfigSource
}

/** Every setting with its value and source, in the order of the documentation; servers without settings last. */
export function listConfigRows(loaded: Pick<LoadedConfig, 'config' | 'sources'>): ConfigRow[] {
  const values = listValues(loaded.config)
  const rows: ConfigRow[] = []
  for (const {path} of SETTINGS) {
    const pattern = new RegExp(`^${path.replaceAll('.', '\\.').replace('*', '.+')}${path === 's3.tags' ? '\\..+' : ''}$`)
    const matches = [...values.keys()].filter((candidate) => pattern.test(candidate)).sort()
    if (matches.length === 0 && !path.includes('*')) rows.push({path, value: '', source: 'default'})
    for (const match of matches) {
      rows.push({path: match, value: values.get(match) ?? '', source: loaded.sources[match] ?? 'default'})
    }
  }
  for (const [name, server] of Object.entries(loaded.config.servers)) {
    const path = `servers.${name}`
    if (Object.keys(server).length === 0) rows.push({path, value: '{}', source: loaded.sources[path] ?? 'default'})
  }
  return rows
}

/** Dotted path → text of everything that is set, as in the file. */
function listValues(config: Config): Map<string, string> {
  const {s3, base, transfer, servers, ...rest} = config
  const {uri, timeoutMs, ...s3Rest} = s3
  const {maxReferenceAgeMs, ...baseRest} = base
  const values = new Map<string, string>()
  collect({...rest, base: baseRest, s3: {...s3Rest, uri: uri === undefined ? undefined : formatArchiveUri(uri)}}, '', values)
  values.set('s3.timeout', formatDuration(timeoutMs))
  values.set('base.maxReferenceAge', zeroOr(formatDuration, maxReferenceAgeMs))
  values.set('transfer.concurrency', String(transfer.concurrency))
  values.set('transfer.partSize', formatSize(transfer.partSizeBytes))
  values.set('transfer.maxBandwidth', zeroOr(formatSize, transfer.maxBandwidthBytes))
  values.set('transfer.abandonAfter', formatDuration(transfer.abandonAfterMs))
  for (const [name, server] of Object.entries(servers)) {
    const own = server.uri === undefined ? {} : {uri: formatArchiveUri(server.uri)}
    collect({...server, ...own}, `servers.${name}.`, values)
  }
  return values
}

/** 0 is written without a unit: it says "never" or "no limit". */
function zeroOr(format: (amount: number) => string, amount: number): string {
  return amount === 0 ? '0' : format(amount)
}

function collect(section: object, prefix: string, values: Map<string, string>): void {
  for (const [key, value] of Object.entries(section) as [string, unknown][]) {
    const path = `${prefix}${key}`
    if (typeof value === 'object' && value !== null) collect(value, `${path}.`, values)
    else if (value !== undefined) values.set(path, isSecretName(path) ? '(hidden)' : redactAddress(String(value)))
  }
}

import path from 'node:path'
import {BarmanFilesError} from '../errors.ts'
import type {BarmanCatalog} from './catalog.ts'
import {readCatalog} from './catalog.ts'
import type {BarmanServer} from './server-directories.ts'
import {readSmallFile} from './small-file.ts'

/** Barman's own note of which cluster a server's files belong to. */
export interface ServerIdentity {
  /** PostgreSQL's system identifier, as text because it passes 2^53. */
  readonly systemId: string
  /** Major version, such as `15` or `9.6`. */
  readonly version: string | undefined
}

/**
 * Barman's identity.json, or undefined when there is none (Barman before 2.10, a passive node, no backup yet). Throws
 * BarmanFilesError when it is there and cannot be read or understood: it guards against mixing two clusters.
 */
export async function readIdentity(server: BarmanServer): Promise<ServerIdentity | undefined> {
  const identityPath = path.join(server.directory, 'identity.json')
  const bytes = await readSmallFile(identityPath)
  return bytes === undefined ? undefined : parseIdentity(bytes.toString('utf8'), identityPath)
}

/**
 * The system identifier of the server's cluster: from identity.json, else from the newest backup (by begin time) whose
 * backup.info has one, else undefined. `catalog`, when at hand, saves reading it again. Throws BarmanFilesError as
 * `readIdentity` and `readCatalog` do.
 */
export async function readSystemId(
  server: BarmanServer,
  options: {catalog?: BarmanCatalog; signal?: AbortSignal} = {},
): Promise<string | undefined> {
  const identity = await readIdentity(server)
  if (identity !== undefined) return identity.systemId
  const catalog = options.catalog ?? (await readCatalog(server, options.signal ? {signal: options.signal} : {}))
  const isTimed = (backup: (typeof catalog.backups)[number]) => backup.info?.beginTime !== undefined
  const newestFirst = [
    ...catalog.backups.filter(isTimed).reverse(),
    ...catalog.backups.filter((backup) => !isTimed(backup)).reverse(),
  ]
  return newestFirst.find((backup) => backup.info?.systemId !== undefined)?.info?.systemId
}

/** The identity in `text`; `source` names it in errors. Throws BarmanFilesError when there is none. */
export function parseIdentity(text: string, source: string): ServerIdentity {
  const parsed = parseWithNumbersAsText(text)
  if (typeof parsed === 'object' && parsed !== null && 'systemid' in parsed) {
    const {systemid, version} = parsed as {systemid: unknown; version?: unknown}
    if (typeof systemid === 'string' && /^\d+$/.test(systemid)) {
      return {systemId: systemid, version: typeof version === 'string' ? version : undefined}
    }
  }
  throw new BarmanFilesError(`${source} names no system identifier, so it is not known which cluster these files are of`, {
    hint: 'compare with systemid in the newest backup.info; Barman writes the file anew when it is moved away',
  })
}

/** JSON.parse, with every number as its own text: a system identifier above 2^53 would come out as another one. */
function parseWithNumbersAsText(text: string): unknown {
  const keepDigits = (_key: string, value: unknown, context?: {source?: string}) =>
    typeof value === 'number' ? (context?.source ?? String(value)) : value
  try {
    return JSON.parse(text, keepDigits)
  } catch {
    return undefined
  }
}

/**
 * Which configuration file is used, and its text. Never looks at the current directory, never runs anything.
 */
import {readFile, stat} from 'node:fs/promises'
import {join, resolve} from 'node:path'
import {errnoOf, messageOf, UsageError} from '../errors.ts'

/** Where a configuration may come from; the files of the system can be put elsewhere by tests. */
export interface ConfigLocation {
  /** The file of `--config`; relative to the current directory. */
  readonly configFile?: string
  readonly environment: Readonly<Record<string, string | undefined>>
  /** The user's home; undefined when there is none (`env -i` under cron). Defaults to HOME of `environment`. */
  readonly homeDirectory?: string
  /** Default `/etc/barmans3.yaml`. */
  readonly systemFile?: string
  /** The bash scripts' file, default `/opt/barmans3/barmans3.conf`. */
  readonly legacyFile?: string
}

/** A file that was read. */
export interface ConfigText {
  /** Absolute path. */
  readonly path: string
  readonly text: string
  readonly warnings: readonly string[]
}

export const SYSTEM_FILE = '/etc/barmans3.yaml'
export const LEGACY_FILE = '/opt/barmans3/barmans3.conf'

/** A configuration is a page of text; anything larger is another file named by mistake. */
const MAX_BYTES = 1024 * 1024

/** The files looked at, first to last, and whether the first of them was named by somebody (then it must be there). */
export function listConfigFiles(location: ConfigLocation): {readonly paths: readonly string[]; readonly named?: string} {
  const fromEnvironment = location.environment['BARMANS3_CONFIG']
  if (location.configFile !== undefined) return {paths: [absolutePath(location.configFile)], named: '--config'}
  if (fromEnvironment !== undefined && fromEnvironment !== '') {
    return {paths: [absolutePath(fromEnvironment)], named: 'BARMANS3_CONFIG'}
  }
  const home = location.homeDirectory ?? location.environment['HOME']
  return {
    paths: [
      location.systemFile ?? SYSTEM_FILE,
      ...(home?.startsWith('/') ? [join(home, '.config/barmans3/config.yaml')] : []),
      location.legacyFile ?? LEGACY_FILE,
    ],
  }
}

/**
 * The text of the first configuration file there is, undefined when there is none.
 * Throws UsageError when a named file is missing, and when a file is there but is unreadable, a directory, too large
 * or not UTF-8 text: going on with the next place would silently use another configuration.
 */
export async function readConfigText(location: ConfigLocation): Promise<ConfigText | undefined> {
  const {paths, named} = listConfigFiles(location)
  for (const path of paths) {
    const found = await readIfThere(path, named)
    if (found !== undefined) return found
  }
  return undefined
}

async function readIfThere(path: string, named: string | undefined): Promise<ConfigText | undefined> {
  try {
    const status = await stat(path)
    if (status.isDirectory()) throw unusable(path, 'is a directory')
    if (!status.isFile()) throw unusable(path, 'is not a regular file')
    if (status.size > MAX_BYTES) throw unusable(path, 'is larger than 1 MiB, which no configuration is')
    const text = decodeText(path, await readFile(path))
    const warnings = (status.mode & 0o002) === 0 ? [] : [`${path} can be written by everybody (chmod o-w ${path})`]
    return {path, text, warnings}
  } catch (error) {
    if (error instanceof UsageError) throw error
    const errno = errnoOf(error)
    if (errno === 'ENOENT' || errno === 'ENOTDIR') {
      if (named === undefined) return undefined
      throw new UsageError(`the configuration file ${path} of ${named} does not exist`, {
        hint: `create it, or leave ${named} out to use ${SYSTEM_FILE}`,
        cause: error,
      })
    }
    if (errno === 'EACCES' || errno === 'EPERM') {
      throw new UsageError(`the configuration file ${path} cannot be read: permission denied`, {
        hint: `let the user who runs barmans3 read it, for example: chgrp barman ${path} && chmod 640 ${path}`,
        cause: error,
      })
    }
    throw new UsageError(`the configuration file ${path} cannot be read: ${messageOf(error)}`, {cause: error})
  }
}

function decodeText(path: string, bytes: Buffer): string {
  try {
    const text = new TextDecoder('utf-8', {fatal: true}).decode(bytes)
    if (text.includes('\0')) throw unusable(path, 'is not a text file')
    return text
  } catch (error) {
    if (error instanceof UsageError) throw error
    throw unusable(path, 'is not UTF-8 text')
  }
}

function unusable(path: string, why: string): UsageError {
  return new UsageError(`the configuration file ${path} ${why}`, {hint: 'name a YAML or JSON file with --config'})
}

/** An absolute path stays as it is even where the current directory is gone; a relative one then cannot be resolved. */
function absolutePath(path: string): string {
  if (path.startsWith('/')) return path
  try {
    return resolve(path)
  } catch (error) {
    throw new UsageError(`the configuration file ${path} is relative to a current directory that is gone`, {
      hint: 'give its absolute path',
      cause: error,
    })
  }
}

/**
 * Which configuration file is used, and its text. Never looks at the current directory, never runs anything.
 */
import type {Stats} from 'node:fs'
import {readFile, stat} from 'node:fs/promises'
import {join, resolve} from 'node:path'
import {errnoOf, messageOf, UsageError} from '../errors.ts'
import {LEGACY_FILE, SYSTEM_FILE} from './settings.ts'

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
  /** Barman's own configuration, the default of `barman.configuration` if it exists; default `/etc/barman.conf`. */
  readonly barmanFile?: string
}

/** What was found at the places a configuration may be. */
export interface ConfigText {
  /** Absolute path and text of the file; absent when there is none. */
  readonly file?: {readonly path: string; readonly text: string}
  /** The places looked at, first to last. */
  readonly searched: readonly string[]
  readonly warnings: readonly string[]
}

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
 * The text of the first configuration file there is.
 * Throws UsageError when a named file is missing, and when a file is there but is unreadable, a directory, too large
 * or not UTF-8 text: going on with the next place would silently use another configuration. Only a place that was not
 * named and whose directory is closed to this user (root's home under `sudo -u barman`) is passed over, with a warning
 * when nothing else is found.
 */
export async function readConfigText(location: ConfigLocation): Promise<ConfigText> {
  const {paths, named} = listConfigFiles(location)
  const passedOver: string[] = []
  const searched: string[] = []
  for (const path of paths) {
    searched.push(path)
    const status = await statIfThere(path, named, passedOver)
    if (status === undefined) continue
    if (status.isDirectory()) throw unusable(path, 'is a directory')
    if (!status.isFile()) throw unusable(path, 'is not a regular file')
    if (status.size > MAX_BYTES) throw unusable(path, 'is larger than 1 MiB, which no configuration is')
    const warnings = (status.mode & 0o002) === 0 ? [] : [`${path} can be written by everybody (chmod o-w ${path})`]
    return {file: {path, text: decodeText(path, await readBytes(path))}, searched, warnings}
  }
  return {searched, warnings: passedOver}
}

async function statIfThere(path: string, named: string | undefined, passedOver: string[]): Promise<Stats | undefined> {
  try {
    return await stat(path)
  } catch (error) {
    const errno = errnoOf(error)
    const isMissing = errno === 'ENOENT' || errno === 'ENOTDIR'
    if (named === undefined && isMissing) return undefined
    if (named === undefined && errno === 'EACCES') {
      passedOver.push(`${path} is passed over: its directory is closed to this user`)
      return undefined
    }
    if (!isMissing) throw unreadable(path, error)
    throw new UsageError(`the configuration file ${path} of ${named} does not exist`, {
      hint: `create it, or leave ${named} out to use ${SYSTEM_FILE}`,
      cause: error,
    })
  }
}

async function readBytes(path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    throw unreadable(path, error)
  }
}

function unreadable(path: string, error: unknown): UsageError {
  const errno = errnoOf(error)
  if (errno !== 'EACCES' && errno !== 'EPERM') {
    return new UsageError(`the configuration file ${path} cannot be read: ${messageOf(error)}`, {cause: error})
  }
  return new UsageError(`the configuration file ${path} cannot be read: permission denied`, {
    hint: `let the user who runs barmans3 read it, for example: chgrp barman ${path} && chmod 640 ${path}`,
    cause: error,
  })
}

function decodeText(path: string, bytes: Buffer): string {
  let text: string
  try {
    text = new TextDecoder('utf-8', {fatal: true}).decode(bytes)
  } catch {
    throw unusable(path, 'is not UTF-8 text')
  }
  if (text.includes('\0')) throw unusable(path, 'is not a text file')
  return text
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

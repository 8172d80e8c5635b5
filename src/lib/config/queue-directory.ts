/**
 * The queue's directory for the Barman hook: quick (the schema is not loaded) and lenient (whatever is wrong with the
 * configuration, Barman is not held up: the default and a warning come back).
 */
import {isAbsolute} from 'node:path'
import {messageOf} from '../errors.ts'
import type {ConfigLocation} from './config-file.ts'

export const DEFAULT_QUEUE_DIRECTORY = '/var/lib/barmans3/queue.d'

export interface QueueDirectory {
  /** Absolute path; need not exist. */
  readonly directory: string
  readonly warnings: readonly string[]
}

/**
 * The directory of the queue: BARMANS3_QUEUE_DIRECTORY, else `queue.directory` of the configuration file, else the
 * default. Never throws: what cannot be read or is no absolute path becomes a warning. Nothing else of the
 * configuration is checked.
 */
export async function readQueueDirectory(location: ConfigLocation): Promise<QueueDirectory> {
  const warnings: string[] = []
  const fromEnvironment = location.environment['BARMANS3_QUEUE_DIRECTORY']
  if (fromEnvironment !== undefined && fromEnvironment !== '') {
    if (isUsable(fromEnvironment)) return {directory: fromEnvironment, warnings}
    warnings.push(`BARMANS3_QUEUE_DIRECTORY is not an absolute path and is ignored: ${JSON.stringify(fromEnvironment)}`)
  }
  try {
    const {readRawConfig} = await import('./load.ts')
    const raw = await readRawConfig(location)
    if (raw === undefined) return {directory: DEFAULT_QUEUE_DIRECTORY, warnings}
    warnings.push(...raw.warnings)
    const value = queueDirectoryOf(raw.settings)
    if (value === undefined || value === null) return {directory: DEFAULT_QUEUE_DIRECTORY, warnings}
    if (typeof value === 'string' && isUsable(value)) return {directory: value, warnings}
    warnings.push(`queue.directory in ${raw.path} is not an absolute path; ${DEFAULT_QUEUE_DIRECTORY} is used`)
  } catch (error) {
    warnings.push(`${messageOf(error)}; the queue ${DEFAULT_QUEUE_DIRECTORY} is used`)
  }
  return {directory: DEFAULT_QUEUE_DIRECTORY, warnings}
}

function queueDirectoryOf(settings: Readonly<Record<string, unknown>>): unknown {
  const queue = settings['queue']
  return typeof queue === 'object' && queue !== null && 'directory' in queue ? queue.directory : undefined
}

function isUsable(path: string): boolean {
  return isAbsolute(path) && !path.includes('\0')
}

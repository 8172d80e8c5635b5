/**
 * The queue's directory for the Barman hook: quick (the schema is not loaded) and lenient (whatever is wrong with the
 * configuration, Barman is not held up: the default and a warning come back).
 */
import {messageOf} from '../errors.ts'
import type {ConfigLocation} from './config-file.ts'
import {readConfigText} from './config-file.ts'
import {parseConfigText} from './load.ts'
import {DEFAULT_QUEUE_DIRECTORY, formatVolatileWarning, QUEUE_DIRECTORY_VARIABLE} from './settings.ts'

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
  const directory = fromEnvironment(location, warnings) ?? (await fromFile(location, warnings)) ?? DEFAULT_QUEUE_DIRECTORY
  warnings.push(...[formatVolatileWarning('queue.directory', directory) ?? []].flat())
  return {directory, warnings}
}

function fromEnvironment(location: ConfigLocation, warnings: string[]): string | undefined {
  const value = location.environment[QUEUE_DIRECTORY_VARIABLE]
  if (value === undefined || value === '') return undefined
  if (isUsable(value)) return value
  warnings.push(`${QUEUE_DIRECTORY_VARIABLE} is ignored: ${JSON.stringify(value)} is not an absolute path`)
  return undefined
}

async function fromFile(location: ConfigLocation, warnings: string[]): Promise<string | undefined> {
  try {
    const {file, warnings: found} = await readConfigText(location)
    warnings.push(...found)
    // The YAML parser takes 20 to 30 ms to load. A text without the word cannot have the key (escapes need a backslash).
    if (file === undefined || !/queue|\\/i.test(file.text)) return undefined
    const raw = await parseConfigText(file.path, file.text)
    warnings.push(...raw.warnings, ...raw.problems)
    const value = directoryOf(raw.settings)
    if (value === undefined || value === null) return undefined
    if (typeof value === 'string' && isUsable(value)) return value
    warnings.push(`queue.directory in ${file.path} is not an absolute path; ${DEFAULT_QUEUE_DIRECTORY} is used`)
  } catch (error) {
    warnings.push(`${messageOf(error)}; the queue ${DEFAULT_QUEUE_DIRECTORY} is used`)
  }
  return undefined
}

function directoryOf(settings: Readonly<Record<string, unknown>> | undefined): unknown {
  const queue = settings?.['queue']
  return typeof queue === 'object' && queue !== null && 'directory' in queue ? queue.directory : undefined
}

/** The same rule as the schema's for a path, without loading it. */
function isUsable(path: string): boolean {
  return path.startsWith('/') && path === path.trim() && !/[\u0000-\u001f\u007f]/.test(path)
}

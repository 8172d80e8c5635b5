/**
 * The queue's directory for the Barman hook: quick (the schema is not loaded), and blind to everything else in the
 * configuration. Where the directory itself cannot be told it fails: a task in a queue that nobody works through would
 * be lost, while a failing hook shows in Barman's log and `base sync` finds the backup all the same.
 */
import {UsageError} from '../errors.ts'
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
 * default. Nothing else of the configuration is checked.
 * @throws {UsageError} the file cannot be read or parsed, or the directory is no absolute path
 */
export async function readQueueDirectory(location: ConfigLocation): Promise<QueueDirectory> {
  const warnings: string[] = []
  const directory = fromEnvironment(location) ?? (await fromFile(location, warnings)) ?? DEFAULT_QUEUE_DIRECTORY
  warnings.push(...[formatVolatileWarning('queue.directory', directory) ?? []].flat())
  return {directory, warnings}
}

function fromEnvironment(location: ConfigLocation): string | undefined {
  const value = location.environment[QUEUE_DIRECTORY_VARIABLE]
  if (value === undefined || value === '') return undefined
  if (isUsable(value)) return value
  throw new UsageError(`${QUEUE_DIRECTORY_VARIABLE} ${JSON.stringify(value)} is not an absolute path`)
}

async function fromFile(location: ConfigLocation, warnings: string[]): Promise<string | undefined> {
  const {file, warnings: found} = await readConfigText(location)
  warnings.push(...found)
  // The YAML parser takes 20 to 30 ms to load. A text without the word cannot have the key (escapes need a backslash).
  if (file === undefined || !/queue|\\/i.test(file.text)) return undefined
  const raw = await parseConfigText(file.path, file.text)
  warnings.push(...raw.warnings, ...raw.problems)
  const value = directoryOf(raw.settings)
  if (value === undefined || value === null) return undefined
  if (typeof value === 'string' && isUsable(value)) return value
  throw new UsageError(`queue.directory in ${file.path} is not an absolute path`, {
    hint: `correct it; the default is ${DEFAULT_QUEUE_DIRECTORY}`,
  })
}

function directoryOf(settings: Readonly<Record<string, unknown>> | undefined): unknown {
  const queue = settings?.['queue']
  return typeof queue === 'object' && queue !== null && 'directory' in queue ? queue.directory : undefined
}

/** The same rule as the schema's for a path, without loading it. */
function isUsable(path: string): boolean {
  return path.startsWith('/') && path === path.trim() && !/[\u0000-\u001f\u007f]/.test(path)
}

import {BarmanFilesError, BarmansError, messageOf, UsageError} from '../errors.ts'
import {readLockDirectory} from './barman-conf.ts'
import {runBarman} from './barman-process.ts'
import type {BarmanCommandOptions, BarmanProcessEnd} from './barman-process.ts'
import {maskSecrets} from './mask-secrets.ts'
import {checkServerName, serverFromShowServers, SHOW_SERVERS_KEYS} from './server-directories.ts'
import type {BarmanServer, ShowServersEntry} from './server-directories.ts'

export type {BarmanCommandOptions} from './barman-process.ts'

/** Every server of a Barman host, those barmans3 cannot work with apart. */
export interface AllServers {
  /** By name. */
  readonly servers: readonly BarmanServer[]
  /** Servers left out, such as those Barman keeps in a bucket, with the reason. */
  readonly refused: readonly {readonly name: string; readonly error: BarmansError}[]
}

/** Keys that Barman puts beside the server names for its own messages. */
const MESSAGE_KEYS: ReadonlySet<string> = new Set(['_INFO', '_WARNING', '_ERROR', '_EXCEPTION', '_DEBUG'])
const MAX_QUOTED_CHARACTERS = 300
const MAX_MASKED_CHARACTERS = 8192

/** What is kept of an answer: server objects cut down to known keys, and the words of `_ERROR`, which are not shown. */
interface Answer {
  readonly entries: ReadonlyMap<string, ShowServersEntry>
  readonly errors: readonly string[]
  readonly hasException: boolean
}

/**
 * Asks Barman (`barman -f json show-servers NAME`) where the files of server `name` are. Throws UsageError when barman
 * cannot be started, there is no such server, or Barman keeps it in a bucket; BarmanFilesError when barman fails, for
 * example over its configuration, or answers nothing usable. No error quotes the answer: it holds passwords.
 */
export async function readServer(name: string, options: BarmanCommandOptions = {}): Promise<BarmanServer> {
  checkServerName(name)
  if (name === 'all') throw unknownServer(name)
  // Barman takes what follows `--` as a name even when it begins with `-`.
  const nameArguments = name.startsWith('-') ? ['--', name] : [name]
  const end = await runBarman(['-f', 'json', 'show-servers', ...nameArguments], options)
  const answer = parseAnswer(end.stdout)
  const entry = answer?.entries.get(name)
  if (answer?.errors.some((text) => /unknown server/i.test(text)) || (answer !== undefined && isUnknown(answer, end))) {
    throw unknownServer(name)
  }
  if (entry === undefined || end.exitCode !== 0 || answer?.hasException) throw failed(end, answer)
  return serverFromShowServers(name, entry, await lockDirectoryFor(entry, options))
}

/** As `readServer`, for every server of the Barman host (`show-servers all`). A host without servers gives none. */
export async function readAllServers(options: BarmanCommandOptions = {}): Promise<AllServers> {
  const end = await runBarman(['-f', 'json', 'show-servers', 'all'], options)
  const answer = parseAnswer(end.stdout)
  if (answer === undefined || end.exitCode !== 0 || answer.hasException) throw failed(end, answer)
  const servers: BarmanServer[] = []
  const refused: {name: string; error: BarmansError}[] = []
  for (const [name, entry] of [...answer.entries].sort(([left], [right]) => (left < right ? -1 : 1))) {
    try {
      servers.push(serverFromShowServers(name, entry, await lockDirectoryFor(entry, options)))
    } catch (error: unknown) {
      if (!(error instanceof BarmansError)) throw error
      refused.push({name, error})
    }
  }
  return {servers, refused}
}

/** Barman gives this answer for a name it does not know: it ends well and says nothing about it. */
function isUnknown(answer: Answer, end: BarmanProcessEnd): boolean {
  return end.exitCode === 0 && !answer.hasException && answer.errors.length === 0 && answer.entries.size === 0
}

function parseAnswer(stdout: string): Answer | undefined {
  let document: unknown
  try {
    document = JSON.parse(stdout)
  } catch {
    return undefined
  }
  if (!isObject(document)) return undefined
  const entries = Object.entries(document)
  const errors = document._ERROR
  return {
    entries: new Map(
      entries.flatMap(([name, value]) => (!MESSAGE_KEYS.has(name) && isObject(value) ? [[name, keepKnown(value)]] : [])),
    ),
    errors: Array.isArray(errors) ? errors.filter((text) => typeof text === 'string') : [],
    hasException: '_EXCEPTION' in document,
  }
}

function keepKnown(entry: Readonly<Record<string, unknown>>): ShowServersEntry {
  return Object.fromEntries(SHOW_SERVERS_KEYS.filter((key) => Object.hasOwn(entry, key)).map((key) => [key, entry[key]]))
}

/** Barman before 3.16 says it itself; after that only barman.conf does. Not to know it stops nothing. */
async function lockDirectoryFor(entry: ShowServersEntry, options: BarmanCommandOptions): Promise<string | undefined> {
  if (typeof entry.barman_lock_directory === 'string') return undefined
  try {
    return await readLockDirectory(options)
  } catch (error: unknown) {
    if (error instanceof BarmanFilesError) return undefined
    throw error
  }
}

function unknownServer(name: string): UsageError {
  return new UsageError(`Barman has no server named ${JSON.stringify(name)}`, {
    hint: 'see `barman list-servers`, and whether barman.configuration names the right file',
  })
}

function failed(end: BarmanProcessEnd, answer: Answer | undefined): BarmanFilesError {
  const how = end.exitCode === undefined ? 'was killed by a signal' : `ended with exit code ${end.exitCode}`
  const what = answer === undefined ? 'and gave no JSON' : 'and did not describe the server'
  const reason = quoteReason(end.stderr)
  return new BarmanFilesError(`barman show-servers ${how} ${what}${reason === '' ? '' : `: ${reason}`}`, {
    hint: 'run `barman show-servers all` as the same user to see what is wrong',
  })
}

/** What barman wrote on stderr before its stack trace, on one line, without secrets. */
function quoteReason(stderr: string): string {
  const beforeTrace = stderr.slice(0, MAX_MASKED_CHARACTERS).split(/^Traceback /m)[0] ?? ''
  // Barman says the same thing once as an exception and once as a plain error.
  const lines = new Set(maskSecrets(beforeTrace).split('\n').map((line) => line.trim()))
  const text = messageOf([...lines].join('\n'))
  return text.length > MAX_QUOTED_CHARACTERS ? `${text.slice(0, MAX_QUOTED_CHARACTERS)}…` : text
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

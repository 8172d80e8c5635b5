/**
 * The variables Barman gives its hook scripts, read as data (barman: hooks.py; user guide, hook scripts). Pure. Nothing
 * here is ever run by a shell: server names, paths and error texts are any text.
 */
import {isAbsolute} from 'node:path'
import {parseBackupId} from '../barman/backup-id.ts'
import {UsageError} from '../errors.ts'
import {boundText, type TaskHook, type TaskRequest} from './task.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** What the command line says; it wins over the environment. */
export interface AddFlags {
  readonly server?: string
  readonly backupId?: string
}

export type HookRequest =
  | {readonly type: 'add'; readonly request: TaskRequest}
  | {readonly type: 'ignore'; readonly reason: string}

/** Exit code that tells Barman's retry hooks: stop retrying and go on (barman: hooks.py ABORT_CONTINUE). */
const ABORT_CONTINUE = 62

/** Longest server name that is believed; Barman's own directories could not hold more. */
const MAX_SERVER_LENGTH = 1000

/** `true` if we run as a retry hook of Barman, which runs us again for ever on any code but 0, 62 and 63. */
export function isRetryHook(environment: Environment): boolean {
  return environment['BARMAN_RETRY'] === '1'
}

/** The exit code of `queue add` for what would be `exitCode`: a retry hook gets only 0 or 62. */
export function hookExitCode(exitCode: number, environment: Environment): number {
  return exitCode !== 0 && isRetryHook(environment) ? ABORT_CONTINUE : exitCode
}

/**
 * What the hook's environment asks for: a task, or nothing with a reason that is no fault (before the backup, a backup
 * that failed).
 * @throws {UsageError} not called by a backup hook and no flags, no valid backup id, or Barman writes its backups to a
 *   bucket itself
 */
export function parseHookEnvironment(environment: Environment, flags: AddFlags = {}): HookRequest {
  const isByHand = flags.server !== undefined && flags.backupId !== undefined
  if (!isByHand) requireBackupHook(environment)
  const server = parseServer(flags.server ?? textOf(environment, 'BARMAN_SERVER'))
  const backupId = parseId(flags.backupId ?? textOf(environment, 'BARMAN_BACKUP_ID'), server)
  // By hand from within some other hook: its variables speak of another backup.
  const isAboutThis = textOf(environment, 'BARMAN_SERVER') === server
    && textOf(environment, 'BARMAN_BACKUP_ID') === backupId
  if (isByHand && !isAboutThis) return {type: 'add', request: {server, backupId}}
  requireLocalDirectory(textOf(environment, 'BARMAN_BACKUP_DIR'), server)
  const reason = reasonToIgnore(environment, server, backupId)
  if (reason !== undefined) return {type: 'ignore', reason}
  return {type: 'add', request: {server, backupId, hook: parseHook(environment)}}
}

function requireBackupHook(environment: Environment): void {
  const hook = textOf(environment, 'BARMAN_HOOK')
  if (hook === undefined && textOf(environment, 'BARMAN_SERVER') === undefined) {
    throw new UsageError('no backup to add: Barman did not call this, there are no BARMAN_* variables', {
      hint: 'set post_backup_script = barmans3 queue add in barman.conf, '
        + 'or add one by hand: barmans3 queue add SERVER BACKUP',
    })
  }
  if (hook !== undefined && hook !== 'backup_script' && hook !== 'backup_retry_script') {
    throw new UsageError(`queue add takes backups, but Barman called it as ${printable(hook)}; nothing was added`, {
      hint: 'set it as post_backup_script (or post_backup_retry_script) in barman.conf and nowhere else',
    })
  }
}

function parseServer(server: string | undefined): string {
  if (server === undefined) {
    throw new UsageError('no server named: BARMAN_SERVER is empty', {hint: 'name it: barmans3 queue add SERVER BACKUP'})
  }
  if (server.length > MAX_SERVER_LENGTH) {
    throw new UsageError(`the server's name has ${server.length} characters, more than Barman can use`, {
      hint: 'look at BARMAN_SERVER',
    })
  }
  return server
}

function parseId(text: string | undefined, server: string) {
  const backupId = text === undefined ? undefined : parseBackupId(text)
  if (backupId !== undefined) return backupId
  const what = text === undefined ? 'no backup id' : `not a backup id: ${printable(text)}`
  throw new UsageError(`${what} (server ${printable(server)}); nothing was added`, {
    hint: 'a backup id looks like 20261125T073400; barman list-backups shows them',
  })
}

/** Barman 3.18 and newer can back up straight to a bucket; then this is a key prefix or a URL. */
function requireLocalDirectory(directory: string | undefined, server: string): void {
  if (directory === undefined || isAbsolute(directory)) return
  throw new UsageError(
    `BARMAN_BACKUP_DIR is no local directory: ${printable(directory)} (server ${printable(server)}); nothing was added`, {
      hint: 'barmans3 copies backups from local directories; Barman writes the backups of this server to a bucket by '
        + 'itself, so take barmans3 out of its hooks',
    })
}

function reasonToIgnore(environment: Environment, server: string, backupId: string): string | undefined {
  const phase = textOf(environment, 'BARMAN_PHASE')
  const name = `backup ${backupId} of ${printable(server)}`
  if (phase === 'pre') return `${name} has only begun; it is added by the hook after it (post_backup_script)`
  const status = textOf(environment, 'BARMAN_STATUS')
  const error = textOf(environment, 'BARMAN_ERROR')
  if (status === 'FAILED' || (status === undefined && error !== undefined)) {
    return `${name} failed in Barman, so there is nothing to send${error === undefined ? '' : `: ${printable(error)}`}`
  }
  return undefined
}

function parseHook(environment: Environment): TaskHook {
  const hook: Record<string, string> = {}
  for (const [field, variable] of Object.entries(HOOK_VARIABLES)) {
    const text = textOf(environment, variable)
    if (text !== undefined) hook[field] = boundText(text)
  }
  return hook
}

const HOOK_VARIABLES: Readonly<Record<keyof TaskHook, string>> = {
  phase: 'BARMAN_PHASE',
  status: 'BARMAN_STATUS',
  error: 'BARMAN_ERROR',
  previousId: 'BARMAN_PREVIOUS_ID',
  nextId: 'BARMAN_NEXT_ID',
  backupDirectory: 'BARMAN_BACKUP_DIR',
  backupInfoPath: 'BARMAN_BACKUP_INFO_PATH',
  barmanVersion: 'BARMAN_VERSION',
  configuration: 'BARMAN_CONFIGURATION',
}

/** The variable's text; Barman sets what it does not know to the empty text. */
function textOf(environment: Environment, name: string): string | undefined {
  const text = environment[name]
  return text === undefined || text === '' ? undefined : text
}

/** At most 200 characters of `text` on one line without control characters, for a message. */
export function printable(text: string): string {
  const line = text.slice(0, 1000).replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').trim()
  return line.length > 200 || text.length > 1000 ? `${line.slice(0, 200)}…` : line
}

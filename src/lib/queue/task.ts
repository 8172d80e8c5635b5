/** What one queue task is, and how it changes. Pure: the directory that holds tasks is task-store.ts. */
import {parseBackupId, type BackupId} from '../barman/backup-id.ts'
import type {BackupIdentity} from '../barman/backup-info.ts'
import {isJsonObject} from '../local/json-file.ts'

/** Waiting, in work, finished, or given up with a reason. The state of a stored task is the ending of its file name. */
export type TaskState = 'run' | 'running' | 'done' | 'error'

export const TASK_STATES: readonly TaskState[] = ['run', 'running', 'done', 'error']

/** What Barman told the hook, for people; the backup itself is always read anew. Texts are bounded. */
export interface TaskHook {
  readonly phase?: string
  readonly status?: string
  readonly error?: string
  readonly previousId?: string
  readonly nextId?: string
  readonly backupDirectory?: string
  readonly backupInfoPath?: string
  readonly barmanVersion?: string
  readonly configuration?: string
}

export interface TaskFailure {
  /** `code` of the error, such as `STORE_UNREACHABLE`. */
  readonly code: string
  readonly message: string
  /** RFC 3339, UTC. */
  readonly at: string
}

/** The identity of a backup (barman/backup-info.ts) as plain JSON; what is not known is left out. */
export type TaskIdentity = Partial<BackupIdentity>

/** One backup that shall be sent. All times are RFC 3339 in UTC. */
export interface QueueTask {
  readonly version: 1
  readonly server: string
  readonly backupId: BackupId
  readonly state: TaskState
  readonly addedAt: string
  /** How often work on it has begun. */
  readonly attempts: number
  readonly startedAt?: string
  readonly endedAt?: string
  readonly lastError?: TaskFailure
  readonly hook?: TaskHook
  readonly identity?: TaskIdentity
}

/** What the adder of a task says. */
export interface TaskRequest {
  readonly server: string
  readonly backupId: BackupId
  readonly hook?: TaskHook
  readonly identity?: TaskIdentity
}

export type ParsedTask = {readonly task: QueueTask} | {readonly broken: string}

/** A new task in state `run`. */
export function newTask(request: TaskRequest, addedAt: Date): QueueTask {
  return {
    version: 1,
    server: request.server,
    backupId: request.backupId,
    state: 'run',
    addedAt: addedAt.toISOString(),
    attempts: 0,
    ...(request.hook ? {hook: request.hook} : {}),
    ...(request.identity ? {identity: request.identity} : {}),
  }
}

/** Work begins: `run` to `running`, one attempt more. */
export function startTask(task: QueueTask, at: Date): QueueTask {
  const {endedAt: _, ...rest} = task
  return {...rest, state: 'running', attempts: task.attempts + 1, startedAt: at.toISOString()}
}

/** It is in S3: `running` to `done`; `identity`, if known, tells it from another backup with the same id. */
export function finishTask(task: QueueTask, at: Date, identity?: TaskIdentity): QueueTask {
  const {lastError: _, ...rest} = task
  return {...rest, state: 'done', endedAt: at.toISOString(), ...(identity ? {identity} : {})}
}

/** It cannot succeed: `running` to `error`, with the reason. */
export function failTask(task: QueueTask, at: Date, failure: {code: string; message: string}): QueueTask {
  return {...task, state: 'error', endedAt: at.toISOString(), lastError: failureOf(failure, at)}
}

/** A passing fault: `running` back to `run`, with the reason. */
export function putBackTask(task: QueueTask, at: Date, failure: {code: string; message: string}): QueueTask {
  return {...task, state: 'run', lastError: failureOf(failure, at)}
}

/** An operator wants it tried again: `error` to `run`; attempts and the last error stay visible. */
export function retryTask(task: QueueTask): QueueTask {
  const {endedAt: _, ...rest} = task
  return {...rest, state: 'run'}
}

/** `<backup id>.<state>` */
export function formatTaskFileName(task: Pick<QueueTask, 'backupId' | 'state'>): string {
  return `${task.backupId}.${task.state}`
}

/** Backup id and state of a task's file name, or undefined for any other name. */
export function parseTaskFileName(name: string): {backupId: BackupId; state: TaskState} | undefined {
  const [stem = '', ending, ...more] = name.split('.')
  const backupId = parseBackupId(stem)
  const state = TASK_STATES.find((candidate) => candidate === ending)
  return backupId && state && more.length === 0 ? {backupId, state} : undefined
}

/** The text of a task's file. */
export function formatTask(task: QueueTask): string {
  return `${JSON.stringify(task, undefined, 2)}\n`
}

/**
 * The task in a JSON value read from the file of `backupId` in `state`, or why it is none. The file name is the truth
 * about the state: a crash can leave the older state in the text.
 */
export function parseTask(value: unknown, backupId: BackupId, state: TaskState): ParsedTask {
  if (!isJsonObject(value)) return {broken: 'not a JSON object'}
  if (value['version'] !== 1) return {broken: 'not a task of version 1'}
  const {server, addedAt, attempts} = value
  if (value['backupId'] !== backupId) return {broken: 'names another backup id than its file name'}
  if (typeof server !== 'string' || server === '') return {broken: 'names no server'}
  if (!isTime(addedAt)) return {broken: 'addedAt is no time'}
  if (typeof attempts !== 'number' || !Number.isSafeInteger(attempts) || attempts < 0) {
    return {broken: 'attempts is no number'}
  }
  const hook = parseTexts(value['hook'])
  const identity = parseTexts(value['identity'])
  const lastError = parseFailure(value['lastError'])
  return {
    task: {
      version: 1, server, backupId, state, addedAt, attempts,
      ...(isTime(value['startedAt']) ? {startedAt: value['startedAt']} : {}),
      ...(isTime(value['endedAt']) ? {endedAt: value['endedAt']} : {}),
      ...(lastError ? {lastError} : {}),
      ...(hook ? {hook} : {}),
      ...(identity ? {identity} : {}),
    },
  }
}

function failureOf(failure: {code: string; message: string}, at: Date): TaskFailure {
  return {code: failure.code, message: boundText(failure.message), at: at.toISOString()}
}

/** Longest text that a task keeps of anything, in UTF-16 units. */
const MAX_TEXT = 2000

/** `text`, cut to what a task keeps; what is missing is said. */
export function boundText(text: string): string {
  if (text.length <= MAX_TEXT) return text
  return `${text.slice(0, MAX_TEXT)}… (${text.length - MAX_TEXT} characters more)`
}

function isTime(value: unknown): value is string {
  return typeof value === 'string' && /^\d{4}-\d\d-\d\dT/.test(value) && !Number.isNaN(Date.parse(value))
}

function parseFailure(value: unknown): TaskFailure | undefined {
  if (!isJsonObject(value)) return undefined
  const {code, message, at} = value
  return typeof code === 'string' && typeof message === 'string' && isTime(at) ? {code, message, at} : undefined
}

/** The members of an object that are texts; undefined if it is no object. */
function parseTexts(value: unknown): Record<string, string> | undefined {
  if (!isJsonObject(value)) return undefined
  return Object.fromEntries(Object.entries(value).filter((entry): entry is [string, string] => {
    return typeof entry[1] === 'string'
  }))
}

import type {Clock} from '../clock.ts'
import {parseHookEnvironment, printable, type AddFlags, type Environment} from './hook-environment.ts'
import type {TaskIdentity, TaskRequest} from './task.ts'
import {addTask, type AddResult} from './task-store.ts'

export interface AddDeps {
  readonly queueDirectory: string
  readonly clock: Pick<Clock, 'now'>
  /** The identity of the backup from its backup.info, if it can be read quickly; asked only beside a `.done`. */
  readonly readIdentity?: (request: TaskRequest) => Promise<TaskIdentity | undefined>
}

/** Result of `queue add`. `message` is one line for people; `warnings` name what was odd but did not stop it. */
export interface QueueAddResult {
  readonly outcome: AddResult['outcome'] | 'ignored'
  /** Undefined with `ignored`. */
  readonly server?: string
  readonly backupId?: string
  readonly message: string
  readonly warnings: readonly string[]
}

/**
 * `queue add`: puts the backup that Barman's hook or the flags name into the queue. No network; Barman's files are only
 * read.
 * @throws {UsageError} nothing that can be added (hook-environment.ts)
 * @throws {LocalStateError} the queue cannot be written
 * @throws {LockedError} the queue was busy for ten seconds
 */
export async function addFromHook(environment: Environment, flags: AddFlags, deps: AddDeps): Promise<QueueAddResult> {
  const parsed = parseHookEnvironment(environment, flags)
  if (parsed.type === 'ignore') return {outcome: 'ignored', message: `not added: ${parsed.reason}`, warnings: []}
  const {request} = parsed
  const {readIdentity} = deps
  const result = await addTask(
    deps.queueDirectory, request, deps.clock.now(), readIdentity && (() => readIdentity(request)))
  return {
    outcome: result.outcome,
    server: request.server,
    backupId: request.backupId,
    message: messageFor(result),
    warnings: result.setAside.map((path) => `a damaged task file was set aside as ${path}`),
  }
}

function messageFor(result: AddResult): string {
  const {task} = result
  const name = `backup ${task.backupId} of ${printable(task.server)}`
  switch (result.outcome) {
    case 'added': {
      return `${name} added to the queue`
    }
    case 'present': {
      return `${name} is in the queue already (${task.state})`
    }
    case 'reopened': {
      return `${name} put back into the queue`
    }
    case 'already-done': {
      return result.isSameBackup
        ? `${name} was sent already, nothing added`
        : `${name} was sent already, nothing added; whether it is the very same backup could not be told here, `
          + 'base sync compares them'
    }
  }
}

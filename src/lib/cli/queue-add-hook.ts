/**
 * `queue add` without flags, as Barman's hook calls it: the same as the command class does, but without oclif, because
 * Barman holds its backup lock while it waits. bin/start.js imports this file for exactly that command line.
 */
import {writeSync} from 'node:fs'
import {BarmansError, exitCodeOf, messageOf} from '../errors.ts'
import {systemClock} from '../local/system-clock.ts'
import {addFromHook} from '../queue/add.ts'
import {readBackupIdentity} from '../queue/backup-identity.ts'
import {hookExitCode, type Environment} from '../queue/hook-environment.ts'
import {readQueueDirectory} from '../config/queue-directory.ts'

/** Where the hook's lines go; each call gets one line without its line break. */
export interface HookOutput {
  result(line: string): void
  message(line: string): void
}

/**
 * Adds the backup that the environment names to the queue. Never throws.
 * @returns the exit code: 0, or that of the error (62 for a retry hook)
 */
export async function runQueueAddHook(
  environment: Environment = process.env, output: HookOutput = processOutput,
): Promise<number> {
  try {
    const {directory, warnings} = await readQueueDirectory({environment})
    for (const warning of warnings) output.message(`warning: ${warning}`)
    const result = await addFromHook(environment, {}, {
      queueDirectory: directory, clock: systemClock, readIdentity: readBackupIdentity,
    })
    for (const warning of result.warnings) output.message(`warning: ${warning}`)
    output.result(result.message)
    return 0
  } catch (error) {
    output.message(`barmans3 queue add: ${messageOf(error)}`)
    if (error instanceof BarmansError && error.hint !== undefined) output.message(`hint: ${error.hint}`)
    return hookExitCode(exitCodeOf(error), environment)
  }
}

/** Written at once, so that nothing is lost at the exit; a closed pipe is no reason for the hook to fail. */
const processOutput: HookOutput = {
  result: (line) => writeLine(1, line),
  message: (line) => writeLine(2, line),
}

function writeLine(descriptor: number, line: string): void {
  try {
    writeSync(descriptor, `${line}\n`)
  } catch {
    // Barman closed it, or its log is full: the task is stored all the same.
  }
}

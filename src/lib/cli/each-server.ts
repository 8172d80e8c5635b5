import {BarmansError, UsageError, exitCodeOf, messageOf, worstExitCode, type ExitCode} from '../errors.ts'
import type {ServerContext} from '../sync/server-context.ts'
import {stopsEverything, type StopReason} from '../sync/stop-reason.ts'
import type {Wiring} from './wiring.ts'

/**
 * The servers a command is meant for.
 * @throws UsageError when none is named and `all` is not set, or both are
 */
export async function chooseServers(wiring: Wiring, named: readonly string[], {all}: {all: boolean}): Promise<string[]> {
  if (all && named.length > 0) throw new UsageError('name servers or give --all, not both')
  if (!all && named.length === 0) throw new UsageError('no server is named', {hint: 'name one or more Barman servers, or give --all'})
  return all ? await wiring.servers.names() : [...new Set(named)]
}

/**
 * Runs one engine over servers, one after the other. What is wrong with one server does not stop the next, except what
 * would be wrong with all: a signal, and a store that refuses or cannot be reached.
 * @returns the results, and the worst exit code of all (a server that could not even begin has no result)
 * @throws the error itself when there was only one server and it could not begin
 */
export async function forEachServer<Result extends {readonly exitCode: ExitCode; readonly stoppedBy?: StopReason | undefined}>(
  wiring: Wiring, names: readonly string[], options: {isReadOnly: boolean}, work: (context: ServerContext) => Promise<Result>,
): Promise<{results: Result[]; exitCode: ExitCode}> {
  const results: Result[] = []
  const codes: ExitCode[] = []
  for (const name of names) {
    try {
      const result = await work(await wiring.open(name, options))
      results.push(result)
      codes.push(result.exitCode)
      if (result.stoppedBy && stopsEverything(result.stoppedBy)) break
    } catch (error) {
      if (names.length === 1 || !(error instanceof BarmansError)) throw error
      wiring.progress.fail(`${name}: ${messageOf(error)}${error.hint === undefined ? '' : `; ${error.hint}`}`)
      codes.push(exitCodeOf(error))
      if (stopsEverything(error)) break
    }
  }
  return {results, exitCode: worstExitCode(codes)}
}

import {BarmansError, exitCodeOf, worstExitCode, type ExitCode} from '../errors.ts'
import {syncBase} from './base-sync.ts'
import type {BaseSyncResult} from './base-result.ts'
import {stopReasonOf, stopsEverything, type StopReason} from './stop-reason.ts'
import type {QueueAccess} from './queue-access.ts'
import type {ServerContext} from './server-context.ts'
import type {WalSyncResult} from './wal-result.ts'
import {syncWal} from './wal-sync.ts'

export interface FullSyncResult {
  readonly server: string
  /** Undefined when it could not begin; then `baseError` says why. */
  readonly base: BaseSyncResult | undefined
  readonly baseError: StopReason | undefined
  readonly wal: WalSyncResult | undefined
  readonly walError: StopReason | undefined
  readonly isDryRun: boolean
  /** What would stop the next server as well. */
  readonly stoppedBy: StopReason | undefined
  readonly exitCode: ExitCode
}

/**
 * Base backups, then WAL. WAL is copied even when the base backups failed: it decides how much is lost. Only a signal,
 * and a store that refuses or cannot be reached, end both.
 */
export async function syncFull(context: ServerContext, options: {queue: QueueAccess; isDryRun: boolean}): Promise<FullSyncResult> {
  const {isDryRun, queue} = options
  const base = await attempt(async () => await syncBase(context, {queue, backupIds: undefined, scan: true, again: false, adopt: false, isDryRun}))
  const baseStop = generalStopOf(base)
  const wal = baseStop ? {} : await attempt(async () => await syncWal(context, {isDryRun, checksXlogDb: true}))
  return {
    server: context.server.name,
    base: base.result,
    baseError: stopReasonOf(base.error),
    wal: wal.result,
    walError: stopReasonOf(wal.error),
    isDryRun,
    stoppedBy: baseStop ?? generalStopOf(wal),
    exitCode: worstExitCode([base, wal].map(({result, error}) => (error ? exitCodeOf(error) : (result?.exitCode ?? 0)))),
  }
}

interface Attempt<Result> {
  readonly result?: Result
  readonly error?: BarmansError
}

async function attempt<Result>(work: () => Promise<Result>): Promise<Attempt<Result>> {
  try {
    return {result: await work()}
  } catch (error) {
    if (!(error instanceof BarmansError)) throw error
    return {error}
  }
}

/** What ended an attempt, if nothing else of the run could get around it either. */
function generalStopOf({result, error}: Attempt<{readonly stoppedBy: StopReason | undefined}>): StopReason | undefined {
  const stop = result?.stoppedBy ?? stopReasonOf(error)
  return stop && stopsEverything(stop) ? stop : undefined
}

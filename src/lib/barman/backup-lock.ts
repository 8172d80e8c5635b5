import {stat} from 'node:fs/promises'
import path from 'node:path'
import {BarmanFilesError, errnoOf, messageOf} from '../errors.ts'
import {tryFlock} from '../local/flock.ts'
import type {HeldFlock} from '../local/flock.ts'
import type {BackupId} from './backup-id.ts'
import type {BarmanServer} from './server-directories.ts'
import {isMissing} from './small-file.ts'

/** Barman's own locks of one backup and all its ancestors, held by this process. */
export interface ChainLock {
  /** The lock files, root first. */
  readonly paths: readonly string[]
  /** Whether every lock file is still the one that is locked; if not, Barman may delete the backup any moment. */
  isStillHeld(): Promise<boolean>
  /** Lets go, leaf first. May be called twice. */
  release(): Promise<void>
}

/** The locks, or why there are none: somebody holds one (`busy`), or this set-up cannot take them (`unavailable`). */
export type ChainLockResult =
  | {readonly lock: ChainLock}
  | {readonly lock: undefined; readonly reason: 'busy' | 'unavailable'; readonly message: string}

/**
 * Takes Barman's id locks (barman: `ServerBackupIdLock`) of the backups `chain`, root to leaf, all or none, without
 * waiting. Held, they keep Barman 3.8 and later from deleting these backups. All of a chain are needed: with only the
 * child's, Barman's retention would delete the root and leave an orphan it chokes on. A missing lock file is made, 0600
 * and owned like the lock directory (any other would lock Barman out), else not at all.
 *
 * Never throws for a lock that cannot be had: the caller goes on without and relies on its check at the end. Do not hold
 * it while the backup is WAITING_FOR_WALS: it would hold up Barman's check-backup.
 */
export async function lockBackupChain(server: BarmanServer, chain: readonly BackupId[]): Promise<ChainLockResult> {
  const {lockDirectory} = server
  if (lockDirectory === undefined) return unavailable(`the lock directory of server ${server.name} is not known`)
  if (chain.length === 0) return unavailable('there is no whole chain of backups to lock')
  const held: HeldFlock[] = []
  try {
    const owner = await readOwner(lockDirectory)
    for (const id of chain) {
      const lockPath = path.join(lockDirectory, `.${server.name}-${id}.lock`)
      const lock = await tryFlock(lockPath, {create: mayCreate(owner.uid), mode: 0o600, owner})
      if (lock === undefined) {
        await releaseAll(held)
        return {lock: undefined, reason: 'busy', message: `${lockPath} is held by another process`}
      }
      held.push(lock)
    }
  } catch (error: unknown) {
    await releaseAll(held)
    return unavailable(`Barman's locks in ${lockDirectory} cannot be taken: ${messageOf(error)}`)
  }
  return {lock: chainLock(held)}
}

/** As `lockBackupChain`, for callers who do not tell the reason: the locks, or undefined. */
export async function tryLockBackupChain(
  server: BarmanServer,
  chain: readonly BackupId[],
): Promise<ChainLock | undefined> {
  return (await lockBackupChain(server, chain)).lock
}

function chainLock(held: readonly HeldFlock[]): ChainLock {
  return {
    paths: held.map((lock) => lock.path),
    async isStillHeld() {
      const isAt = await Promise.all(held.map((lock) => lock.isStillAt()))
      return !isAt.includes(false)
    },
    release: () => releaseAll(held),
  }
}

async function releaseAll(held: readonly HeldFlock[]): Promise<void> {
  for (const lock of held.toReversed()) await lock.release()
}

async function readOwner(directory: string): Promise<{uid: number; gid: number}> {
  try {
    const {uid, gid} = await stat(directory)
    return {uid, gid}
  } catch (error: unknown) {
    const reason = isMissing(error) ? 'it does not exist' : (errnoOf(error) ?? messageOf(error))
    throw new BarmanFilesError(`${directory} cannot be looked at: ${reason}`, {cause: error})
  }
}

/** Another user's file with mode 0600 would lock Barman out, and only root can give files away. */
function mayCreate(ownerUid: number): boolean {
  const uid = process.geteuid?.()
  return uid === 0 || uid === ownerUid
}

function unavailable(message: string): ChainLockResult {
  return {lock: undefined, reason: 'unavailable', message}
}

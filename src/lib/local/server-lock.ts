import {constants} from 'node:fs'
import {open, stat} from 'node:fs/promises'
import {hostname} from 'node:os'
import {join} from 'node:path'
import type {Clock} from '../clock.ts'
import {LockedError} from '../errors.ts'
import {ensureDirectory, localStateErrorOf} from './durable-file.ts'
import {tryFlock, type HeldFlock} from './flock.ts'
import {fileNameForServer} from './server-file-name.ts'

/** What a lock guards: the base backups, the WAL, or that there is one follower of a server. */
export type ServerLockKind = 'base' | 'wal' | 'follow'

export interface ServerLockOptions {
  readonly clock: Clock
  /** How long to wait for another holder; 0 if not given. */
  readonly waitMs?: number
  /** Ends the waiting; its reason is thrown. */
  readonly signal?: AbortSignal
}

/** Longest text about a holder that is read back. */
const MAX_HOLDER_BYTES = 1024

/**
 * Takes `<state>/<server>.<kind>.lock` for this process; a dead process holds none. The holder's pid, host and start
 * time are written into the file for people only: they are never looked at to decide anything.
 * @throws {LockedError} another run holds it (still, after `waitMs`)
 * @throws {LocalStateError} the lock file cannot be made, opened or locked
 */
export async function acquireServerLock(
  stateDirectory: string, server: string, kind: ServerLockKind, options: ServerLockOptions,
): Promise<HeldFlock> {
  await ensureDirectory(stateDirectory)
  const path = join(stateDirectory, `${fileNameForServer(server)}.${kind}.lock`)
  const lock = await tryFlock(path, {
    create: true,
    mode: 0o640,
    owner: await ownerOf(stateDirectory),
    ...(options.waitMs === undefined ? {} : {waitMs: options.waitMs}),
    ...(options.signal === undefined ? {} : {signal: options.signal}),
  })
  if (!lock) throw await lockedErrorFor(path, server, kind)
  try {
    await lock.describe(formatHolder(options.clock.now()))
    return lock
  } catch (error) {
    // A full disk leaves the file empty; the lock is held all the same.
    if (error instanceof Error && isDiskFull(error.cause)) return lock
    await lock.release()
    throw error
  }
}

async function ownerOf(directory: string): Promise<{uid: number; gid: number}> {
  try {
    const {uid, gid} = await stat(directory)
    return {uid, gid}
  } catch (error) {
    throw localStateErrorOf(error, `cannot look at ${directory}`)
  }
}

function isDiskFull(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && (cause.code === 'ENOSPC' || cause.code === 'EDQUOT')
}

function formatHolder(startedAt: Date): string {
  return `pid ${process.pid} on ${hostname()} since ${startedAt.toISOString()}\n`
}

async function lockedErrorFor(path: string, server: string, kind: ServerLockKind): Promise<LockedError> {
  const holder = await readHolder(path)
  return new LockedError(
    `another run of barmans3 holds the ${kind} lock of ${server}${holder === '' ? '' : `: ${holder}`}`, {
      hint: `wait until that run has ended, then run the same command again; ${path} need not be removed, `
        + 'a process that has died holds no lock',
    })
}

/** What the holder wrote, on one line without control characters; empty if it cannot be read. */
async function readHolder(path: string): Promise<string> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const {buffer, bytesRead} = await file.read(Buffer.alloc(MAX_HOLDER_BYTES), 0, MAX_HOLDER_BYTES, 0)
      const [line = ''] = buffer.toString('utf8', 0, bytesRead).split('\n')
      return line.replace(/\p{Cc}/gu, ' ').trim()
    } finally {
      await file.close()
    }
  } catch {
    return ''
  }
}

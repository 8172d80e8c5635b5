/**
 * flock(2) from Node: we open the file and let util-linux `flock -n -x 3` lock our descriptor. The lock belongs to the
 * open file description, so it stays ours after that child has ended, and the kernel drops it when this process dies,
 * however it dies. No pid is ever looked at, and no child lives on.
 */
import {spawn} from 'node:child_process'
import {closeSync, constants, fchownSync, fstatSync, ftruncateSync, lstatSync, openSync, writeSync} from 'node:fs'
import type {BigIntStats} from 'node:fs'
import {errnoOf, LocalStateError} from '../errors.ts'
import {localStateErrorOf} from './durable-file.ts'

export interface FlockOptions {
  /** Make the file if it is missing; else a missing file is an error. */
  readonly create?: boolean
  /** Permission bits of a file made here, before the umask; 0o640 if not given. */
  readonly mode?: number
  /** Owner of a file made here (only root can give files away; others keep it). */
  readonly owner?: {readonly uid: number; readonly gid: number}
  /** How long to wait for another holder; 0 (no waiting) if not given. */
  readonly waitMs?: number
  /** Ends the waiting; its reason is thrown. */
  readonly signal?: AbortSignal
}

/** An exclusive lock that is ours until `release()` or the end of this process. */
export interface HeldFlock {
  readonly path: string
  /** `false` once the path leads to another file or to none: then the lock guards nothing any more. */
  isStillAt(): Promise<boolean>
  /** Replaces the file's content, for people who look into it; it has no meaning for the lock. */
  describe(text: string): Promise<void>
  /** Frees the lock; the file stays. May be called twice. */
  release(): Promise<void>
}

/** Exit status that we ask flock(1) to use for "somebody else holds it". */
const BUSY = 75

/** How often a file that is replaced under our hands is opened again before it counts as busy. */
const ATTEMPTS = 5

/**
 * Takes an exclusive flock on the file `path`. After locking, the file is still the one at `path`.
 * @returns `undefined` if somebody else holds it (still, after `waitMs`)
 * @throws {LocalStateError} the file cannot be opened or made, is no regular file, or flock(1) is missing or fails; its
 *   `cause` has the errno (`ENOENT`: missing and not to be made)
 */
export async function tryFlock(path: string, options: FlockOptions = {}): Promise<HeldFlock | undefined> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const fd = openLockFile(path, options)
    let isKept = false
    try {
      if (!(await lockDescriptor(fd, path, options))) return undefined
      if (isAt(path, fd)) {
        isKept = true
        return heldFlock(path, fd)
      }
    } finally {
      if (!isKept) closeSync(fd)
    }
  }
  return undefined
}

function openLockFile(path: string, options: FlockOptions): number {
  // O_NONBLOCK keeps a FIFO planted in the place of the file from stopping us; regular files do not know it.
  const flags = constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK
  try {
    const fd = options.create ? openOrMake(path, flags, options) : openSync(path, flags)
    if (fstatSync(fd).isFile()) return fd
    closeSync(fd)
  } catch (error) {
    throw localStateErrorOf(error, `cannot open the lock file ${path}`)
  }
  throw new LocalStateError(`the lock file ${path} is not a regular file`, {
    hint: 'move away what stands there, then run the same command again',
  })
}

function openOrMake(path: string, flags: number, options: FlockOptions): number {
  for (let attempt = 0; ; attempt++) {
    try {
      return openSync(path, flags)
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' || attempt === ATTEMPTS) throw error
    }
    try {
      return makeLockFile(path, flags, options)
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error
    }
  }
}

function makeLockFile(path: string, flags: number, options: FlockOptions): number {
  const fd = openSync(path, flags | constants.O_CREAT | constants.O_EXCL, options.mode ?? 0o640)
  try {
    if (options.owner && process.geteuid?.() === 0) fchownSync(fd, options.owner.uid, options.owner.gid)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** `true`: the open file description of `fd` holds the lock now. `false`: another one does. */
async function lockDescriptor(fd: number, path: string, options: FlockOptions): Promise<boolean> {
  const {status, signal, messages} = await runFlock(fd, options)
  if (status === 0) return true
  if (status === BUSY) return false
  const reason = signal ? `flock was ended by ${signal}` : messages.trim() || `flock exited with ${status}`
  throw new LocalStateError(`cannot lock ${path}: ${reason}`, {
    hint: 'locks need util-linux flock(1) and a file system that knows flock(2), best a local one',
  })
}

interface FlockExit {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly messages: string
}

/** While it waits the child outlives a killed parent by at most `waitMs`; it never keeps the lock. */
function runFlock(fd: number, {waitMs = 0, signal: abort}: FlockOptions): Promise<FlockExit> {
  const waiting = waitMs > 0 ? ['-w', (waitMs / 1000).toFixed(3)] : ['-n']
  return new Promise((resolve, reject) => {
    const child = spawn('flock', [...waiting, '-E', String(BUSY), '-x', '3'], {
      stdio: ['ignore', 'ignore', 'pipe', fd], ...(abort ? {signal: abort} : {}),
    })
    let messages = ''
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      messages += chunk
    })
    child.once('error', (error) => {
      if (abort?.aborted) return reject(abort.reason)
      if (errnoOf(error) !== 'ENOENT') return reject(localStateErrorOf(error, 'cannot run flock(1)'))
      reject(new LocalStateError('the program flock is not in the PATH, and locks are made with it', {
        hint: 'install util-linux, or add its directory (usually /usr/bin) to PATH',
        cause: error,
      }))
    })
    child.once('close', (status, signal) => resolve({status, signal, messages}))
  })
}

function heldFlock(path: string, fd: number): HeldFlock {
  let isReleased = false
  return {
    path,
    async isStillAt() {
      return !isReleased && isAt(path, fd)
    },
    async describe(text) {
      if (isReleased) return
      try {
        ftruncateSync(fd)
        writeSync(fd, text, 0)
      } catch (error) {
        throw localStateErrorOf(error, `cannot write the lock file ${path}`)
      }
    },
    async release() {
      if (isReleased) return
      isReleased = true
      closeSync(fd)
    },
  }
}

/** Whether the file open as `fd` is the one at `path`; both looked at now. */
function isAt(path: string, fd: number): boolean {
  const held: BigIntStats = fstatSync(fd, {bigint: true})
  try {
    const present = lstatSync(path, {bigint: true})
    return present.dev === held.dev && present.ino === held.ino
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw localStateErrorOf(error, `cannot look at the lock file ${path}`)
  }
}

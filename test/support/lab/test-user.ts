/** Running programs as the user that owns a lab: PostgreSQL refuses root, and Barman would leave files only root can read. */

import {spawn} from 'node:child_process'
import {chownSync, readFileSync} from 'node:fs'
import {userInfo} from 'node:os'
import {TEST_USER} from '../../../scripts/test-cache.js'

/** A user of this machine. */
export interface TestUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

/** How to run a program; see {@link runAs}. */
export interface RunOptions {
  /** Variables beside a small fixed environment (PATH, LANG, TZ=UTC); undefined takes one away. Nothing of ours is inherited. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Working directory; default `/`. */
  readonly cwd?: string
  /** Text for stdin; without it stdin is empty. */
  readonly input?: string
  /** Kills the program (SIGKILL) after this time; default two minutes. */
  readonly timeoutMs?: number
}

/** How a program ended. */
export interface RunResult {
  /** Exit code; 128 plus the signal's number is not used: a killed program has -1. */
  readonly code: number
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** Returns the user the labs run as: `barmans3-test` when we are root, ourselves otherwise. Throws when it is not there. */
export function findTestUser(): TestUser {
  const own = userInfo()
  if (own.uid !== 0) return {name: own.username, uid: own.uid, gid: own.gid}
  const line = readFileSync('/etc/passwd', 'utf8').split('\n').find(entry => entry.startsWith(`${TEST_USER}:`))
  if (line === undefined) throw new Error(`there is no user ${TEST_USER}: run node scripts/setup-tests.js as root`)
  const [, , uid, gid] = line.split(':')
  return {name: TEST_USER, uid: Number(uid), gid: Number(gid)}
}

/** Gives a path to the user; nothing to do when we are that user. */
export function giveTo(user: TestUser, path: string): void {
  if (process.getuid?.() === 0) chownSync(path, user.uid, user.gid)
}

/** Returns uid and gid for `spawn`: only root may (and must) change them. */
export function identityOf(user: TestUser): {uid?: number, gid?: number} {
  return process.getuid?.() === 0 ? {uid: user.uid, gid: user.gid} : {}
}

/**
 * Runs a program as that user until it has ended and closed its output, and returns how it ended; a code other than 0 is no
 * error. Rejects when it cannot be started.
 */
export function runAs(user: TestUser, command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      ...identityOf(user),
      cwd: options.cwd ?? '/',
      env: {
        PATH: '/usr/local/bin:/usr/bin:/bin', LANG: 'C.UTF-8', TZ: 'UTC', USER: user.name, LOGNAME: user.name, ...options.env,
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    const output = {stdout: '', stderr: ''}
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (chunk: string) => { output[name] += chunk })
    }
    const timer = setTimeout(() => { child.kill('SIGKILL') }, options.timeoutMs ?? 120_000)
    child.stdin.on('error', () => { /* a program need not read its input */ })
    child.stdin.end(options.input ?? '')
    child.once('error', error => { clearTimeout(timer); reject(error) })
    child.once('close', (code, signal) => { clearTimeout(timer); resolve({code: code ?? -1, signal, ...output}) })
  })
}

/** Like {@link runAs}, but throws with the output unless the program exits with 0. Returns its stdout. */
export async function runAsOrThrow(
  user: TestUser, command: string, args: readonly string[], options: RunOptions = {},
): Promise<string> {
  const {code, signal, stdout, stderr} = await runAs(user, command, args, options)
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${signal ?? code}\n${stdout}${stderr}`)
  return stdout
}

import {spawn} from 'node:child_process'
import {once} from 'node:events'
import {identityOf, type TestUser} from './test-user.ts'

/** A lock of Barman's, held by another process of its user. */
export interface HeldLock {
  /** Lets go; may be called twice. */
  release(): Promise<void>
}

/** Takes the lock file by flock, as Barman does; it is made if it is missing. Throws when somebody has it. */
export async function holdLock(user: TestUser, path: string): Promise<HeldLock> {
  const child = spawn('flock', ['--nonblock', '--no-fork', path, 'sh', '-c', 'echo held; read line'], {
    ...identityOf(user), cwd: '/', stdio: ['pipe', 'pipe', 'ignore'],
  })
  const ended = once(child, 'close')
  const [first] = await Promise.race([once(child.stdout, 'data'), ended]) as [unknown]
  if (String(first).trim() !== 'held') throw new Error(`${path} is locked by somebody else`)
  return {
    async release() {
      child.stdin.end()
      await ended
    },
  }
}

/** Whether somebody holds the lock. */
export async function isLocked(user: TestUser, path: string): Promise<boolean> {
  try {
    await (await holdLock(user, path)).release()
    return false
  } catch {
    return true
  }
}

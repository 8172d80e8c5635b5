import {spawn} from 'node:child_process'
import {once} from 'node:events'
import {identityOf, type TestUser} from './test-user.ts'

/**
 * Does `work` while another process of the user holds a lock file by flock, as Barman does; the file is made if it is
 * missing. Throws when somebody has it already.
 */
export async function whileLocked<Result>(user: TestUser, path: string, work: () => Promise<Result>): Promise<Result> {
  const release = await tryLock(user, path)
  if (release === undefined) throw new Error(`${path} is locked by somebody else`)
  try {
    return await work()
  } finally {
    await release()
  }
}

/** Whether somebody holds the lock. */
export async function isLocked(user: TestUser, path: string): Promise<boolean> {
  const release = await tryLock(user, path)
  await release?.()
  return release === undefined
}

/** Returns what lets go of the lock; undefined when somebody else has it. */
async function tryLock(user: TestUser, path: string): Promise<(() => Promise<void>) | undefined> {
  const child = spawn('flock', ['--nonblock', '--no-fork', path, 'sh', '-c', 'echo held; read line'], {
    ...identityOf(user), cwd: '/', stdio: ['pipe', 'pipe', 'ignore'],
  })
  const ended = once(child, 'close')
  const [first] = await Promise.race([once(child.stdout, 'data'), ended]) as [unknown]
  if (String(first).trim() !== 'held') return undefined
  return async () => {
    child.stdin.end()
    await ended
  }
}

import {chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync, statSync} from 'node:fs'
import {freemem, tmpdir} from 'node:os'
import {dirname, join} from 'node:path'
import type {TestUser} from './test-user.ts'
import {giveTo} from './test-user.ts'

/** Room for one lab with its backups and WAL, and some to spare. */
const LAB_BYTES = 3 * 1024 ** 3

/**
 * Makes the directory of a lab and returns its path. It lies in memory where there is room for it, because pg_basebackup and
 * Barman fsync a thousand files for each backup; else in the temporary directory, or in /tmp when that is too long for a
 * socket's path (107 bytes) or closed to the test user.
 */
export function makeLabDirectory(user: TestUser): string {
  const isOpenFor = (path: string): boolean => path.length < 60 && (process.getuid?.() !== 0 || isEnterable(path))
  const parent = hasRoomInMemory() ? '/dev/shm' : isOpenFor(tmpdir()) ? tmpdir() : '/tmp'
  removeLeftovers(parent)
  const directory = mkdtempSync(join(parent, isKept() ? 'bs3-kept-' : `bs3-lab-${process.pid}-`))
  chmodSync(directory, 0o755)
  giveTo(user, directory)
  return directory
}

function hasRoomInMemory(): boolean {
  try {
    const {bavail, bsize} = statfsSync('/dev/shm')
    const isForPrograms = !/^\S+ \/dev\/shm \S+ \S*\bnoexec\b/m.test(readFileSync('/proc/mounts', 'utf8'))
    return isForPrograms && bavail * bsize > LAB_BYTES && freemem() > LAB_BYTES
  } catch {
    return false
  }
}

/** Labs of test processes that were killed; their PostgreSQL ended with them. */
function removeLeftovers(parent: string): void {
  for (const name of readdirSync(parent)) {
    const pid = Number(/^bs3-lab-(\d+)-/.exec(name)?.[1] ?? process.pid)
    if (!existsSync(`/proc/${pid}`)) rmSync(join(parent, name), {recursive: true, force: true})
  }
}

/** The person who runs the tests wants to look at the labs afterwards (BARMANS3_KEEP_LABS=1). */
export function isKept(): boolean {
  return process.env['BARMANS3_KEEP_LABS'] === '1'
}

function isEnterable(path: string): boolean {
  const isOpen = (statSync(path).mode & 0o001) !== 0
  return isOpen && (path === '/' || isEnterable(dirname(path)))
}

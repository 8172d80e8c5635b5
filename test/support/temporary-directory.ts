import {spawn} from 'node:child_process'
import {accessSync, constants, statfsSync} from 'node:fs'
import {mkdtemp, rm} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'

/** A new empty directory for each test of the surrounding `describe`, removed after it. Returns what gives its path. */
export function useTemporaryDirectory(parent = tmpdir()): () => string {
  let directory = ''
  beforeEach(async () => {
    directory = await mkdtemp(join(parent, 'barmans3-test-'))
  })
  afterEach(async () => {
    await rm(directory, {recursive: true, force: true})
  })
  return () => directory
}

const leftToRemove: string[] = []

/**
 * Removes a directory when this process ends, however many files it has. Mocha's parallel mode kills its workers a second
 * after it has asked them to end, so another process does it.
 */
export function removeAtExit(directory: string): void {
  if (leftToRemove.push(directory) > 1) return
  process.once('exit', () => {
    spawn('rm', ['-rf', ...leftToRemove], {detached: true, stdio: 'ignore'}).unref()
  })
}

/** Where many small trees are made and removed quickly: in memory where there is room, else where temporary files go. */
export function quickParentDirectory(): string {
  try {
    accessSync('/dev/shm', constants.W_OK)
    const {bavail, bsize} = statfsSync('/dev/shm')
    return bavail * bsize > 2 * 1024 ** 3 ? '/dev/shm' : tmpdir()
  } catch {
    return tmpdir()
  }
}

import {mkdtemp, rm} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'

/** A new empty directory for each test of the surrounding `describe`, removed after it. Returns what gives its path. */
export function useTemporaryDirectory(): () => string {
  let directory = ''
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'barmans3-test-'))
  })
  afterEach(async () => {
    await rm(directory, {recursive: true, force: true})
  })
  return () => directory
}

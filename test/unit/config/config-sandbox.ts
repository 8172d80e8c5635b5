import {mkdir, mkdtemp, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {dirname, join} from 'node:path'
import {expect} from 'chai'
import type {LoadedConfig, LoadOptions} from '../../../src/lib/config/load.ts'
import {loadConfig} from '../../../src/lib/config/load.ts'
import {UsageError} from '../../../src/lib/errors.ts'

/** A directory of one test that holds every place a configuration may be at. */
export interface ConfigSandbox {
  /** Absolute path of `name` in the directory. */
  path(name: string): string
  /** Writes `text` to `name` and returns its path. */
  write(name: string, text: string | Uint8Array): Promise<string>
  /** Loads with every place of the system inside the directory, and no environment. */
  load(options?: Partial<LoadOptions>): Promise<LoadedConfig>
  loadText(text: string, options?: Partial<LoadOptions>): Promise<LoadedConfig>
}

/** Gives each test of the calling suite a fresh directory and removes it afterwards. */
export function useConfigSandbox(): ConfigSandbox {
  let root: string
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'barmans3-config-'))
  })
  afterEach(() => rm(root, {recursive: true, force: true}))

  const sandbox: ConfigSandbox = {
    path: (name) => join(root, name),
    async write(name, text) {
      const path = join(root, name)
      await mkdir(dirname(path), {recursive: true})
      await writeFile(path, text)
      return path
    },
    load: (options = {}) =>
      loadConfig({
        environment: {},
        systemFile: join(root, 'etc/barmans3.yaml'),
        legacyFile: join(root, 'opt/barmans3.conf'),
        barmanFile: join(root, 'etc/barman.conf'),
        ...options,
      }),
    loadText: async (text, options = {}) => sandbox.load({configFile: await sandbox.write('config.yaml', text), ...options}),
  }
  return sandbox
}

/** The UsageError that `loading` ends with; fails when there is none. */
export async function faultOf(loading: Promise<unknown>): Promise<UsageError> {
  try {
    await loading
  } catch (error) {
    expect(error).to.be.instanceOf(UsageError)
    return error as UsageError
  }
  return expect.fail('was accepted')
}

import {globSync, readFileSync} from 'node:fs'
import {basename} from 'node:path'
import {fileURLToPath} from 'node:url'

const fixtures = fileURLToPath(new URL('../../fixtures/barman/', import.meta.url))

export interface HookFile {
  /** `<lab>: <file>` */
  readonly name: string
  readonly environment: Record<string, string>
}

/** Every environment that a real Barman gave a hook, as dumped in the fixtures. */
export function readHookFiles(): HookFile[] {
  return globSync('*/hooks/*.env', {cwd: fixtures}).sort().map((path) => ({
    name: `${path.split('/')[0]}: ${basename(path)}`,
    environment: parseEnvironment(readFileSync(`${fixtures}${path}`, 'utf8')),
  }))
}

/** The environment of the first dumped hook that has all of `wanted`. */
export function hookEnvironment(wanted: Readonly<Record<string, string>>): Record<string, string> {
  const found = readHookFiles().find(({environment}) => {
    return Object.entries(wanted).every(([variable, value]) => environment[variable] === value)
  })
  if (!found) throw new Error(`no dumped hook has ${JSON.stringify(wanted)}`)
  return found.environment
}

function parseEnvironment(text: string): Record<string, string> {
  return Object.fromEntries(text.split('\n').filter((line) => line.startsWith('BARMAN_')).map((line) => {
    const at = line.indexOf('=')
    return [line.slice(0, at), line.slice(at + 1)]
  }))
}

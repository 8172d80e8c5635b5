import {access} from 'node:fs/promises'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {runChild, startChild, type ChildExit, type RunningChild} from './child.ts'

const project = fileURLToPath(new URL('../../', import.meta.url))
const program = join(project, 'bin/run.js')

export interface CliOptions {
  /** The whole environment but for PATH and HOME. */
  readonly environment?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
}

/** The built program with an environment of its own: nothing of the caller's configuration or credentials gets in. */
export async function runCli(parameters: readonly string[], options: CliOptions = {}): Promise<ChildExit> {
  await access(join(project, 'dist/commands'))
  return await runChild(process.execPath, [program, ...parameters], spawnOptions(options))
}

/** As `runCli`, for tests that do something while it runs. */
export function startCli(parameters: readonly string[], options: CliOptions = {}): RunningChild {
  return startChild(process.execPath, [program, ...parameters], spawnOptions(options))
}

function spawnOptions({environment = {}, cwd = '/'}: CliOptions) {
  return {cwd, env: {PATH: process.env.PATH, HOME: '/nonexistent', ...environment}}
}

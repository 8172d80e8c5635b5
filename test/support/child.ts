import {spawn} from 'node:child_process'
import type {ChildProcess, SpawnOptions} from 'node:child_process'

export interface ChildExit {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A running program; `line` resolves with its first line on stdout, `exit` when it has ended. */
export interface RunningChild {
  readonly process: ChildProcess
  readonly line: Promise<string>
  readonly exit: Promise<ChildExit>
}

/** Starts `program`; its output is collected. */
export function startChild(program: string, parameters: readonly string[], options: SpawnOptions = {}): RunningChild {
  const child = spawn(program, parameters, {...options, stdio: ['ignore', 'pipe', 'pipe']})
  let stdout = ''
  let stderr = ''
  let sawLine: (line: string) => void = () => undefined
  const line = new Promise<string>((resolve) => {
    sawLine = resolve
  })
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk
    if (stdout.includes('\n')) sawLine(stdout.slice(0, stdout.indexOf('\n')))
  })
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk
  })
  const exit = new Promise<ChildExit>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status, signal) => {
      sawLine(`ended early: ${status ?? signal}: ${stderr}`)
      resolve({status, signal, stdout, stderr})
    })
  })
  return {process: child, line, exit}
}

/** Runs `program` to its end. */
export function runChild(
  program: string, parameters: readonly string[], options: SpawnOptions = {},
): Promise<ChildExit> {
  return startChild(program, parameters, options).exit
}

/** Starts a module text in a Node of its own; `source(path)` in it imports a file below `src/`. */
export function startModule(text: string, options: SpawnOptions = {}): RunningChild {
  const root = new URL('../../src/', import.meta.url).href
  const prelude = `const source = (path) => import(new URL(path, ${JSON.stringify(root)}).href);\n`
  return startChild(process.execPath, ['--input-type=module', '-e', prelude + text], options)
}

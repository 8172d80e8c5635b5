// Our own program under test: the built one, with a configuration of its own for each measurement.

import {spawnSync} from 'node:child_process'
import {existsSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs'
import {dirname, join} from 'node:path'
import {BUCKET, KEPT_BYTES} from './server.js'
import {SERVER} from './tree.js'

export const NAME = 'barmans3'
const PREFIX = 'barman'
/** Where the server's objects lie in the bucket. */
export const SERVER_PREFIX = `${PREFIX}/${SERVER}/`

/**
 * barmans3 as a client of the bench. `program` is bin/run.js of a built project; `settings` are [dotted key, text] pairs that
 * go into the configuration file.
 * @throws Error when the program is not built
 */
export function findBarmans3(program, settings) {
  const project = dirname(dirname(program))
  if (!existsSync(program) || !existsSync(join(project, 'dist/commands'))) {
    throw new Error(`${program} is not there or not built; npm run build`)
  }
  const {version} = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8'))
  return {
    name: NAME,
    program,
    version: [version, commitOf(project)].filter(Boolean).join(', '),
    settings: settings.length === 0 ? 'default settings' : settings.map(([key, value]) => `\`${key}: ${value}\``).join(', '),
    /** A command of barmans3 as {command, environment}. State, queue and configuration stay in `workspace`. */
    command: (args, {home, server, tls, workspace}) => ({
      command: [process.execPath, program, ...args, '--json'],
      environment: {
        BARMANS3_CONFIG: writeConfiguration({home, endpoint: server.endpoint, workspace, settings}),
        ...(tls ? {AWS_CA_BUNDLE: tls.certificate} : {}),
      },
    }),
  }
}

function writeConfiguration({home, endpoint, workspace, settings}) {
  const [queue, state] = ['queue.d', 'state'].map((name) => join(workspace, name))
  for (const directory of [queue, state]) mkdirSync(directory, {recursive: true})
  const configuration = {
    s3: {uri: `s3://${BUCKET}/${PREFIX}`, endpoint, region: 'us-east-1'},
    barman: {home},
    queue: {directory: queue},
    state: {directory: state},
  }
  for (const [key, value] of settings) setAt(configuration, key.split('.'), value)
  const file = join(workspace, 'barmans3.json')
  writeFileSync(file, JSON.stringify(configuration))
  return file
}

function setAt(object, [name, ...rest], value) {
  if (rest.length === 0) object[name] = value
  else setAt(object[name] ??= {}, rest, value)
}

function commitOf(project) {
  const git = (...args) => spawnSync('git', ['-C', project, ...args], {encoding: 'utf8'}).stdout?.trim()
  const commit = git('rev-parse', '--short', 'HEAD')
  if (!commit) return undefined
  // What is changed in the bench and the pages changes nothing that is measured.
  return `commit ${commit}${git('status', '--porcelain', '--', 'src', 'bin', 'package-lock.json') ? ', changed since' : ''}`
}

/** The result inside the envelope of `--json`. @throws Error when the output is no such envelope of a success */
function resultOf(stdout) {
  let envelope
  try {
    envelope = JSON.parse(stdout)
  } catch {
    throw new Error(`barmans3 printed no JSON: ${stdout.slice(0, 500)}`)
  }
  if (envelope.result?.servers === undefined) throw new Error(`barmans3 printed no result: ${stdout.slice(0, 500)}`)
  return envelope.result.servers
}

/** @throws Error unless this run copied exactly this backup whole and its record is in the bucket */
export async function assertBackupCopied({stdout}, backup, server) {
  const outcome = resultOf(stdout).flatMap(({backups}) => backups).find(({backupId}) => backupId === backup.id)
  const found = outcome === undefined ? 'nothing' : `${outcome.outcome}, ${outcome.files} files, ${outcome.bytes} bytes`
  const wanted = `copied, ${backup.files} files, ${backup.bytes} bytes`
  if (found !== wanted) throw new Error(`barmans3 says of backup ${backup.id}: ${found}; it should be: ${wanted}`)
  const key = `${SERVER_PREFIX}barmans3/${backup.id}.json`
  const record = await server.get(key)
  if (record === undefined) throw new Error(`the record ${key} is not in the bucket`)
  const {backupId, manifest} = JSON.parse(record)
  if (backupId !== backup.id) throw new Error(`the record ${key} is of another backup: ${record.slice(0, 300)}`)
  // The next backup reads it, and would have to send everything again.
  if (manifest.sizeBytes > KEPT_BYTES) {
    throw new Error(`the manifest has ${manifest.sizeBytes} bytes; the endpoint keeps at most ${KEPT_BYTES}`)
  }
}

/** @throws Error unless this run uploaded, or found in the bucket, exactly so many WAL files */
export function assertWalsSynced({stdout}, {uploaded, alreadyThere}) {
  const [result] = resultOf(stdout)
  const found = `${result.uploaded.files} uploaded, ${result.alreadyThere} already there, ${result.left.count} left`
  const wanted = `${uploaded} uploaded, ${alreadyThere} already there, 0 left`
  if (found !== wanted) throw new Error(`barmans3 says of the WAL: ${found}; it should be: ${wanted}`)
}

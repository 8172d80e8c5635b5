// The programs barmans3 is compared with, each with its default and its tuned settings.

import {spawnSync} from 'node:child_process'
import {existsSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {AWS_CLI_PACKAGE, awsCliDirectory} from '../scripts/test-cache.js'
import {buildModule, cachedProgram} from './go-program.js'
import {BUCKET} from './server.js'

const RCLONE = {module: 'github.com/rclone/rclone', version: 'v1.76.0'}
const S5CMD = {module: 'github.com/peak/s5cmd/v2', version: 'v2.3.0'}

/** Multipart and concurrency settings of aws-cli that came out fastest on this endpoint. */
const AWS_TUNED = '[default]\ns3 =\n  max_concurrent_requests = 24\n  multipart_threshold = 256MB\n  multipart_chunksize = 128MB\n'
const RCLONE_ALWAYS = ['--config', '/dev/null']
const RCLONE_DEFAULT = ['copy', '--s3-disable-checksum', '--ignore-checksum']
const RCLONE_TUNED = [
  'sync', '--s3-disable-checksum', '--ignore-checksum', '--fast-list', '--size-only', '--transfers', '32', '--checkers', '32',
  '--s3-upload-concurrency', '8', '--s3-chunk-size', '32M', '--s3-no-head',
]

const PROGRAMS = {
  'aws-cli': {
    find: findAwsCli,
    variants: {'aws-cli': awsCopy, 'aws-cli tuned': awsCopyTuned},
    settings: {
      'aws-cli': '`s3 sync --only-show-errors`',
      'aws-cli tuned': 'the same with `max_concurrent_requests = 24`, `multipart_threshold = 256MB`, `multipart_chunksize = 128MB`',
    },
  },
  s5cmd: {
    find: (signal) => findGoProgram('s5cmd', S5CMD, 'BARMANS3_BENCH_S5CMD', signal),
    variants: {s5cmd: s5cmdCopy},
    settings: {s5cmd: '`sync`'},
  },
  rclone: {
    find: (signal) => findGoProgram('rclone', RCLONE, 'BARMANS3_BENCH_RCLONE', signal),
    variants: {rclone: rcloneCopy(RCLONE_DEFAULT), 'rclone tuned': rcloneCopy(RCLONE_TUNED)},
    settings: {rclone: `\`${RCLONE_DEFAULT.join(' ')}\``, 'rclone tuned': `\`${RCLONE_TUNED.join(' ')}\``},
  },
}

export const PEER_NAMES = Object.keys(PROGRAMS)

/**
 * Finds or builds the peers of these names. Returns `peers`: name, program, version, settings and `command`, which turns
 * {directory, prefix, server, tls, workspace} into a copy of the directory: {command, environment}; and `missing`: name and
 * reason of those that are not here.
 */
export async function findPeers(names, signal) {
  const peers = []
  const missing = []
  for (const name of names) {
    const {find, variants, settings} = PROGRAMS[name]
    try {
      const {command, version} = await find(signal)
      for (const [variant, copy] of Object.entries(variants)) {
        peers.push({name: variant, program: name, version, settings: settings[variant], command: (copyOf) => copy(command, copyOf)})
      }
    } catch (error) {
      signal?.throwIfAborted()
      missing.push({name, reason: error.message})
    }
  }
  return {peers, missing}
}

function findAwsCli() {
  const program = join(awsCliDirectory(), 'bin/aws')
  if (!existsSync(program)) throw new Error('it is not in the cache of the tests; node scripts/setup-tests.js installs it')
  const python = '/usr/bin/python3'
  const env = {...process.env, PYTHONPATH: awsCliDirectory()}
  const {stdout, status} = spawnSync(python, [program, '--version'], {encoding: 'utf8', env})
  if (status !== 0) throw new Error(`${AWS_CLI_PACKAGE} in the cache of the tests does not start`)
  return {command: [python, program], version: /aws-cli\/(\S+)/.exec(stdout)?.[1] ?? 'of unknown version'}
}

async function findGoProgram(name, {module, version}, variable, signal) {
  const given = process.env[variable]
  if (given) return {command: [given], version: `${askVersion(given)} (from ${variable})`}
  const cached = cachedProgram(name, version)
  if (cached !== undefined) return {command: [cached], version}
  console.error(`bench: building ${name} ${version} with Go, once; this can take minutes`)
  return {command: [await buildModule(name, {module, version}, signal)], version}
}

/** Both name their version in the first line of `version`. */
function askVersion(program) {
  const {stdout, status, error} = spawnSync(program, ['version'], {encoding: 'utf8'})
  if (status !== 0) throw new Error(`${program} does not start${error ? `: ${error.message}` : ''}`)
  return stdout.split('\n')[0].trim().replace(/^\w+ (?=v\d)/, '')
}

function awsCopy(program, {directory, prefix, server, tls}) {
  return {
    command: [
      ...program, '--endpoint-url', server.endpoint, 's3', 'sync', '--only-show-errors', `${directory}/`, `s3://${BUCKET}/${prefix}`,
    ],
    environment: {PYTHONPATH: awsCliDirectory(), ...(tls ? {AWS_CA_BUNDLE: tls.certificate} : {})},
  }
}

function awsCopyTuned(program, copyOf) {
  const {command, environment} = awsCopy(program, copyOf)
  const file = join(copyOf.workspace, 'aws.config')
  writeFileSync(file, AWS_TUNED)
  return {command, environment: {...environment, AWS_CONFIG_FILE: file}}
}

function s5cmdCopy(program, {directory, prefix, server, tls}) {
  return {
    command: [...program, '--endpoint-url', server.endpoint, 'sync', `${directory}/`, `s3://${BUCKET}/${prefix}`],
    environment: tls ? {SSL_CERT_FILE: tls.certificate} : {},
  }
}

function rcloneCopy(settings) {
  return (program, {directory, prefix, server, tls}) => ({
    command: [...program, ...RCLONE_ALWAYS, ...settings, `${directory}/`, `R:${BUCKET}/${prefix}`],
    environment: {
      RCLONE_CONFIG_R_TYPE: 's3', RCLONE_CONFIG_R_PROVIDER: 'Other', RCLONE_CONFIG_R_ACCESS_KEY_ID: 'x',
      RCLONE_CONFIG_R_SECRET_ACCESS_KEY: 'y', RCLONE_CONFIG_R_ENDPOINT: server.endpoint, RCLONE_CONFIG_R_FORCE_PATH_STYLE: 'true',
      ...(tls ? {RCLONE_CA_CERT: tls.certificate} : {}),
    },
  })
}

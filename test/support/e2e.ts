/** The built program, run by the user of a lab against a real S3 server. */
import {chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {spawn, type ChildProcess} from 'node:child_process'
import type {BarmanLab, RunResult} from './lab/barman-lab.ts'
import {findTool} from './lab/tool.ts'
import type {TestServer} from './s3-servers.ts'

interface Owner {
  readonly uid: number
  readonly gid: number
}

/** barmans3 as installed on the Barman host of a lab. */
export interface InstalledTool {
  readonly configurationFile: string
  readonly queueDirectory: string
  readonly stateDirectory: string
  readonly bucket: string
  /** The command line of Barman's hook. */
  readonly hookCommand: string
  /** Runs it as the lab's user. */
  run(...args: readonly string[]): Promise<RunResult>
  /** Runs it with `--json` and returns exit code and `result`. Throws when stdout is no envelope. */
  json<Result>(...args: readonly string[]): Promise<{code: number; result: Result; warnings: string[]}>
  /** Starts it; the caller ends it. */
  start(...args: readonly string[]): ChildProcess
}

let lastBucket = 0

/** Makes a bucket of its own, and configuration, queue and state directories for the lab's user. */
export async function installTool(
  lab: BarmanLab, server: TestServer, {bucket, endpoint = server.endpoint, settings = {}}: {bucket?: string; endpoint?: string; settings?: object} = {},
): Promise<InstalledTool> {
  const {node, script} = await findTool()
  const name = bucket ?? `e2e-${process.pid}-${++lastBucket}`
  if (bucket === undefined) await server.createBucket(name)
  // Not in the lab, which may lie in memory: barmans3 warns of a queue that a restart would empty.
  const directory = mkdtempSync(join(tmpdir(), 'barmans3-e2e-'))
  process.once('exit', () => rmSync(directory, {recursive: true, force: true}))
  chmodSync(directory, 0o755)
  own(directory, lab.user)
  const configurationFile = join(directory, 'barmans3.json')
  writeFileSync(configurationFile, JSON.stringify({
    s3: {uri: `s3://${name}/barman`, endpoint, region: server.region},
    barman: {configuration: lab.configurationFile, command: lab.barmanProgram},
    queue: {directory: join(directory, 'queue')}, state: {directory: join(directory, 'state')}, ...settings,
  }))
  const env = {
    BARMANS3_CONFIG: configurationFile, AWS_ACCESS_KEY_ID: server.accessKeyId, AWS_SECRET_ACCESS_KEY: server.secretAccessKey, AWS_EC2_METADATA_DISABLED: 'true',
  }
  const run = async (...args: readonly string[]) => await lab.runAsUser(node, [script, ...args], {env})
  return {
    configurationFile, bucket: name,
    queueDirectory: join(directory, 'queue'), stateDirectory: join(directory, 'state'),
    hookCommand: `BARMANS3_CONFIG=${configurationFile} ${node} ${script} queue add`,
    run,
    async json(...args) {
      const {code, stdout, stderr} = await run(...args, '--json')
      try {
        const envelope = JSON.parse(stdout) as {result: never; warnings: string[]}
        return {code: code ?? -1, result: envelope.result, warnings: envelope.warnings}
      } catch {
        throw new Error(`no JSON on stdout (exit ${code}): ${stdout}${stderr}`)
      }
    },
    start: (...args) => spawn(node, [script, ...args], {
      uid: lab.user.uid, gid: lab.user.gid, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'], env: {PATH: '/usr/bin:/bin', HOME: join(lab.directory, 'home'), ...env},
    }),
  }
}

function own(path: string, {uid, gid}: Owner): void {
  if (process.getuid?.() === 0) chownSync(path, uid, gid)
}

/** Resolves with how a process ended and what it said. */
export async function ended(child: ChildProcess): Promise<{code: number | null; signal: NodeJS.Signals | null; stderr: string; stdout: string}> {
  let stderr = ''
  let stdout = ''
  child.stderr?.on('data', (chunk: Buffer) => void (stderr += chunk.toString()))
  child.stdout?.on('data', (chunk: Buffer) => void (stdout += chunk.toString()))
  return await new Promise((resolve) => child.on('close', (code, signal) => resolve({code, signal, stderr, stdout})))
}

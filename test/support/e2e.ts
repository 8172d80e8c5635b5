/** The built program, run by the user of a lab against a real S3 server. */
import {chmodSync, mkdtempSync, writeFileSync} from 'node:fs'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {spawn, type ChildProcess} from 'node:child_process'
import {installPackage} from './installed.ts'
import type {BarmanLab, RunResult} from './lab/barman-lab.ts'
import {giveTo, identityOf} from './lab/test-user.ts'
import type {TestServer} from './s3-servers.ts'
import {removeAtExit} from './temporary-directory.ts'

/** barmans3 as installed on the Barman host of a lab. */
export interface InstalledTool {
  readonly configurationFile: string
  readonly queueDirectory: string
  readonly stateDirectory: string
  readonly bucket: string
  /** What runs it, in a shell: Node and script. */
  readonly program: string
  /** The command line of Barman's hook. */
  readonly hookCommand: string
  /** Variables it needs beside its configuration: credentials. */
  readonly credentials: Readonly<Record<string, string>>
  /** Runs it as the lab's user. */
  run(...args: readonly string[]): Promise<RunResult>
  /** Runs it with `--json` and returns exit code, `result`, and all it said for messages. Throws when there is no result. */
  json<Result>(...args: readonly string[]): Promise<{code: number; result: Result; warnings: string[]; said: string}>
  /** Starts it; the caller ends it. */
  start(...args: readonly string[]): ChildProcess
}

/** Where it copies to and what else its configuration says. */
export interface InstallOptions {
  /** Default: a new one. */
  readonly bucket?: string
  /** Default: the server's own; a proxy, for instance. */
  readonly endpoint?: string
  /** Further top-level settings of the configuration file. */
  readonly settings?: object
}

let lastBucket = 0

/** What tests that failed have left running. */
const started: ChildProcess[] = []
process.once('exit', () => {
  for (const child of started) child.kill('SIGKILL')
})

/** Makes a bucket of its own, and configuration, queue and state directories for the lab's user. */
export async function installTool(
  lab: BarmanLab, server: TestServer, {bucket, endpoint = server.endpoint, settings = {}}: InstallOptions = {},
): Promise<InstalledTool> {
  const {node, script} = await installPackage()
  const name = bucket ?? `e2e-${process.pid}-${++lastBucket}`
  if (bucket === undefined) await server.createBucket(name)
  // Not in the lab, which may lie in memory: barmans3 warns of a queue that a restart would empty.
  const directory = mkdtempSync(join(tmpdir(), 'barmans3-e2e-'))
  removeAtExit(directory)
  chmodSync(directory, 0o755)
  giveTo(lab.user, directory)
  const configurationFile = join(directory, 'barmans3.json')
  writeFileSync(configurationFile, JSON.stringify({
    s3: {uri: `s3://${name}/barman`, endpoint, region: server.region},
    barman: {configuration: lab.configurationFile, command: lab.barmanProgram},
    queue: {directory: join(directory, 'queue')}, state: {directory: join(directory, 'state')}, ...settings,
  }))
  const credentials = {
    AWS_ACCESS_KEY_ID: server.accessKeyId, AWS_SECRET_ACCESS_KEY: server.secretAccessKey, AWS_EC2_METADATA_DISABLED: 'true',
  }
  const env = {BARMANS3_CONFIG: configurationFile, ...credentials}
  const run = async (...args: readonly string[]) => await lab.runAsUser(node, [script, ...args], {env})
  return {
    configurationFile, credentials, bucket: name,
    queueDirectory: join(directory, 'queue'), stateDirectory: join(directory, 'state'),
    program: `${node} ${script}`,
    hookCommand: `BARMANS3_CONFIG=${configurationFile} ${node} ${script} queue add`,
    run,
    async json<Result>(...args: readonly string[]) {
      const {code, stdout, stderr} = await run(...args, '--json')
      const said = `barmans3 ${args.join(' ')} ended with ${code}: ${stdout}${stderr}`
      const envelope = parseEnvelope<Result>(stdout)
      if (envelope.result === undefined) throw new Error(said)
      return {code, result: envelope.result, warnings: envelope.warnings, said}
    },
    start(...args) {
      const child = spawn(node, [script, ...args], {
        ...identityOf(lab.user), cwd: '/', stdio: ['ignore', 'pipe', 'pipe'],
        env: {PATH: '/usr/bin:/bin', HOME: join(lab.directory, 'home'), ...env},
      })
      started.push(child)
      return child
    },
  }
}

/** What `--json` printed; `result` is missing after an error, and when it is no JSON. */
function parseEnvelope<Result>(text: string): {result?: Result; warnings: string[]} {
  try {
    return JSON.parse(text) as {result?: Result; warnings: string[]}
  } catch {
    return {warnings: []}
  }
}

/** Resolves with how a process ended and what it said. */
export async function ended(child: ChildProcess): Promise<{code: number | null; signal: NodeJS.Signals | null; stderr: string; stdout: string}> {
  let stderr = ''
  let stdout = ''
  child.stderr?.on('data', (chunk: Buffer) => void (stderr += chunk.toString()))
  child.stdout?.on('data', (chunk: Buffer) => void (stdout += chunk.toString()))
  return await new Promise((resolve) => child.on('close', (code, signal) => resolve({code, signal, stderr, stdout})))
}

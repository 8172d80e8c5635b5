/** A Barman host without Barman: a sample tree with large files, the installed program, a line that can be slowed down. */
import {execFileSync, spawn, type ChildProcess} from 'node:child_process'
import {randomBytes} from 'node:crypto'
import {mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync} from 'node:fs'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {setTimeout as delay} from 'node:timers/promises'
import {ListPartsCommand, S3Client} from '@aws-sdk/client-s3'
import type {ObjectKey} from '../../src/lib/store/object-store.ts'
import {listBucket, openBucket} from './bucket.ts'
import {ended} from './e2e.ts'
import {installPackage} from './installed.ts'
import type {TestServer} from './s3-servers.ts'
import {createSampleTree, type SampleTree} from './sample-tree.ts'
import {startSlowProxy, type SlowProxy} from './slow-proxy.ts'

export const MIB = 1024 ** 2
export const ID = '20261101T020000'
const PREFIX = 'barman/pg'

export interface ResumeFiles {
  /** Random, so stored as it is; its name says so, too. */
  readonly plainBytes: number
  /** Shrinks to half. */
  readonly compressibleBytes: number
  /** Of 8 KiB. */
  readonly smallFiles: number
  /** Of 20 MiB and of 200 KiB; default none. */
  readonly others?: {readonly large: number; readonly medium: number}
}

export interface ResumeHostOptions {
  readonly files: ResumeFiles
  readonly transfer?: object
  /** Soft and hard limit of open files; default: that of the tests. */
  readonly openFiles?: number
}

/** What the store has of the backup: whole objects, and parts of uploads that are open. */
export interface StoredState {
  readonly objects: ReadonlyMap<string, number>
  /** By `key partNumber`. */
  readonly parts: ReadonlyMap<string, number>
  readonly openUploads: number
}

export interface RunEnd {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stderr: string
  readonly stdout: string
  readonly durationMs: number
}

let lastBucket = 0

export class ResumeHost {
  readonly tree: SampleTree
  readonly directory: string
  readonly stateDirectory: string
  readonly bucket: string
  readonly proxy: SlowProxy
  /** Keys of the large files. */
  readonly largeKeys: readonly string[]
  readonly #server: TestServer
  readonly #command: readonly string[]
  readonly #environment: NodeJS.ProcessEnv
  readonly #children: ChildProcess[] = []

  private constructor(server: TestServer, options: ResumeHostOptions, parts: {
    directory: string; tree: SampleTree; proxy: SlowProxy; bucket: string; program: {node: string; script: string}
  }) {
    const {directory, tree, proxy, bucket, program: {node, script}} = parts
    this.#server = server
    this.directory = directory
    this.tree = tree
    this.proxy = proxy
    this.bucket = bucket
    this.stateDirectory = join(directory, 'state')
    this.largeKeys = ['data/large/archive.gz', 'data/large/table.zst'].map((path) => `${PREFIX}/base/${ID}/${path}`)
    const limit = options.openFiles === undefined ? [] : ['/bin/sh', '-c', `ulimit -n ${options.openFiles} && exec "$@"`, 'sh']
    this.#command = [...limit, node, script]
    const configuration = join(directory, 'barmans3.json')
    writeFileSync(configuration, JSON.stringify({
      s3: {uri: `s3://${bucket}/barman`, endpoint: proxy.endpoint, region: server.region},
      barman: {home: join(directory, 'home')}, servers: {pg: {lockDirectory: join(directory, 'home')}},
      queue: {directory: join(directory, 'queue')}, state: {directory: this.stateDirectory}, transfer: options.transfer ?? {},
    }))
    this.#environment = {
      PATH: '/usr/bin:/bin', HOME: '/nonexistent', BARMANS3_CONFIG: configuration,
      AWS_ACCESS_KEY_ID: server.accessKeyId, AWS_SECRET_ACCESS_KEY: server.secretAccessKey, AWS_EC2_METADATA_DISABLED: 'true',
    }
  }

  static async create(server: TestServer, options: ResumeHostOptions): Promise<ResumeHost> {
    const program = await installPackage()
    const directory = mkdtempSync(join(tmpdir(), 'barmans3-resume-'))
    const tree = createSampleTree(join(directory, 'home'), {segmentSizeBytes: MIB})
    fillBackup(join(tree.baseDirectory, ID, 'data'), options.files)
    const bucket = `resume-${process.pid}-${++lastBucket}`
    await server.createBucket(bucket)
    const proxy = await startSlowProxy(server.endpoint)
    return new ResumeHost(server, options, {directory, tree, proxy, bucket, program})
  }

  get root(): string {
    return join(this.tree.baseDirectory, ID)
  }

  /** Forgets what was copied: a bucket and a state of its own for each test would need the files again. */
  async forget(): Promise<void> {
    rmSync(this.stateDirectory, {recursive: true, force: true})
    const store = openBucket(this.#server, this.bucket)
    try {
      await store.delete([...(await listBucket(this.#server, this.bucket)).keys()] as ObjectKey[])
      for (const key of this.largeKeys) {
        for (const id of await store.listUploads(key as ObjectKey)) await store.abortUpload(key as ObjectKey, id)
      }
    } finally {
      store.close()
    }
  }

  start(...parameters: readonly string[]): {child: ChildProcess; end: Promise<RunEnd>} {
    const [program = '', ...rest] = [...this.#command, ...parameters]
    const begin = Date.now()
    const child = spawn(program, rest, {cwd: '/', env: this.#environment, stdio: ['ignore', 'pipe', 'pipe']})
    this.#children.push(child)
    return {child, end: ended(child).then((end) => ({...end, durationMs: Date.now() - begin}))}
  }

  /** Waits for something the running program does; an end of it before is an error. */
  async until(child: ChildProcess, what: string, isSo: () => boolean): Promise<void> {
    const deadline = Date.now() + 60_000
    while (!isSo()) {
      if (child.exitCode !== null || Date.now() > deadline) throw new Error(`it never came to: ${what}`)
      await delay(2)
    }
  }

  async stored(): Promise<StoredState> {
    const objects = new Map<string, number>()
    for (const [key, size] of await listBucket(this.#server, this.bucket, `${PREFIX}/base/`)) objects.set(key, size)
    const parts = new Map<string, number>()
    let openUploads = 0
    const {endpoint, region, accessKeyId, secretAccessKey} = this.#server
    const client = new S3Client({endpoint, region, forcePathStyle: true, credentials: {accessKeyId, secretAccessKey}})
    const store = openBucket(this.#server, this.bucket)
    try {
      for (const key of this.largeKeys) {
        for (const uploadId of await store.listUploads(key as ObjectKey)) {
          openUploads++
          const {Parts = []} = await client.send(new ListPartsCommand({Bucket: this.bucket, Key: key, UploadId: uploadId}))
          for (const {PartNumber, Size} of Parts) parts.set(`${key} ${PartNumber}`, Size ?? 0)
        }
      }
    } finally {
      store.close()
      client.destroy()
    }
    return {objects, parts, openUploads}
  }

  /** What PUT requests among these were for: keys of objects, `key partNumber` of parts. */
  putsOf(requests: readonly string[]): string[] {
    return requests.flatMap((request) => {
      const [, path = '', query = ''] = /^PUT (\/[^?]*)\??(.*)$/.exec(request) ?? []
      const key = decodeURIComponent(path).slice(this.bucket.length + 2)
      if (!key.startsWith(`${PREFIX}/base/`)) return []
      const partNumber = new URLSearchParams(query).get('partNumber')
      return [partNumber === null ? key : `${key} ${partNumber}`]
    })
  }

  /** Names of the journals of open uploads. */
  journals(): string[] {
    try {
      return readdirSync(join(this.stateDirectory, 'pg.journal', `${ID}.uploads`))
    } catch {
      return []
    }
  }

  async remove(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL')
    await this.proxy.stop()
    rmSync(this.directory, {recursive: true, force: true})
  }
}

function fillBackup(data: string, {plainBytes, compressibleBytes, smallFiles, others = {large: 0, medium: 0}}: ResumeFiles): void {
  for (const name of ['large', 'small']) mkdirSync(join(data, name))
  writeFileSync(join(data, 'large/archive.gz'), randomBytes(plainBytes))
  const table = Buffer.alloc(compressibleBytes, 'a row of a table ')
  for (let position = 0; position < table.length; position += 64 * 1024) randomBytes(32 * 1024).copy(table, position)
  writeFileSync(join(data, 'large/table'), table)
  const small = randomBytes(8192)
  for (let index = 0; index < smallFiles; index++) {
    small.writeUInt32LE(index)
    writeFileSync(join(data, 'small', String(index)), small)
  }
  for (let index = 0; index < others.large; index++) writeFileSync(join(data, 'large', `${index}.gz`), randomBytes(20 * MIB))
  for (let index = 0; index < others.medium; index++) writeFileSync(join(data, 'small', `medium-${index}`), randomBytes(200 * 1024))
  // PostgreSQL's list does not have these files, and would call the sample's own ones damaged if it had others.
  rmSync(join(data, 'backup_manifest'), {force: true})
}

/** Differences of two trees, links not followed; empty when there are none. */
export function compareTrees(left: string, right: string): string {
  try {
    return execFileSync('diff', ['-r', '--no-dereference', '-q', left, right], {encoding: 'utf8'})
  } catch (error) {
    return String((error as {stdout?: string}).stdout ?? error)
  }
}

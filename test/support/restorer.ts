/**
 * Restores a backup from the bucket by its manifest alone, for tests, as a person would by hand after reading
 * docs/reference/archive-format.md: nothing of `lib/sync` is used.
 */
import {createHash} from 'node:crypto'
import {chmodSync, lchownSync, mkdirSync, symlinkSync, writeFileSync} from 'node:fs'
import {dirname, join} from 'node:path'
import {gunzipSync, zstdDecompressSync} from 'node:zlib'
import type {ObjectKey} from '../../src/lib/store/object-store.ts'
import {listBucket, openBucket} from './bucket.ts'
import type {TestUser} from './lab/test-user.ts'
import {giveTo} from './lab/test-user.ts'
import type {TestServer} from './s3-servers.ts'

interface Line {
  readonly type: string
  readonly path: string
  readonly mode: string
  readonly target?: string
  readonly object?: string
  readonly offset?: number
  readonly sizeBytes?: number
  readonly sha256?: string
  readonly key?: string
  readonly encoding?: string
  readonly frames?: readonly number[]
}

export interface RestoreRequest {
  readonly server: TestServer
  readonly bucket: string
  /** Of the Barman server in the bucket, without a slash at the end. */
  readonly prefix: string
  /** A backup, with its ancestors if it is an incremental. */
  readonly backupIds: readonly string[]
  /** Barman's directory of the server on the new host. */
  readonly serverDirectory: string
  readonly owner: TestUser
}

/** Metadata may lie in `meta/` or, of Barman before 3.13.2, below `base/<id>/`. */
const METADATA = /^(?:wals\/.+|identity\.json|meta\/(\d{8}T\d{6})-.+|base\/(\d{8}T\d{6})\/(?:backup\.info|annotations\/.+))$/

/**
 * Brings back `base/<id>` of the backups, their metadata, all of `wals/` and identity.json; tablespace links lead into the
 * new place. Throws when an object is missing or has another SHA-256 than the manifest says.
 */
export async function restoreByManifest(request: RestoreRequest): Promise<void> {
  const store = openBucket(request.server, request.bucket)
  const get = async (relative: string): Promise<Buffer> => {
    const body = await store.get(`${request.prefix}/${relative}` as ObjectKey, {maxBytes: 256 * 1024 ** 2})
    if (!body) throw new Error(`there is no ${relative}`)
    return body
  }
  try {
    makeDirectory(dirname(request.serverDirectory), request.owner)
    for (const name of ['', 'base', 'meta', 'wals', 'incoming', 'streaming', 'errors']) {
      makeDirectory(join(request.serverDirectory, name), request.owner)
    }
    for (const id of request.backupIds) await restoreBackup(id, request, get)
    await restoreOther(request, get)
  } finally {
    store.close()
  }
}

type Get = (relative: string) => Promise<Buffer>

async function restoreBackup(id: string, {serverDirectory, owner}: RestoreRequest, get: Get): Promise<void> {
  const root = join(serverDirectory, 'base', id)
  const text = gunzipSync(await get(`barmans3/${id}.manifest.gz`)).toString()
  const lines = text.trim().split('\n').map((each) => JSON.parse(each) as Line)
  for (const line of lines) {
    const path = join(root, line.path ?? '')
    if (line.type === 'directory') {
      makeDirectory(path, owner)
      chmodSync(path, Number.parseInt(line.mode, 8))
    } else if (line.type === 'symlink') {
      const oid = /^data\/pg_tblspc\/(\d+)$/.exec(line.path)?.[1]
      symlinkSync(oid === undefined ? (line.target ?? '') : join(root, oid), path)
      if (process.getuid?.() === 0) lchownSync(path, owner.uid, owner.gid)
    }
  }
  const frames = new Map(lines.filter(({encoding}) => encoding === 'zstd').map((line) => [line.key ?? '', line.frames ?? []]))
  const packs = new Map<string, Promise<Buffer>>()
  const contentOf = async ({object = '', offset, sizeBytes = 0}: Line): Promise<Buffer> => {
    if (offset === undefined) return unpack(await get(object), frames.get(object))
    const pack = packs.get(object) ?? get(object)
    packs.set(object, pack)
    return (await pack).subarray(offset, offset + sizeBytes)
  }
  await inTurns(lines.filter(({type}) => type === 'file'), async (line) => {
    const body = await contentOf(line)
    const sha256 = createHash('sha256').update(body).digest('hex')
    if (sha256 !== line.sha256) throw new Error(`${line.path} has SHA-256 ${sha256}, the manifest says ${line.sha256}`)
    const path = join(root, line.path)
    writeFileSync(path, body)
    chmodSync(path, Number.parseInt(line.mode, 8))
    giveTo(owner, path)
  })
}

/** Frame by frame, since Node's own function ends after the first. */
function unpack(body: Buffer, offsets: readonly number[] | undefined): Buffer {
  return offsets ? Buffer.concat(offsets.map((begin, index) => zstdDecompressSync(body.subarray(begin, offsets[index + 1] ?? body.length)))) : body
}

async function restoreOther({server, bucket, prefix, backupIds, serverDirectory, owner}: RestoreRequest, get: Get): Promise<void> {
  const keys = [...(await listBucket(server, bucket, `${prefix}/`)).keys()].map((key) => key.slice(prefix.length + 1))
  const wanted = keys.filter((key) => {
    const match = METADATA.exec(key)
    const id = match?.[1] ?? match?.[2]
    return match !== null && (id === undefined || backupIds.includes(id))
  })
  await inTurns(wanted, async (key) => {
    const path = join(serverDirectory, key)
    makeDirectory(dirname(path), owner)
    writeFileSync(path, await get(key), {mode: 0o600})
    giveTo(owner, path)
  })
}

function makeDirectory(path: string, owner: TestUser): void {
  mkdirSync(path, {recursive: true})
  giveTo(owner, path)
}

/** Eight at a time. */
async function inTurns<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const left = items.values()
  await Promise.all(Array.from({length: 8}, async () => {
    for (const item of left) await work(item)
  }))
}

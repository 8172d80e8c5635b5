/**
 * Restores a backup from the bucket by its manifest alone, for tests, as a person would by hand after reading
 * docs/reference/archive-format.md: nothing of `lib/sync` is used.
 */
import {createHash} from 'node:crypto'
import {chmodSync, chownSync, lchownSync, mkdirSync, symlinkSync, writeFileSync} from 'node:fs'
import {dirname, join} from 'node:path'
import {gunzipSync} from 'node:zlib'
import type {ObjectKey} from '../../src/lib/store/object-store.ts'
import {listBucket, openBucket} from './bucket.ts'
import type {TestServer} from './s3-servers.ts'

interface Line {
  readonly type: string
  readonly path: string
  readonly mode: string
  readonly target?: string
  readonly object?: string
  readonly sha256?: string
}

export interface RestoreRequest {
  readonly server: TestServer
  readonly bucket: string
  readonly prefix: string
  readonly backupId: string
  /** Barman's directory of the server on the new host. */
  readonly serverDirectory: string
  readonly owner: {readonly uid: number; readonly gid: number}
}

/** Brings back `base/<id>`, `meta/`, `wals/` and identity.json; tablespace links lead into the new place. */
export async function restoreByManifest(request: RestoreRequest): Promise<void> {
  const store = openBucket(request.server, request.bucket)
  try {
    await restore(request, async (key) => {
      const body = await store.get(key as ObjectKey, {maxBytes: 256 * 1024 ** 2})
      if (!body) throw new Error(`there is no ${key}`)
      return body
    })
  } finally {
    store.close()
  }
}

async function restore({server, bucket, prefix, backupId, serverDirectory, owner}: RestoreRequest, getObject: (key: string) => Promise<Buffer>): Promise<void> {
  const get = async (relative: string) => await getObject(`${prefix}/${relative}`)
  const own = (path: string) => {
    if (process.getuid?.() === 0) chownSync(path, owner.uid, owner.gid)
  }
  const makeDirectory = (path: string) => {
    mkdirSync(path, {recursive: true})
    own(path)
  }
  makeDirectory(dirname(serverDirectory))
  for (const name of ['', 'base', 'meta', 'wals', 'incoming', 'streaming', 'errors']) makeDirectory(join(serverDirectory, name))
  const text = gunzipSync(await get(`barmans3/${backupId}.manifest.gz`)).toString()
  for (const line of text.trim().split('\n').map((each) => JSON.parse(each) as Line)) {
    const path = join(serverDirectory, 'base', backupId, line.path ?? '')
    if (line.type === 'directory') {
      makeDirectory(path)
      chmodSync(path, Number.parseInt(line.mode, 8))
    } else if (line.type === 'symlink') {
      const oid = /^data\/pg_tblspc\/(\d+)$/.exec(line.path)?.[1]
      symlinkSync(oid === undefined ? (line.target ?? '') : join(serverDirectory, 'base', backupId, oid), path)
      if (process.getuid?.() === 0) lchownSync(path, owner.uid, owner.gid)
    } else if (line.type === 'file') {
      const body = await get(line.object ?? '')
      if (createHash('sha256').update(body).digest('hex') !== line.sha256) throw new Error(`${line.path} has another SHA-256 than the manifest says`)
      writeFileSync(path, body, {mode: Number.parseInt(line.mode, 8)})
      own(path)
    }
  }
  for (const key of (await listBucket(server, bucket, `${prefix}/`)).keys()) {
    const relative = key.slice(prefix.length + 1)
    if (!/^(meta|wals)\/|^identity\.json$/.test(relative)) continue
    makeDirectory(dirname(join(serverDirectory, relative)))
    writeFileSync(join(serverDirectory, relative), await get(relative), {mode: 0o600})
    own(join(serverDirectory, relative))
  }
}

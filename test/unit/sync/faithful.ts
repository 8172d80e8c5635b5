/** Whether a backup can be brought back from the bucket alone, as it lies on Barman's disk. */
import {createHash} from 'node:crypto'
import {readFileSync} from 'node:fs'
import {join} from 'node:path'
import {gunzipSync, zstdDecompressSync} from 'node:zlib'
import {expect} from 'chai'
import {backupPathBytes} from '../../../src/lib/archive/backup-path.ts'
import type {FileEntry, ManifestObject} from '../../../src/lib/archive/manifest.ts'
import {parseManifestLine} from '../../../src/lib/archive/manifest-line.ts'
import type {SyncSetting} from '../../support/sync-setting.ts'
import {ID, readManifest} from './base-setting.ts'

/** Content of a file; half of it can be compressed. */
export function content(sizeBytes: number, salt: string): Buffer {
  const bytes = Buffer.alloc(sizeBytes)
  for (let position = 0; position < sizeBytes; position += 64) createHash('sha256').update(`${salt}${position}`).digest().copy(bytes, position)
  return bytes
}

/** The objects that the backup's manifest names, by key relative to the server's prefix. */
export function objects({store, keys}: SyncSetting, id = ID): Map<string, ManifestObject> {
  const text = gunzipSync(store.objects.get(keys.manifest(id))!.body).toString()
  const lines = text.trim().split('\n').map(parseManifestLine)
  return new Map(lines.flatMap((line) => (line.line === 'object' ? [[line.object.key, line.object] as const] : [])))
}

/** The content of a file, from the bucket alone. */
function restored(setting: SyncSetting, {object, offset, sizeBytes}: FileEntry, all: ReadonlyMap<string, ManifestObject>): Buffer {
  const {body} = setting.store.objects.get(setting.keys.absolute(object))!
  const described = all.get(object)!
  if (offset !== undefined) return body.subarray(offset, offset + sizeBytes)
  if (!described.zstd) return body
  const {offsets, frameBytes} = described.zstd
  const frames = offsets.map((begin, index) => zstdDecompressSync(body.subarray(begin, offsets[index + 1] ?? body.length)))
  for (const frame of frames.slice(0, -1)) expect(frame.length).to.equal(frameBytes)
  return Buffer.concat(frames)
}

/** Every object is as the manifest says, and every file of the manifest what lies on Barman's disk. */
export function expectFaithful(setting: SyncSetting, id = ID): FileEntry[] {
  const all = objects(setting, id)
  const root = join(setting.tree.baseDirectory, id)
  for (const {key, sizeBytes, sha256} of all.values()) {
    const {body} = setting.store.objects.get(setting.keys.absolute(key))!
    expect({key, sizeBytes: body.length, sha256: createHash('sha256').update(body).digest('hex')}).to.deep.equal({key, sizeBytes, sha256})
  }
  const files = readManifest(setting, id).filter((entry) => entry.type === 'file')
  for (const file of files) {
    const path = Buffer.concat([Buffer.from(`${root}/`), backupPathBytes(file.path)])
    expect(restored(setting, file, all).equals(readFileSync(path)), file.path).to.equal(true)
  }
  return files
}

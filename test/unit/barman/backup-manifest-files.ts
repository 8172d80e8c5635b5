import {createHash} from 'node:crypto'
import {readFileSync} from 'node:fs'
import path from 'node:path'
import {gunzipSync} from 'node:zlib'
import {crc32c} from '@node-rs/crc32'
import type {BackupPath} from '../../../src/lib/archive/backup-path.ts'
import {FIXTURES} from './fixtures.ts'

const DIRECTORY = path.join(FIXTURES, 'backup-manifests')

/** A real backup_manifest of test/fixtures/barman/backup-manifests. */
export function realManifest(name: string): Buffer {
  return gunzipSync(readFileSync(path.join(DIRECTORY, `${name}.manifest.gz`)))
}

/** A file of a backup: its place below `base/<id>/` and what was read of it. */
export interface BackedUpFile {
  readonly path: BackupPath
  readonly content: {readonly sizeBytes: number; readonly crc32c: number; readonly sha256: string}
}

/** Every file that lay in the backup of a real manifest. */
export function realFiles(name: string): BackedUpFile[] {
  const lines = gunzipSync(readFileSync(path.join(DIRECTORY, `${name}.files.gz`))).toString('utf8').trimEnd().split('\n')
  return lines.map((line) => {
    const [filePath, sizeBytes, sum, sha256] = JSON.parse(line) as [string, number, number, string]
    return {path: filePath as BackupPath, content: {sizeBytes, crc32c: sum, sha256}}
  })
}

/** What a reader finds out about these bytes. */
export function contentOf(content: string | Buffer): BackedUpFile['content'] {
  const bytes = Buffer.from(content)
  return {
    sizeBytes: bytes.length, crc32c: bytes.length === 0 ? 0 : crc32c(bytes),
    sha256: createHash('sha256').update(bytes).digest('hex'),
  }
}

/** A version 1 manifest with these entries (JSON texts) and a right Manifest-Checksum. */
export function manifestOf(...entries: readonly string[]): string {
  return sealed(`{ "PostgreSQL-Backup-Manifest-Version": 1,\n"Files": [\n${entries.join(',\n')}\n],\n"WAL-Ranges": [\n`
    + '{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" }\n],\n')
}

/** `body` with its Manifest-Checksum as the last line. */
export function sealed(body: string): string {
  return `${body}"Manifest-Checksum": "${createHash('sha256').update(body).digest('hex')}"}\n`
}

export interface Checksum {
  readonly algorithm: string
  readonly hex: string
}

/** An entry as PostgreSQL writes it; without `checksum` as for `--manifest-checksums=NONE`. */
export function entryOf(filePath: string, sizeBytes: number, checksum?: Checksum): string {
  const sum = checksum === undefined ? '' : `, "Checksum-Algorithm": "${checksum.algorithm}", "Checksum": "${checksum.hex}"`
  return `{ "Path": ${JSON.stringify(filePath)}, "Size": ${sizeBytes}, "Last-Modified": "2026-11-25 13:26:37 GMT"${sum} }`
}

/** Two backups of one server, the second one hard-linked to the first, and what others do to them in the bucket. */
import {createHash} from 'node:crypto'
import {linkSync, rmSync, utimesSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {gunzipSync, gzipSync} from 'node:zlib'
import {expect} from 'chai'
import type {BackupLayout} from '../../../src/lib/archive/manifest.ts'
import {formatTombstone} from '../../../src/lib/archive/markers.ts'
import type {BaseSyncOptions} from '../../../src/lib/sync/base-sync.ts'
import {watchStore, type StoreCall, type SyncSetting} from '../../support/sync-setting.ts'
import {ID, record, sync} from './base-setting.ts'
import {content} from './faithful.ts'

const MIB = 1024 ** 2
export const SECOND = '20261102T020000'
/** Files that are large enough to be objects of their own. */
export const big = 'data/base/1/big'
export const other = 'data/base/1/other'

/** A file of a backup on Barman's disk. */
export function pathOf({tree}: SyncSetting, path: string, id = ID): string {
  return join(tree.baseDirectory, id, path)
}

/** A run in one layout; `before` sees each request, with its key relative to the server's prefix. */
export async function run(
  setting: SyncSetting, layout: BackupLayout, options: Partial<BaseSyncOptions> = {}, before?: (call: StoreCall & {key: string}) => void | Promise<void>,
) {
  const store = watchStore(setting.store, {before: async (call) => await before?.({...call, key: setting.keys.relative(String(call.args[0]))})})
  const result = await sync(setting, options, {store, base: {...setting.context().base, layout}})
  return {...result, reason: result.backups.at(-1)?.reason ?? ''}
}

/** Everything in the bucket, by relative key, as SHA-256. */
export function snapshot({store, keys}: SyncSetting): Record<string, string> {
  return Object.fromEntries([...store.objects].map(([key, {body}]) => [keys.relative(key), createHash('sha256').update(body).digest('hex')]))
}

/** Puts a tombstone, and takes away what a deletion takes away first. */
export async function bury({store, keys}: SyncSetting, id: string, {withRecord}: {withRecord: boolean}): Promise<void> {
  await store.put(keys.tombstone(id), formatTombstone({backupId: id, writer: {id: 'x', host: 'h'}, deletedAt: '2026-11-02T00:00:00Z', reason: 'explicit'}), {kind: 'meta'})
  if (withRecord) for (const key of [keys.record(id), keys.manifest(id), keys.started(id)]) store.objects.delete(key)
}

/** Adds a backup whose large files are hard links to those of the one before. */
export function addLinked(setting: SyncSetting, id: string, linkTo: string): void {
  setting.tree.addBackup({id, linkTo})
  rmSync(pathOf(setting, 'data/backup_manifest', id), {force: true})
  for (const path of [big, other]) linkSync(pathOf(setting, path, linkTo), pathOf(setting, path, id))
}

/** The first backup in S3, and a second one here; `recorded`: in S3 too, as one that refers to the first. */
export async function prepare(setting: SyncSetting, {recorded, firstLayout = 'compact'}: {recorded: boolean; firstLayout?: BackupLayout}): Promise<SyncSetting> {
  for (const path of [big, other]) {
    writeFileSync(pathOf(setting, path), content(MIB, path))
    utimesSync(pathOf(setting, path), 1_700_000_000, 1_700_000_000)
  }
  rmSync(pathOf(setting, 'data/backup_manifest'))
  expect((await run(setting, firstLayout)).exitCode).to.equal(0)
  addLinked(setting, SECOND, ID)
  if (!recorded) return setting
  expect((await run(setting, 'compact')).exitCode).to.equal(0)
  expect(record(setting, SECOND)).to.deep.include({owners: [ID]})
  return setting
}

/** What is wrong with a manifest that has the digest its record names. */
export const spoiltLines = [
  ['of a newer format', (text: string) => text.replace('"version":1', '"version":99')],
  ['cut inside a line', (text: string) => text.slice(0, text.indexOf('"path":"data/base/1/big"') - 20)],
  ['cut before its last line', (text: string) => text.slice(0, text.indexOf('{"type":"end"'))],
  ['cut behind a line, before all objects', (text: string) => text.slice(0, text.indexOf('{"type":"object"'))],
  ['foreign', () => 'hello\n'],
] as const

/** Puts another manifest into the bucket, and its digest into the record. */
export function rewriteManifest({store, keys}: SyncSetting, id: string, change: (text: string) => string): void {
  const [manifest, described] = [store.objects.get(keys.manifest(id))!, store.objects.get(keys.record(id))!]
  const text = gunzipSync(manifest.body).toString()
  expect(change(text)).not.to.equal(text)
  const body = gzipSync(change(text))
  const {manifest: named, ...rest} = JSON.parse(described.body.toString()) as {manifest: object}
  const digest = {...named, sizeBytes: body.length, sha256: createHash('sha256').update(body).digest('hex')}
  store.objects.set(keys.manifest(id), {...manifest, body})
  store.objects.set(keys.record(id), {...described, body: Buffer.from(JSON.stringify({...rest, manifest: digest}))})
}

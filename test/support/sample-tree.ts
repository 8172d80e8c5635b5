/**
 * A synthetic Barman server directory for tests and the demo: no Barman, no PostgreSQL, but every kind of thing a real one has.
 * By default it is fixture T of the field cases: server `pg`, one DONE backup `20261101T020000` from WAL …05 to …06, WALs …05
 * to …08.
 * Everything in it depends on names, ids and the system id only, so two trees with the same options have the same bytes.
 */

import {
  appendFileSync, chmodSync, existsSync, linkSync, mkdirSync, openSync, closeSync, ftruncateSync, readdirSync, readFileSync,
  renameSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync, writeSync,
} from 'node:fs'
import {dirname, join} from 'node:path'
import type {BackupInfoFields} from './sample-tree/backup-info.ts'
import {changeBackupInfo, formatBackupInfo} from './sample-tree/backup-info.ts'
import {backupPlan} from './sample-tree/backup-plan.ts'
import type {BackupPlan} from './sample-tree/backup-plan.ts'
import type {FilledTreeOptions, SampleBackupOptions, SampleTreeOptions, SampleWalOptions} from './sample-tree/options.ts'
import {fillTreeOptions} from './sample-tree/options.ts'
import type {BackupFile} from './sample-tree/pgdata.ts'
import {formatBackupManifest, listBackupFiles, PGDATA_DIRECTORIES, tablespaceVersionDirectory} from './sample-tree/pgdata.ts'
import {formatWalName, hashDirectoryOf, parseWalName, walContent} from './sample-tree/wal.ts'

export type {SampleBackupOptions, SampleStatus, SampleTreeOptions, SampleWalOptions} from './sample-tree/options.ts'

/** Time of WAL segment 0: segment 5 then is of 2026-11-01 02:00 UTC, when the first backup began. */
const FIRST_WAL_TIME_MS = Date.UTC(2026, 10, 1, 1, 55)

/** Makes a sample tree below `directory` (which becomes barman_home and is created) and returns what adds to it. */
export function createSampleTree(directory: string, options: SampleTreeOptions = {}): SampleTree {
  const tree = new SampleTree(directory, fillTreeOptions(options))
  tree.createDirectories()
  if (tree.options.withBackup) {
    tree.addBackup({id: '20261101T020000', ...options.backup})
    tree.addWals(tree.nextWal(), 2)
  }
  return tree
}

/** One Barman server directory on disk and the steps that change it as Barman would. All paths are absolute. */
export class SampleTree {
  readonly options: FilledTreeOptions
  readonly barmanHome: string
  readonly serverName: string
  readonly serverDirectory: string
  readonly baseDirectory: string
  readonly walsDirectory: string
  readonly metaDirectory: string
  /** Path of xlog.db: `<server>-xlog.db`, or `xlog.db` when the metadata lies under base/. */
  readonly xlogDbPath: string
  readonly #plans = new Map<string, BackupPlan>()
  #lastWal: string | undefined

  constructor(directory: string, options: FilledTreeOptions) {
    this.options = options
    this.barmanHome = directory
    this.serverName = options.serverName
    this.serverDirectory = join(directory, options.serverName)
    this.baseDirectory = join(this.serverDirectory, 'base')
    this.walsDirectory = join(this.serverDirectory, 'wals')
    this.metaDirectory = join(this.serverDirectory, 'meta')
    this.xlogDbPath = join(this.walsDirectory, options.metadataPlace === 'meta' ? `${options.serverName}-xlog.db` : 'xlog.db')
  }

  /** Makes the server's directories and identity.json. */
  createDirectories(): void {
    const names = ['base', 'wals', 'incoming', 'streaming', 'errors', ...(this.options.metadataPlace === 'meta' ? ['meta'] : [])]
    for (const name of names) mkdirSync(join(this.serverDirectory, name), {recursive: true})
    if (!this.options.withIdentity) return
    const identity = {systemid: this.options.systemId, version: String(this.options.postgresMajor)}
    writeFileSync(join(this.serverDirectory, 'identity.json'), `${JSON.stringify(identity, undefined, 4)}\n`)
  }

  /** Path of the `backup.info` of a backup, in the place of this tree. */
  backupInfoPath(id: string): string {
    return this.options.metadataPlace === 'meta'
      ? join(this.metaDirectory, `${id}-backup.info`) : join(this.baseDirectory, id, 'backup.info')
  }

  /** Path of the keep annotation of a backup, in the place of this tree. */
  keepPath(id: string): string {
    return this.options.metadataPlace === 'meta'
      ? join(this.metaDirectory, `${id}-keep`) : join(this.baseDirectory, id, 'annotations', 'keep')
  }

  /** Path of `base/<id>/data`. */
  dataDirectory(id: string): string {
    return join(this.baseDirectory, id, 'data')
  }

  /** Adds a backup: its files, its WAL, then its metadata. Returns its id. */
  addBackup(options: SampleBackupOptions): string {
    const plan = backupPlan(options, this.options, options.beginWal ?? this.nextWal())
    this.#plans.set(plan.id, plan)
    if (options.withFiles !== false && plan.status !== 'EMPTY') this.#writeFiles(plan, options.linkTo)
    if (options.withWal !== false && plan.endWal !== undefined) this.#writeWalOf(plan)
    if (plan.parentId !== undefined) this.#addChild(plan.parentId, plan.id)
    this.writeBackupInfo(plan.id, formatBackupInfo(plan.fields))
    if (options.keep !== undefined) this.keep(plan.id, options.keep)
    return plan.id
  }

  /** Adds one WAL file of any name (segment, `.backup`, `.history`, `.partial`, or nonsense) to its place. Returns its path. */
  addWal(name: string, options: SampleWalOptions = {}): string {
    const path = join(this.walsDirectory, hashDirectoryOf(name), name)
    mkdirSync(dirname(path), {recursive: true})
    const isSegment = /^[\dA-F]{24}$/.test(name)
    if (options.content === undefined) this.#writeSegment(path, name, options.systemId ?? this.options.systemId)
    else writeFileSync(path, options.content)
    chmodSync(path, 0o600)
    const segment = /^[\dA-F]{24}/.test(name) ? parseWalName(name, this.options.segmentSizeBytes).segment : 0
    const modified = options.modifiedTime ?? new Date(FIRST_WAL_TIME_MS + Math.min(segment, 20_000) * 60_000)
    utimesSync(path, modified, modified)
    if (isSegment && (this.#lastWal === undefined || name > this.#lastWal)) this.#lastWal = name
    if (options.withXlogDbLine !== false) this.#appendXlogDb(path, name, modified, options.compression)
    return path
  }

  /** Adds `count` segments from `first` on; returns their names. */
  addWals(first: string, count: number, options: SampleWalOptions = {}): string[] {
    const {timeline, segment} = parseWalName(first, this.options.segmentSizeBytes)
    const names = Array.from({length: count}, (_, index) =>
      formatWalName({timeline, segment: segment + index}, this.options.segmentSizeBytes))
    for (const name of names) this.addWal(name, options)
    return names
  }

  /** Returns the segment after the highest one added; `000000010000000000000005` in an empty tree. */
  nextWal(): string {
    if (this.#lastWal === undefined) return formatWalName({timeline: 1, segment: 5}, this.options.segmentSizeBytes)
    const {timeline, segment} = parseWalName(this.#lastWal, this.options.segmentSizeBytes)
    return formatWalName({timeline, segment: segment + 1}, this.options.segmentSizeBytes)
  }

  /** Adds `<timeline>.history` with the given switch points (parent timeline, LSN); returns its path. */
  addHistoryFile(timeline: number, switches: readonly {readonly timeline: number, readonly lsn: string}[]): string {
    const text = switches.map(({timeline: parent, lsn}) => `${parent}\t${lsn}\tno recovery target specified\n`).join('\n')
    return this.addWal(`${timeline.toString(16).toUpperCase().padStart(8, '0')}.history`, {content: Buffer.from(text)})
  }

  /** Changes fields of a backup's `backup.info` as Barman does: new file, renamed over the old one. */
  changeBackupInfo(id: string, changes: BackupInfoFields): void {
    this.writeBackupInfo(id, changeBackupInfo(readFileSync(this.backupInfoPath(id), 'utf8'), changes))
  }

  /** Writes the text of a backup's `backup.info`: temporary file, then rename. */
  writeBackupInfo(id: string, text: string): void {
    const path = this.backupInfoPath(id)
    mkdirSync(dirname(path), {recursive: true})
    writeFileSync(`${path}.tmp`, text)
    renameSync(`${path}.tmp`, path)
  }

  /** Pins a backup as `barman keep` does: the bare word, no newline. */
  keep(id: string, target: 'full' | 'standalone'): void {
    mkdirSync(dirname(this.keepPath(id)), {recursive: true})
    writeFileSync(this.keepPath(id), target)
  }

  /** Takes a backup away as `barman delete` does, `backup.info` last; its WAL stays. */
  removeBackup(id: string): void {
    const parentId = this.#plans.get(id)?.parentId
    rmSync(join(this.baseDirectory, id), {recursive: true, force: true})
    rmSync(this.keepPath(id), {force: true})
    rmSync(this.backupInfoPath(id), {force: true})
    this.#plans.delete(id)
    if (parentId !== undefined && existsSync(this.backupInfoPath(parentId))) this.#writeChildren(parentId)
  }

  /** Returns the relative paths of all regular files of a backup, sorted by name. */
  listFiles(id: string): string[] {
    const entries = readdirSync(join(this.baseDirectory, id), {recursive: true, withFileTypes: true})
    const prefix = join(this.baseDirectory, id).length + 1
    return entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name).slice(prefix)).sort()
  }

  #writeFiles(plan: BackupPlan, linkTo: string | undefined): void {
    const root = join(this.baseDirectory, plan.id)
    mkdirSync(root, {recursive: true})
    const directories = ['data', ...PGDATA_DIRECTORIES.map(path => join('data', path))]
    if (this.options.postgresMajor >= 17) directories.push('data/pg_wal/summaries')
    for (const oid of plan.tablespaceOids) {
      const version = join(String(oid), tablespaceVersionDirectory(this.options.postgresMajor))
      directories.push(String(oid), version, join(version, '16384'))
      mkdirSync(join(root, 'data', 'pg_tblspc'), {recursive: true})
      symlinkSync(join(root, String(oid)), join(root, 'data', 'pg_tblspc', String(oid)))
    }
    for (const path of directories) mkdirSync(join(root, path), {recursive: true, mode: 0o700})
    const {postgresMajor} = this.options
    const files = listBackupFiles({...plan, backupId: plan.id, postgresMajor, isIncremental: plan.parentId !== undefined})
    const written = plan.isWhole ? files : files.slice(0, Math.ceil(files.length / 2))
    for (const file of written) this.#writeFile(root, file, plan.beginTime, linkTo)
    if (plan.isWhole) {
      const manifest = formatBackupManifest(files, {...plan, postgresMajor, time: plan.beginTime})
      this.#writeFile(root, {path: 'data/backup_manifest', content: Buffer.from(manifest)}, plan.beginTime, undefined)
    }
    for (const path of directories.reverse()) {
      chmodSync(join(root, path), 0o700)
      utimesSync(join(root, path), plan.beginTime, plan.beginTime)
    }
  }

  #writeFile(root: string, file: BackupFile, time: Date, linkTo: string | undefined): void {
    const path = join(root, file.path)
    const earlier = linkTo === undefined ? undefined : join(this.baseDirectory, linkTo, file.path)
    if (earlier !== undefined && existsSync(earlier) && readFileSync(earlier).equals(file.content)) {
      linkSync(earlier, path)
      return
    }
    writeFileSync(path, file.content, {mode: 0o600})
    utimesSync(path, time, time)
  }

  #writeWalOf(plan: BackupPlan): void {
    const {beginWal, endWal} = plan
    if (endWal === undefined) return
    const size = this.options.segmentSizeBytes
    const end = parseWalName(endWal, size)
    for (let segment = parseWalName(beginWal, size).segment; segment <= end.segment; segment++) {
      const name = formatWalName({timeline: end.timeline, segment}, size)
      if (!existsSync(join(this.walsDirectory, hashDirectoryOf(name), name))) this.addWal(name, {systemId: plan.systemId})
    }
    this.addWal(`${beginWal}.00000028.backup`, {content: Buffer.from(plan.backupHistory), modifiedTime: plan.endTime})
  }

  #writeSegment(path: string, name: string, systemId: string): void {
    const {segmentSizeBytes, walBytes, postgresMajor} = this.options
    const bytes = Math.max(40, Math.min(walBytes, segmentSizeBytes))
    const file = openSync(path, 'w', 0o600)
    try {
      writeSync(file, walContent(name, {bytes, segmentSizeBytes, systemId, postgresMajor}))
      ftruncateSync(file, segmentSizeBytes)
    } finally {
      closeSync(file)
    }
  }

  #appendXlogDb(path: string, name: string, modified: Date, compression: string | undefined): void {
    const columns = [name, statSync(path).size, modified.getTime() / 1000, compression ?? 'None']
    if (this.options.metadataPlace === 'meta') columns.push('None')
    appendFileSync(this.xlogDbPath, `${columns.join('\t')}\n`)
  }

  #addChild(parentId: string, childId: string): void {
    if (!existsSync(this.backupInfoPath(parentId))) throw new Error(`the parent ${parentId} of ${childId} is not in this tree`)
    this.#writeChildren(parentId)
  }

  /** barman: a parent names its children with commas, None when it has none. */
  #writeChildren(parentId: string): void {
    const children = [...this.#plans.values()].filter(plan => plan.parentId === parentId && plan.status !== 'STARTED')
    const ids = children.map(({id}) => id).sort().join(',')
    this.changeBackupInfo(parentId, {children_backup_ids: ids === '' ? null : ids})
  }
}


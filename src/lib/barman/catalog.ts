import {readdir, stat} from 'node:fs/promises'
import path from 'node:path'
import {BarmanFilesError, messageOf} from '../errors.ts'
import {parseBackupId} from './backup-id.ts'
import type {BackupId} from './backup-id.ts'
import {parseBackupInfo} from './backup-info.ts'
import type {BackupInfo} from './backup-info.ts'
import type {BarmanServer} from './server-directories.ts'
import {isMissing, readSmallFile, unreadable} from './small-file.ts'

/** How long Barman keeps a backup and its WAL (barman: `keep --target`). */
export type KeepTarget = 'full' | 'standalone'

/** One backup of the local catalogue: there is a backup.info for it. */
export interface CatalogBackup {
  readonly id: BackupId
  /** Undefined when the file could not be understood; `problem` says why. */
  readonly info: BackupInfo | undefined
  /** The file that counts: `meta/<id>-backup.info`, else `base/<id>/backup.info`. */
  readonly infoPath: string
  /** `base/<id>/backup.info` when both are there: Barman leaves the old one when it writes the new. */
  readonly oldInfoPath: string | undefined
  /** The bytes of `infoPath` exactly as on disk; undefined when they could not be read. */
  readonly infoText: Buffer | undefined
  /** Whether `base/<id>/data` (or `pgdata`, before Barman 1.4) is there. */
  readonly hasDataDirectory: boolean
  /** Whether backup.info is all there is of it (barman: `is_orphan`): a delete was broken off. Never so while EMPTY. */
  readonly isOrphan: boolean
  /** A keep file with any other text counts as `full`, which protects more. */
  readonly keepTarget: KeepTarget | undefined
  readonly keepPath: string | undefined
  /** Set while Barman deletes the backup, or after it was stopped in doing so. */
  readonly deleteMarkerPath: string | undefined
  readonly problem: string | undefined
}

/** Something of the catalogue that could not be read or understood. */
export interface CatalogProblem {
  readonly path: string
  readonly message: string
}

/** The backups of one server as its directories have them. */
export interface BarmanCatalog {
  readonly server: BarmanServer
  /** By begin time; those without one last, by id. */
  readonly backups: readonly CatalogBackup[]
  /** Ids with a directory below base/ and no backup.info: an import under way, or the end of a delete. */
  readonly dataOnlyIds: readonly BackupId[]
  readonly problems: readonly CatalogProblem[]
}

const META_INFO = /^(.{15})-backup\.info$/

/**
 * Reads the catalogue of `server` from its directories. A backup.info that cannot be read or understood becomes a
 * problem and a backup with `problem`; it does not hide the others. Throws BarmanFilesError when the server's directory is
 * missing, is not Barman's, or base/ or meta/ cannot be listed: half a catalogue would be worse than none.
 */
export async function readCatalog(server: BarmanServer, options: {signal?: AbortSignal} = {}): Promise<BarmanCatalog> {
  await checkServerDirectory(server)
  const problems: CatalogProblem[] = []
  const metaNames = (await listNames(server.metaDirectory)) ?? []
  const baseNames = await listNames(server.basebackupsDirectory)
  if (baseNames === undefined) problems.push({path: server.basebackupsDirectory, message: 'the directory does not exist'})
  const ids = new Set<BackupId>()
  for (const name of metaNames) addId(ids, META_INFO.exec(name)?.[1])
  for (const name of baseNames ?? []) addId(ids, name)
  const backups: CatalogBackup[] = []
  const dataOnlyIds: BackupId[] = []
  for (const id of ids) {
    options.signal?.throwIfAborted()
    const backup = await readBackupOrProblem(server, id)
    if (backup !== undefined) backups.push(backup)
    else if (await isDirectory(path.join(server.basebackupsDirectory, id))) dataOnlyIds.push(id)
    if (backup?.problem !== undefined) problems.push({path: backup.infoPath, message: backup.problem})
  }
  return {server, backups: backups.sort(compareBackups), dataOnlyIds: dataOnlyIds.sort(), problems}
}

/**
 * Reads one backup afresh; undefined when there is no backup.info for it. Throws BarmanFilesError only when its
 * directories cannot be looked at; a backup.info that cannot be read or understood is told in `problem`.
 */
export async function readBackup(server: BarmanServer, id: BackupId): Promise<CatalogBackup | undefined> {
  const directory = path.join(server.basebackupsDirectory, id)
  const inMeta = (suffix: string) => path.join(server.metaDirectory, `${id}-${suffix}`)
  const inAnnotations = (name: string) => path.join(directory, 'annotations', name)
  const [infoPath, otherInfoPath] = await existing(inMeta('backup.info'), path.join(directory, 'backup.info'))
  if (infoPath === undefined) return undefined
  const reading = await readInfo(infoPath)
  // Barman may have removed the file since: then there is no such backup any more.
  if (reading === undefined) return otherInfoPath === undefined ? undefined : readBackup(server, id)
  const [keepPath] = await existing(inMeta('keep'), inAnnotations('keep'))
  const [deleteMarkerPath] = await existing(inMeta('delete_this'), inAnnotations('delete_this'))
  const keep = keepPath === undefined ? {} : await readKeep(keepPath)
  const problem = [reading.problem, keep.problem].filter((text) => text !== undefined).join('; ')
  return {
    id,
    info: reading.info,
    infoPath,
    oldInfoPath: otherInfoPath,
    infoText: reading.bytes,
    hasDataDirectory: (await isDirectory(path.join(directory, 'data'))) || (await isDirectory(path.join(directory, 'pgdata'))),
    isOrphan: reading.info?.status !== 'EMPTY' && (await hasOnlyInfo(directory)),
    keepTarget: keep.target,
    keepPath,
    deleteMarkerPath,
    problem: problem === '' ? undefined : problem,
  }
}

/**
 * The chain of incrementals that ends with `id`, root first (barman: `walk_to_root`), or undefined when `id` or an
 * ancestor is not in the catalogue or cannot be read, or when the parents go round in a circle. `parent_backup_id` alone
 * decides; the children a parent names may be out of date.
 */
export function backupChain(catalog: BarmanCatalog, id: BackupId): CatalogBackup[] | undefined {
  const byId = new Map(catalog.backups.map((backup) => [backup.id, backup]))
  const chain: CatalogBackup[] = []
  for (let next: BackupId | undefined = id; next !== undefined; ) {
    const backup = byId.get(next)
    if (backup?.info === undefined || chain.includes(backup)) return undefined
    chain.unshift(backup)
    next = backup.info.parentBackupId
  }
  return chain
}

/** As `readBackup`; a backup whose directory may not be looked into is told as one, lest it seem to be gone. */
async function readBackupOrProblem(server: BarmanServer, id: BackupId): Promise<CatalogBackup | undefined> {
  try {
    return await readBackup(server, id)
  } catch (error: unknown) {
    if (!(error instanceof BarmanFilesError)) throw error
    return {
      id,
      info: undefined,
      infoPath: path.join(server.basebackupsDirectory, id, 'backup.info'),
      oldInfoPath: undefined,
      infoText: undefined,
      hasDataDirectory: false,
      isOrphan: false,
      keepTarget: undefined,
      keepPath: undefined,
      deleteMarkerPath: undefined,
      problem: messageOf(error),
    }
  }
}

async function checkServerDirectory(server: BarmanServer): Promise<void> {
  const {directory} = server
  const names = await listNames(directory)
  if (names === undefined) {
    throw new BarmanFilesError(`the directory ${directory} of server ${server.name} does not exist`, {
      hint: 'see whether its disk is mounted, and compare with backup_directory in `barman show-servers`',
    })
  }
  const parts = [server.basebackupsDirectory, server.walsDirectory, server.metaDirectory]
  const found = await Promise.all(parts.map((part) => isDirectory(part)))
  if (found.includes(true)) return
  const state = names.length === 0 ? 'is empty' : 'is not of Barman: it has none of base, wals and meta'
  throw new BarmanFilesError(`the directory ${directory} of server ${server.name} ${state}`, {
    hint: "name Barman's backup_directory of this server, and see whether its disk is mounted",
  })
}

async function readInfo(
  infoPath: string,
): Promise<{bytes: Buffer | undefined; info: BackupInfo | undefined; problem: string | undefined} | undefined> {
  let bytes: Buffer | undefined
  try {
    bytes = await readSmallFile(infoPath)
    if (bytes === undefined) return undefined
    return {bytes, info: parseBackupInfo(bytes.toString('utf8')), problem: undefined}
  } catch (error: unknown) {
    if (error instanceof BarmanFilesError) return {bytes, info: undefined, problem: messageOf(error)}
    throw error
  }
}

async function readKeep(keepPath: string): Promise<{target?: KeepTarget; problem?: string}> {
  try {
    const bytes = await readSmallFile(keepPath)
    if (bytes === undefined) return {}
    const text = bytes.toString('utf8').trim()
    if (text === 'full' || text === 'standalone') return {target: text}
  } catch (error: unknown) {
    if (!(error instanceof BarmanFilesError)) throw error
  }
  return {target: 'full', problem: `${keepPath} is not understood, so the backup counts as kept in full`}
}

async function hasOnlyInfo(directory: string): Promise<boolean> {
  const names = await listNames(directory)
  return names === undefined || (names.length === 1 && names[0] === 'backup.info')
}

/** Those of `paths` that exist, in the same order. */
async function existing(...paths: readonly string[]): Promise<string[]> {
  const found = await Promise.all(paths.map(async (candidate) => ((await statOf(candidate)) === undefined ? [] : [candidate])))
  return found.flat()
}

async function isDirectory(directory: string): Promise<boolean> {
  return (await statOf(directory))?.isDirectory() ?? false
}

async function statOf(filePath: string) {
  try {
    return await stat(filePath)
  } catch (error: unknown) {
    if (isMissing(error)) return undefined
    throw unreadable(filePath, error)
  }
}

async function listNames(directory: string): Promise<string[] | undefined> {
  try {
    return await readdir(directory)
  } catch (error: unknown) {
    if (isMissing(error)) return undefined
    throw unreadable(directory, error)
  }
}

function addId(ids: Set<BackupId>, text: string | undefined): void {
  const id = text === undefined ? undefined : parseBackupId(text)
  if (id !== undefined) ids.add(id)
}

function compareBackups(left: CatalogBackup, right: CatalogBackup): number {
  const leftTime = left.info?.beginTime?.getTime() ?? Number.POSITIVE_INFINITY
  const rightTime = right.info?.beginTime?.getTime() ?? Number.POSITIVE_INFINITY
  if (leftTime !== rightTime) return leftTime < rightTime ? -1 : 1
  return left.id < right.id ? -1 : left.id > right.id ? 1 : 0
}

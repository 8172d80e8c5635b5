import {join} from 'node:path'
import type {BarmanLab} from './barman-lab.ts'

/** How Barman takes backups; `postgres-tar-gzip` is method postgres with `backup_compression = gzip`. */
export type BackupMethod = 'postgres' | 'postgres-tar-gzip' | 'local-rsync'

/** What a lab is made of. */
export interface LabOptions {
  /** Default 3.19.1; the others installed are 3.13.1 and 2.19 (method postgres only: local-rsync came with 3.5). */
  readonly barmanVersion?: '3.19.1' | '3.13.1' | '2.19'
  /** Major version of PostgreSQL; default 15. */
  readonly postgres?: 15 | 18
  /** Default `postgres`. */
  readonly method?: BackupMethod
  /** Barman's `compression` of WAL; default none. */
  readonly walCompression?: 'gzip' | 'bzip2' | 'zstd' | 'lz4' | 'xz'
  /** Only the database `postgres`, without template0 and template1: a third of the files, which makes backups and copies fast. */
  readonly isSmall?: boolean
  /** One tablespace with a table in it. */
  readonly tablespace?: boolean
  readonly walSegmentSizeMiB?: number
  /** Needed for block-level incrementals (PostgreSQL 18). */
  readonly summarizeWal?: boolean
  /** Default `main-server`. */
  readonly serverName?: string
  /** More lines of the server section, such as `post_backup_script = …`. */
  readonly hookLines?: readonly string[]
}

/** Returns the text of barman.conf. */
export function formatGlobalSection(lab: BarmanLab): string {
  return [
    '[barman]', `barman_user = ${lab.user.name}`, `barman_home = ${lab.barmanHome}`,
    `configuration_files_directory = ${join(lab.directory, 'barman.d')}`, `log_file = ${lab.logFile}`, 'log_level = INFO', '',
  ].join('\n')
}

/** Returns the text of the server section. */
export function formatServerSection(lab: BarmanLab): string {
  const {method = 'postgres', walCompression, hookLines = []} = lab.options
  const connection = `host=${lab.socketDirectory} port=${lab.postgres.port} user=barman dbname=postgres`
  return [
    `[${lab.serverName}]`, `description = "lab ${lab.serverName}"`, `conninfo = ${connection}`,
    `streaming_conninfo = ${connection}`,
    ...linesOfMethod(method), 'archiver = on', 'immediate_checkpoint = true', 'backup_options = concurrent_backup',
    `path_prefix = ${lab.postgres.binDirectory}`,
    ...(walCompression === undefined ? [] : [`compression = ${walCompression}`]),
    ...hookLines, '',
  ].join('\n')
}

function linesOfMethod(method: BackupMethod): string[] {
  switch (method) {
    case 'postgres': return ['backup_method = postgres']
    case 'postgres-tar-gzip': return ['backup_method = postgres', 'backup_compression = gzip', 'backup_compression_format = tar']
    case 'local-rsync': return ['backup_method = local-rsync', 'reuse_backup = link']
  }
}

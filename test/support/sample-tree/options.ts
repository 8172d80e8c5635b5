/** Options of the sample tree and their defaults: fixture T of the field cases. */

/** Status of a backup in Barman (barman: infofile.py). */
export type SampleStatus = 'EMPTY' | 'STARTED' | 'WAITING_FOR_WALS' | 'DONE' | 'SYNCING' | 'FAILED'

/** What a sample tree is made of; every value has a default. */
export interface SampleTreeOptions {
  /** Name of the Barman server; default `pg`. */
  readonly serverName?: string
  /** PostgreSQL's system identifier; default `7300000000000000001`. */
  readonly systemId?: string
  /** Major version of PostgreSQL; default 16. */
  readonly postgresMajor?: number
  /** Place of `backup.info` and keep: `meta/` as Barman ≥ 3.13.3 does (default), or `base/<id>/` as Barman ≤ 3.13.1. */
  readonly metadataPlace?: 'meta' | 'base'
  /** Size of every WAL segment; default 16 MiB. Files are sparse but for `walBytes`. */
  readonly segmentSizeBytes?: number
  /** How many bytes at the start of each segment are written (at least 40); default 8192; `Infinity` fills the segment. */
  readonly walBytes?: number
  /** `false` leaves out the backup `20261101T020000` and its WAL: a server that has only its directories. */
  readonly withBackup?: boolean
  /** `false` leaves out identity.json, as on a passive node. */
  readonly withIdentity?: boolean
  /** Further options of the first backup. */
  readonly backup?: Partial<SampleBackupOptions>
}

/** What one backup is made of; only `id` is needed. */
export interface SampleBackupOptions {
  /** Backup id, `YYYYMMDDTHHMMSS`. */
  readonly id: string
  /** Default DONE. EMPTY has neither files nor values, STARTED and FAILED a half-filled `data/` and no end. */
  readonly status?: SampleStatus
  /** Value of `backup_name`. */
  readonly name?: string
  /** Default: the id read as UTC. */
  readonly beginTime?: Date
  /** Default: four minutes after `beginTime`. */
  readonly endTime?: Date
  /** Default: the segment after the last one known, `000000010000000000000005` at first. */
  readonly beginWal?: string
  /** Default: the segment after `beginWal`. */
  readonly endWal?: string
  /** Default: the timeline in `beginWal`. */
  readonly timeline?: number
  /** Default: the tree's. */
  readonly systemId?: string
  /** Makes a block-level incremental of this backup; the parent's `children_backup_ids` is rewritten as Barman does. */
  readonly parentId?: string
  /** Hard-links every file that is equal to the one of this backup, as `reuse_backup = link` does. */
  readonly linkTo?: string
  /** Text of a keep annotation. */
  readonly keep?: 'full' | 'standalone'
  /** OIDs of tablespaces; default one, 16385. */
  readonly tablespaceOids?: readonly number[]
  /** More files of 16 KiB; default none. */
  readonly extraFiles?: number
  /** Size of the largest file; default 256 KiB. */
  readonly largeFileBytes?: number
  /** `false` writes no `base/<id>`: only the metadata. */
  readonly withFiles?: boolean
  /** `false` adds no WAL; by default begin to end WAL and the `.backup` file are archived unless they are there. */
  readonly withWal?: boolean
  /** Fields of `backup.info` to set or add last of all. */
  readonly fields?: Readonly<Record<string, string | number | null>>
}

/** One WAL file to add. */
export interface SampleWalOptions {
  /** Whole content, in place of the generated one. */
  readonly content?: Buffer
  /** Compression named in xlog.db; the content is not changed. */
  readonly compression?: string
  /** Default: the tree's; another gives the same segment of another cluster. */
  readonly systemId?: string
  /** Default: a minute per segment, from 2026-11-01 01:55 UTC on. */
  readonly modifiedTime?: Date
  /** `false` writes no line in xlog.db. */
  readonly withXlogDbLine?: boolean
}

/** Options with all defaults filled in. */
export type FilledTreeOptions = Required<Omit<SampleTreeOptions, 'backup'>> & Pick<SampleTreeOptions, 'backup'>

/** Fills in the defaults: fixture T. */
export function fillTreeOptions(options: SampleTreeOptions): FilledTreeOptions {
  return {
    serverName: 'pg',
    systemId: '7300000000000000001',
    postgresMajor: 16,
    metadataPlace: 'meta',
    segmentSizeBytes: 16_777_216,
    walBytes: 8192,
    withBackup: true,
    withIdentity: true,
    ...options,
  }
}

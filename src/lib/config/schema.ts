/**
 * The configuration as the rest of the program sees it: checked, with units parsed and defaults filled in.
 * Only settings that have an effect in this version exist.
 */
import type {ArchiveUri} from './archive-uri.ts'

export type {ArchiveUri} from './archive-uri.ts'

/** How a backup's files lie in S3. This version knows `mirror`: one object per file. */
export type BaseLayout = 'mirror'

export interface EncryptionConfig {
  readonly type: 'AES256' | 'aws:kms'
  /** KMS key id or ARN; only with `aws:kms`, and the account's default key when absent. */
  readonly keyId?: string
}

export interface S3Config {
  /** Absent when not configured: `requireArchiveUri` is for whoever needs it. */
  readonly uri?: ArchiveUri
  /** `http://` or `https://` address without credentials, query and closing slash; absent for AWS. */
  readonly endpoint?: string
  readonly region?: string
  /** Profile of the AWS configuration files. */
  readonly profile?: string
  /** Absent: the store decides (path style for custom endpoints). */
  readonly forcePathStyle?: boolean
  readonly storageClass: {readonly base?: string; readonly wal?: string}
  readonly tags: Readonly<Record<string, string>>
  readonly encryption?: EncryptionConfig
  /** Absent: found by a probe. */
  readonly conditionalPut?: 'native' | 'head-first'
  /** A request on which nothing moves for this long has failed. */
  readonly timeoutMs: number
  /** Tries of one request, the first included. */
  readonly maxAttempts: number
}

export interface BarmanConfig {
  /** Barman's configuration file; absent when none was given and `/etc/barman.conf` does not exist. */
  readonly configuration?: string
  /** Name or absolute path of the program `barman`. */
  readonly command: string
  /** Barman's `barman_home`: with it, a server's directory is `<home>/<server>` and barman itself is not asked. */
  readonly home?: string
}

/** Barman's directories of one server; what is absent is asked from barman or derived from `directory`. */
export interface ServerConfig {
  /** Barman's `backup_directory`. */
  readonly directory?: string
  /** Barman's `basebackups_directory`. */
  readonly basebackupsDirectory?: string
  /** Barman's `wals_directory`. */
  readonly walsDirectory?: string
  /** Barman's `meta` directory. */
  readonly metaDirectory?: string
  /** Barman's `xlogdb_directory`. */
  readonly xlogdbDirectory?: string
  /** Barman's `barman_lock_directory`. */
  readonly lockDirectory?: string
  /** Another archive for this server than `s3.uri`. */
  readonly uri?: ArchiveUri
  readonly base?: {readonly layout?: BaseLayout}
}

export interface Config {
  readonly s3: S3Config
  readonly barman: BarmanConfig
  /** By Barman server name; a server need not be here. */
  readonly servers: Readonly<Record<string, ServerConfig>>
  readonly base: {readonly layout: BaseLayout}
  readonly transfer: {
    /** Requests at the same time, 1 to 128. */
    readonly concurrency: number
    /** Bytes of one part of a multipart upload, 5 MiB to 5 GiB. */
    readonly partSizeBytes: number
  }
  readonly queue: {readonly directory: string}
  readonly state: {readonly directory: string}
}

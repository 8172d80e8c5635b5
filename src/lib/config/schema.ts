/**
 * The configuration as the rest of the program sees it: checked, with units parsed and defaults filled in.
 * Only settings that have an effect in this version exist.
 */
import {normalize} from 'node:path'
import * as z from 'zod'
import {messageOf} from '../errors.ts'
import type {ArchiveUri} from './archive-uri.ts'
import {parseArchiveUri} from './archive-uri.ts'
import {MAX_BANDWIDTH, MAX_CONCURRENCY, PART_SIZE, type Limits} from './limits.ts'
import {parseBandwidth, parseDuration, parseDurationOrZero, parseSize} from './units.ts'

export type {ArchiveUri} from './archive-uri.ts'

/**
 * How a backup's files lie in S3. `mirror`: each file is one object of its own bytes; `compact`: small files in packs,
 * large ones compressed, unchanged ones referred to.
 */
export type BaseLayout = 'mirror' | 'compact'

/** How large files are stored in layout compact, where they shrink. */
export type BaseCompression = 'zstd' | 'none'

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
  /** Parts that one multipart upload may have in this store. */
  readonly maxParts: number
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
  readonly base: {
    readonly layout: BaseLayout
    readonly compression: BaseCompression
    /** Level of zstd, 1 to 19. */
    readonly compressionLevel: number
    /** Nothing of a backup whose record is older is referred to; 0: nothing at all is. */
    readonly maxReferenceAgeMs: number
  }
  readonly transfer: {
    /** Requests at the same time, 1 to 128. */
    readonly concurrency: number
    /** Bytes of one part of a multipart upload, 5 MiB to 5 GiB. */
    readonly partSizeBytes: number
    /** Bytes a second over all connections; 0: no limit. */
    readonly maxBandwidthBytes: number
    /** An upload nobody went on with for so long is given up. */
    readonly abandonAfterMs: number
  }
  readonly queue: {readonly directory: string}
  readonly state: {readonly directory: string}
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** A text, possibly checked and changed by `parse`, whose error becomes the problem. */
function text<Value>(parse: (value: string) => Value): z.ZodType<Value> {
  return z.string('must be a text (put it in quotes)').transform((value, context) => {
    try {
      return parse(value)
    } catch (error) {
      context.issues.push({code: 'custom', message: messageOf(error), input: value})
      return z.NEVER
    }
  })
}

/** A whole number, size or duration within limits; what it must be is said in `range`. */
function amount(parse: (value: string | number) => number, {least, most}: Limits, range: string): z.ZodType<number> {
  return z.union([z.string(), z.number()], `must be ${range}`).transform((value, context) => {
    const parsed = parseOrNaN(parse, value)
    if (parsed >= least && parsed <= most) return parsed
    context.issues.push({code: 'custom', message: `must be ${range}`, input: value})
    return z.NEVER
  })
}

function parseOrNaN(parse: (value: string | number) => number, value: string | number): number {
  try {
    return parse(value)
  } catch {
    return Number.NaN
  }
}

function parseWhole(value: string | number): number {
  return /^\d{1,9}$/.test(String(value)) ? Number(value) : Number.NaN
}

function parsePlain(value: string): string {
  if (value.trim() === '') throw new Error('must not be empty')
  if (value !== value.trim()) throw new Error('has a blank at its beginning or end')
  if (/[\u0000-\u001f\u007f]/.test(value)) throw new Error('has a control character')
  return value
}

/** Absolute, so that cron, the hook and a shell mean the same place; `..`, `//` and a closing slash are resolved. */
function parsePath(value: string): string {
  parsePlain(value)
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(value)) {
    throw new Error('is an address, not a path: barmans3 copies directories of this host')
  }
  if (value.startsWith('~')) throw new Error('must be an absolute path; ~ is not known here')
  if (!value.startsWith('/')) throw new Error('must be an absolute path')
  const path = normalize(value)
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path
}

function parseCommand(value: string): string {
  parsePlain(value)
  if (value.startsWith('/')) return normalize(value)
  if (/[\s/]/.test(value)) throw new Error('must be the name of a program or its absolute path, without arguments')
  return value
}

function parseEndpoint(value: string): string {
  parsePlain(value)
  const url = URL.parse(value)
  if (url === null || !/^https?:\/\//i.test(value)) throw new Error('must begin with https:// or http://, then the host')
  if (url.username !== '' || url.password !== '') {
    throw new Error('must not have credentials in it; they come from the AWS chain')
  }
  if (value.includes('?') || value.includes('#')) throw new Error('must not have a query or fragment (? or #)')
  return url.href.replace(/\/+$/, '')
}

function parseRegion(value: string): string {
  if (!/^[A-Za-z0-9-]{1,63}$/.test(value)) throw new Error('must be a region such as eu-central-1')
  return value
}

function parseStorageClass(value: string): string {
  if (!/^[A-Z][A-Z0-9_]{0,63}$/.test(value)) throw new Error('must be a storage class such as STANDARD_IA')
  return value
}

const path = text(parsePath)
const plain = text(parsePlain)
const archiveUri = text(parseArchiveUri)
const storageClass = text(parseStorageClass)

const layout = text((value): BaseLayout => {
  if (value !== 'mirror' && value !== 'compact') throw new Error('must be compact or mirror')
  return value
})

const BANDWIDTH_RANGE = 'a size per second of at least 64KiB, such as 50MiB, or 0 for no limit'
const bandwidth = amount(parseBandwidth, {...MAX_BANDWIDTH, least: 0}, BANDWIDTH_RANGE)
  .refine((value) => value === 0 || value >= MAX_BANDWIDTH.least, `must be ${BANDWIDTH_RANGE}`)

/** AWS: tag restrictions (10 tags, 128 and 256 characters, `aws:` is reserved). */
const tags = z
  .record(
    z.string().regex(/^(?!aws:)[\p{L}\p{N} +\-=._:/@]{1,128}$/u, 'is not a possible name of a tag'),
    z.string('must be a text (put it in quotes)').regex(/^[\p{L}\p{N} +\-=._:/@]{0,256}$/u, 'is not a possible value of a tag'),
  )
  .refine((map) => Object.keys(map).length <= 10, 'must be at most 10 tags')

const encryption = z
  .strictObject({type: z.enum(['AES256', 'aws:kms'], 'must be AES256 or aws:kms'), keyId: plain.optional()})
  .refine(({type, keyId}) => keyId === undefined || type === 'aws:kms', {
    path: ['keyId'],
    message: 'is only for the type aws:kms',
  })

const server = z.strictObject({
  directory: path.optional(),
  basebackupsDirectory: path.optional(),
  walsDirectory: path.optional(),
  metaDirectory: path.optional(),
  xlogdbDirectory: path.optional(),
  lockDirectory: path.optional(),
  uri: archiveUri.optional(),
  base: z.strictObject({layout: layout.optional()}).optional(),
})

/** A server's name is a part of paths and keys; `barman` and `all` are names of Barman's own. */
const serverName = z.string().refine((name) => {
  return !/[\u0000-\u001f\u007f/\\]/.test(name) && !['', '.', '..', '__proto__', 'barman', 'all'].includes(name)
}, 'is not a possible name of a Barman server')

/** Checks the merged settings, in which the defaults are already filled in, and gives the Config. */
export const configSchema = z
  .strictObject({
    s3: z.strictObject({
      uri: archiveUri.optional(),
      endpoint: text(parseEndpoint).optional(),
      region: text(parseRegion).optional(),
      profile: plain.optional(),
      forcePathStyle: z.boolean('must be true or false').optional(),
      storageClass: z.strictObject({base: storageClass.optional(), wal: storageClass.optional()}).default({}),
      tags: tags.default({}),
      encryption: encryption.optional(),
      conditionalPut: z.enum(['native', 'head-first'], 'must be native or head-first').optional(),
      timeout: amount(parseDuration, {least: 1000, most: DAY_MS}, 'a duration with its unit from 1s to 1d, such as 60s'),
      maxAttempts: amount(parseWhole, {least: 1, most: 100}, 'a whole number from 1 to 100'),
      maxParts: amount(parseWhole, {least: 100, most: 10_000}, 'a whole number from 100 to 10000'),
    }),
    barman: z.strictObject({configuration: path.optional(), command: text(parseCommand), home: path.optional()}),
    servers: z.record(serverName, server).default({}),
    base: z.strictObject({
      layout,
      compression: z.enum(['zstd', 'none'], 'must be zstd or none'),
      compressionLevel: amount(parseWhole, {least: 1, most: 19}, 'a whole number from 1 to 19'),
      maxReferenceAge: amount(parseDurationOrZero, {least: 0, most: 3650 * DAY_MS}, 'a duration with its unit up to 3650d, such as 30d, or 0'),
    }),
    transfer: z.strictObject({
      concurrency: amount(parseWhole, MAX_CONCURRENCY, 'a whole number from 1 to 128'),
      partSize: amount(parseSize, PART_SIZE, 'a size from 5MiB to 5GiB, such as 16MiB'),
      maxBandwidth: bandwidth,
      abandonAfter: amount(parseDuration, {least: HOUR_MS, most: 365 * DAY_MS}, 'a duration with its unit from 1h to 365d, such as 3d'),
    }),
    queue: z.strictObject({directory: path}),
    state: z.strictObject({directory: path}),
  })
  .transform(({s3: {timeout, ...s3}, base: {maxReferenceAge, ...base}, transfer, ...rest}): Config => ({
    ...rest,
    s3: {...s3, timeoutMs: timeout},
    base: {...base, maxReferenceAgeMs: maxReferenceAge},
    transfer: {
      concurrency: transfer.concurrency,
      partSizeBytes: transfer.partSize,
      maxBandwidthBytes: transfer.maxBandwidth,
      abandonAfterMs: transfer.abandonAfter,
    },
  }))

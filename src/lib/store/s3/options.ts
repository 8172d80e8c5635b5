import type {Clock} from '../../clock.ts'
import type {Throttle} from '../throttle.ts'

/** What `onRetry` is told before a request is sent again. */
export interface RetryNotice {
  /** S3 operation name, such as `PutObject`. */
  readonly operation: string
  /** The number of the attempt that failed, from 1. */
  readonly attempt: number
  /** How long the request now waits. */
  readonly pauseMs: number
  /** What happened, in a few words; never holds a secret. */
  readonly reason: string
}

/**
 * How a store takes `If-None-Match: *` on a PUT. `native`: it refuses with 412. `head-first`: it ignores it, so every
 * conditional PUT asks by HEAD first (two writers at the same moment can then both write). See `probeConditionalPut`.
 */
export type ConditionalPut = 'native' | 'head-first'

/** The S3 store of one bucket. Only `bucket` and `clock` are needed; everything left out has the default named here. */
export interface S3StoreOptions {
  readonly bucket: string
  /** Such as `https://s3.example.com:9000`. Else AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile's endpoint_url, else AWS. */
  readonly endpoint?: string
  /** Else AWS_REGION, AWS_DEFAULT_REGION, the profile's region, else `us-east-1`. */
  readonly region?: string
  /** `https://host/bucket/key` instead of `https://bucket.host/key`. Default: true with an endpoint of one's own. */
  readonly forcePathStyle?: boolean
  /** Storage class by kind of object; `meta` is always STANDARD. Left out: the bucket decides. */
  readonly storageClass?: {readonly base?: string; readonly wal?: string}
  /** Tags of every object written. */
  readonly tags?: Readonly<Record<string, string>>
  readonly encryption?: {readonly type: 'AES256' | 'aws:kms'; readonly keyId?: string}
  /** Profile of ~/.aws/config and ~/.aws/credentials; beats keys in the environment, as `aws --profile`. Else AWS_PROFILE. */
  readonly profile?: string
  /** Requests the caller has under way at most; connections kept open. Default 16. */
  readonly concurrency?: number
  /** Attempts of one request, the first included. Default 8: about half a minute of pauses, a minute when told to slow down. */
  readonly maxAttempts?: number
  /** Parts that one multipart upload may have; some stores take fewer than AWS. Default 10,000. */
  readonly maxParts?: number
  /** Time to make a connection. Default 10 s. */
  readonly connectTimeoutMs?: number
  /** A connection on which nothing moved for so long is given up and the request sent again on a new one. Default 60 s. */
  readonly idleTimeoutMs?: number
  /** Default `native`. */
  readonly conditionalPut?: ConditionalPut
  /**
   * Environment variables; default `process.env`. Proxy variables and the SDK's own providers (SSO, web identity,
   * instance) read `process.env` all the same.
   */
  readonly environment?: NodeJS.ProcessEnv
  /** Times the pauses between attempts. */
  readonly clock: Clock
  /** The limit of bytes a second, shared by all stores of a run; left out: none. */
  readonly throttle?: Throttle
  readonly onRetry?: (notice: RetryNotice) => void
}

export const DEFAULTS = {
  concurrency: 16,
  maxAttempts: 8,
  maxParts: 10_000,
  connectTimeoutMs: 10_000,
  idleTimeoutMs: 60_000,
} as const

/**
 * The place of an archive, written as `s3://bucket/prefix`. Pure: text in, bucket and prefix out.
 */
import {UsageError} from '../errors.ts'

/** Bucket and prefix of an archive. Keys are `<prefix>/<server>/…`, or `<server>/…` when the prefix is empty. */
export interface ArchiveUri {
  readonly bucket: string
  /** Neither begins nor ends with `/`, has no empty part; empty for the whole bucket. */
  readonly prefix: string
}

/** S3 allows 1024 bytes of key; Barman's relative paths must fit behind the prefix. */
const MAX_PREFIX_BYTES = 255

/**
 * `s3://bucket/prefix` → bucket and prefix. Slashes at the end and repeated slashes are dropped, so that `s3://b/p`,
 * `s3://b/p/` and `s3://b//p` name the same keys and no key has `//` or a leading `/`.
 * Throws UsageError, never with the text itself (it may hold credentials), for another scheme, credentials, a query or
 * fragment, control characters, blanks around it, backslashes, parts `.` and `..`, and names no bucket can have
 * (AWS bucket naming rules, widened by what old buckets and other servers allow: capitals, underscores, any length).
 */
export function parseArchiveUri(text: string): ArchiveUri {
  if (/[\u0000-\u001f\u007f-\u009f]/.test(text)) throw refused('has a control character (perhaps a line end)')
  if (text !== text.trim()) throw refused('has a blank at its beginning or end')
  const rest = /^s3:\/\/(.*)$/.exec(text)?.[1]
  if (rest === undefined) throw refused('must look like s3://bucket/prefix')
  if (/[?#]/.test(rest)) throw refused('must not have a query or fragment (? or #)')
  if (rest.includes('\\')) throw refused('has a backslash')

  const [bucket = '', ...tail] = rest.split('/')
  const parts = tail.filter((part) => part !== '')
  checkBucket(bucket)
  if (parts.some((part) => part === '.' || part === '..')) throw refused('must not have the parts . or ..')
  if (parts.some((part) => part !== part.trim())) throw refused('has a blank at the beginning or end of a part')
  const prefix = parts.join('/')
  if (Buffer.byteLength(prefix) > MAX_PREFIX_BYTES) throw refused(`has a prefix of more than ${MAX_PREFIX_BYTES} bytes`)
  return {bucket, prefix}
}

/** Bucket and prefix → `s3://bucket/prefix`, which parseArchiveUri reads back as the same. */
export function formatArchiveUri(uri: ArchiveUri): string {
  return uri.prefix === '' ? `s3://${uri.bucket}` : `s3://${uri.bucket}/${uri.prefix}`
}

function checkBucket(bucket: string): void {
  if (bucket === '') throw refused('has no bucket name')
  if (bucket.includes('@')) throw refused('must not have credentials in it; they come from the AWS chain')
  if (bucket.includes(':')) throw refused('must not have a host or port in it; that is the setting s3.endpoint')
  if (!/^[A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?$/.test(bucket) || bucket.includes('..')) {
    throw refused('names no possible bucket (a-z, 0-9, dots and hyphens, beginning and ending with a letter or digit)')
  }
}

function refused(why: string): UsageError {
  return new UsageError(`the address of the archive ${why}`, {hint: 'write it as s3://bucket/prefix'})
}

/**
 * The place of an archive, written as `s3://bucket/prefix`. Pure: text in, bucket and prefix out.
 */

/** Bucket and prefix of an archive. Keys are `<prefix>/<server>/…`, or `<server>/…` when the prefix is empty. */
export interface ArchiveUri {
  readonly bucket: string
  /** Neither begins nor ends with `/`, has no empty part; empty for the whole bucket. */
  readonly prefix: string
}

/** The text is not the address of an archive; `message` says why, without repeating the text. */
export class ArchiveUriError extends Error {
  override readonly name = 'ArchiveUriError'
}

/**
 * `s3://bucket/prefix` → bucket and prefix. Slashes at the end and repeated slashes are dropped, so that `s3://b/p`,
 * `s3://b/p/` and `s3://b//p` name the same keys and no key has `//` or a leading `/`.
 * Throws ArchiveUriError for any other scheme, credentials, query or fragment, control characters, backslashes,
 * parts `.` and `..`, and names no bucket can have (AWS: bucket naming rules; ports, addresses and dots are let
 * through as far as S3-compatible servers allow them).
 */
export function parseArchiveUri(text: string): ArchiveUri {
  if (/[\u0000-\u001f\u007f-\u009f]/.test(text)) throw new ArchiveUriError('has a control character')
  if (text !== text.trim()) throw new ArchiveUriError('has a blank at its beginning or end')
  const rest = /^s3:\/\/(.*)$/.exec(text)?.[1]
  if (rest === undefined) throw new ArchiveUriError('must look like s3://bucket/prefix')
  if (/[?#]/.test(rest)) throw new ArchiveUriError('must not have a query or fragment (? or #)')
  if (rest.includes('\\')) throw new ArchiveUriError('has a backslash')

  const slash = rest.indexOf('/')
  const bucket = slash === -1 ? rest : rest.slice(0, slash)
  const parts = slash === -1 ? [] : rest.slice(slash + 1).split('/').filter((part) => part !== '')
  checkBucket(bucket)
  if (parts.some((part) => part === '.' || part === '..')) throw new ArchiveUriError('must not have the parts . or ..')
  const prefix = parts.join('/')
  // S3 allows 1024 bytes of key; what Barman's relative paths need must still fit.
  if (Buffer.byteLength(prefix) > 512) throw new ArchiveUriError('has a prefix of more than 512 bytes')
  return {bucket, prefix}
}

/** Bucket and prefix → `s3://bucket/prefix`; what parseArchiveUri reads back as the same. */
export function formatArchiveUri(uri: ArchiveUri): string {
  return uri.prefix === '' ? `s3://${uri.bucket}` : `s3://${uri.bucket}/${uri.prefix}`
}

function checkBucket(bucket: string): void {
  if (bucket === '') throw new ArchiveUriError('has no bucket name')
  if (bucket.includes('@')) throw new ArchiveUriError('must not have credentials; they come from the AWS chain')
  if (bucket.includes(':')) throw new ArchiveUriError('must not have a host or port; set s3.endpoint for that')
  // Old buckets in us-east-1 and many other servers allow capitals and underscores, so only the impossible is refused.
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$/.test(bucket) || bucket.includes('..')) {
    throw new ArchiveUriError('has a bucket name that cannot exist (3 or more of a-z, 0-9, dot and hyphen)')
  }
}

import type {StoreAnswer} from './answer.ts'
import type {Place} from './client.ts'

/** What was being done, for the message. */
export interface RequestContext {
  /** In words, as `write` or `list`. */
  readonly action: string
  readonly key?: string
  readonly place: Place
  /** Many requests in a row failed to the end: the store as a whole does not serve. */
  readonly isOutOfService?: boolean
}

/** What a refusal means. */
export interface Verdict {
  readonly says: string
  readonly scope: 'request' | 'run'
  readonly hint: string
  /** The store itself failed, and may work later. */
  readonly isPassing?: boolean
}

const CHECK_KEYS =
  'check the access key and the secret (environment, ~/.aws/credentials), and that they belong to this endpoint'

/** The table: what the store's codes mean and what to do. */
export function verdictOn(answer: StoreAnswer, context: RequestContext): Verdict {
  const {place} = context
  const run = (says: string, hint: string): Verdict => ({says, scope: 'run', hint})
  const request = (says: string, hint: string): Verdict => ({says, scope: 'request', hint})
  if (answer.region !== undefined && answer.region !== place.region && isRegionAnswer(answer)) {
    return run(`the bucket is in region ${answer.region}, not ${place.region}`, `set s3.region to ${answer.region}`)
  }

  switch (answer.code) {
    case 'SignatureDoesNotMatch':
      return run('the secret does not fit the access key (SignatureDoesNotMatch)', CHECK_KEYS)
    case 'InvalidAccessKeyId':
    case 'XAdminUserNotFound':
    case 'XAdminNoSuchUser':
    case 'InvalidToken':
      return run(`the store does not know the access key (${answer.code})`, CHECK_KEYS)
    case 'ExpiredToken':
    case 'TokenRefreshRequired':
      return run(`the session token has expired (${answer.code})`, 'get a new token, or use keys that do not expire')
    case 'NoSuchBucket':
      return run(`there is no bucket ${place.bucket}`, 'make the bucket, or correct s3.uri; barmans3 never makes one')
    case 'InvalidBucketName':
      return run(`${place.bucket} is not a name of a bucket`, 'correct s3.uri')
    case 'RequestTimeTooSkewed':
    case 'RequestExpired':
    case 'RequestInTheFuture':
      return run(skewOf(answer), 'set the clock of this host (NTP) and run again')
    case 'PermanentRedirect':
    case 'TemporaryRedirect':
    case 'AuthorizationHeaderMalformed':
    case 'IllegalLocationConstraintException':
      return run(
        `the store expects another region or endpoint than ${place.region} (${answer.code})`,
        'set s3.region to the region of the bucket, and s3.endpoint to its endpoint',
      )
    case 'AccessDenied':
    case 'AccountProblem':
    case 'AllAccessDisabled':
    case 'InvalidObjectState':
      if (answer.code === 'InvalidObjectState')
        return request(
          'the object is in an archive class and must be restored by the store first',
          'ask the store to restore it (aws s3api restore-object), then run again',
        )
      return accessDenied(answer, context)
    case 'InvalidStorageClass':
      return run('the store does not have the storage class that is configured', 'correct s3.storageClass, or leave it out')
    case 'KeyTooLongError':
    case 'KeyTooLong':
      return request('the key is too long for the store', 'a shorter prefix in s3.uri may help')
    case 'EntityTooLarge':
      return request(
        'the store does not take objects or parts of this size',
        'look for its limit in the documentation of the store',
      )
    case 'QuotaExceeded':
    case 'InsufficientStorage':
    case 'XMinioStorageFull':
    case 'XMinioAdminBucketQuotaExceeded':
    case 'NotEnoughSpace':
      return run(
        `the store is full or the quota is used up (${answer.code})`,
        'make room or raise the quota; what is stored so far is safe',
      )
    case 'MissingContentMD5':
    case 'MissingSecurityHeader':
      return run(
        `the store asks for a checksum it was not sent (${answer.code})`,
        'a bucket with Object Lock may want Content-MD5; ask for a bucket or a store that takes x-amz-checksum-crc32c',
      )
    case 'InvalidRequest':
    case 'InvalidArgument':
      if (/content-md5|x-amz-checksum|object lock/i.test(answer.message)) {
        return run(
          `the store asks for another checksum (${answer.code}: ${answer.message})`,
          'a bucket with Object Lock may want Content-MD5; ask for a bucket or a store that takes x-amz-checksum-crc32c',
        )
      }

      if (/part ?number/i.test(answer.message)) {
        return request(
          `the store does not take so many parts (${answer.code}: ${answer.message})`,
          'set s3.maxParts to what the store allows (some: 1000), and run again: the parts become larger',
        )
      }

      break
    case 'BadDigest':
    case 'InvalidDigest':
    case 'XAmzContentChecksumMismatch':
    case 'XAmzContentSHA256Mismatch':
    case 'InvalidPart':
      return request(
        `the bytes that arrived are not those that were sent (${answer.code})`,
        'run again; if it stays, something between here and the store changes bytes',
      )
    case 'NoSuchUpload':
      return request(
        'the multipart upload is not open any more',
        'run again: it will be sent anew; a lifecycle rule that aborts uploads early could be the reason',
      )
    case 'InvalidAnswer':
      return run(
        `${answer.message} (HTTP ${answer.status})`,
        'check s3.endpoint: a proxy, a load balancer or a web page may be answering',
      )
    case 'NotImplemented':
      return run('the store cannot do this (NotImplemented)', 'look into the provider notes for settings of this store')
    default:
  }

  if (/kms/i.test(answer.code)) return accessDenied(answer, context)
  if (
    answer.status >= 500 ||
    answer.status === 429 ||
    answer.status === 408 ||
    ['SlowDown', 'InternalError', 'RequestTimeout', 'OperationAborted', 'ConditionalRequestConflict'].includes(answer.code)
  ) {
    return {
      says: `the store answered ${answer.code} (HTTP ${answer.status}) each time it was asked`,
      scope: context.isOutOfService ? 'run' : 'request',
      hint: 'run again later; what is stored so far is safe',
      isPassing: true,
    }
  }

  if (answer.status === 401) return run(`the store refused the keys (HTTP 401)`, CHECK_KEYS)
  const quoted = answer.message === '' ? '' : `: ${answer.message}`
  return request(
    `the store answered ${answer.code} (HTTP ${answer.status})${quoted}`,
    'run barmans3 doctor to see what the store takes',
  )
}

function isRegionAnswer({status, code}: StoreAnswer): boolean {
  return (
    status === 301 ||
    status === 307 ||
    code === 'AuthorizationHeaderMalformed' ||
    code === 'PermanentRedirect' ||
    (status === 400 && code === 'BadRequest')
  )
}

function accessDenied(answer: StoreAnswer, {place}: RequestContext): Verdict {
  const isMultipart = ['UploadPart', 'UploadPartCopy', 'CompleteMultipartUpload'].includes(answer.operation)
  if (
    /kms/i.test(`${answer.code} ${answer.message}`) ||
    (isMultipart && (place.encryption === 'aws:kms' || answer.code === 'AccessDenied'))
  ) {
    return {
      says: `access denied (${answer.code}); with a KMS key, large files need more rights than small ones`,
      scope: 'run',
      hint: 'allow kms:Decrypt and kms:GenerateDataKey on the key (a multipart upload needs both) and s3:PutObject on the prefix',
    }
  }

  const need: Readonly<Record<string, string>> = {
    ListObjectsV2: 's3:ListBucket on the bucket for this prefix',
    GetObject: 's3:GetObject on the prefix (and s3:ListBucket: without it a missing object looks forbidden)',
    HeadObject: 's3:GetObject on the prefix (and s3:ListBucket: without it a missing object looks forbidden)',
    DeleteObjects: 's3:DeleteObject on the prefix',
    ListMultipartUploads: 's3:ListBucketMultipartUploads on the bucket',
    AbortMultipartUpload: 's3:AbortMultipartUpload on the prefix',
  }
  return {
    says: `access denied (${answer.code}, HTTP ${answer.status})`,
    scope: 'run',
    hint: `allow ${need[answer.operation] ?? 's3:PutObject on the prefix (with tags s3:PutObjectTagging)'}, or check the keys`,
  }
}

function skewOf({serverTime}: StoreAnswer): string {
  if (!serverTime) return 'the clock of this host differs too much from the clock of the store'
  const minutes = (serverTime.getTime() - Date.now()) / 60_000
  const by = `${Math.abs(Math.round(minutes))} min`
  return `the clock of this host differs by ${by} from the clock of the store: it is ${minutes > 0 ? 'behind' : 'ahead'}`
}

import {expect} from 'chai'
import {EXIT, StoreRefusedError, StoreUnreachableError, UsageError, type BarmansError} from '../../../src/lib/errors.ts'
import {StoreAnswer} from '../../../src/lib/store/s3/answer.ts'
import {toStoreError} from '../../../src/lib/store/s3/errors.ts'

const place = {
  bucket: 'backup',
  endpoint: 's3.example.com',
  region: 'us-east-1',
  proxy: undefined,
  idleTimeoutMs: 60_000,
  encryption: undefined,
}

function answered(
  status: number,
  code: string,
  more: {operation?: string; message?: string; region?: string; headers?: Record<string, string>} = {},
): StoreAnswer {
  const region = more.region === undefined ? '' : `<Region>${more.region}</Region>`
  const body = code === '' ? '' : `<Error><Code>${code}</Code><Message>${more.message ?? ''}</Message>${region}</Error>`
  return new StoreAnswer({statusCode: status, headers: more.headers ?? {}}, more.operation ?? 'PutObject', body)
}

const translate = (error: unknown, more: Partial<Parameters<typeof toStoreError>[1]> = {}) =>
  toStoreError(error, {action: 'write', key: 'p/wals/1', place, ...more}) as BarmansError

describe('the error for people behind an answer of the store', () => {
  const rows: Array<
    [status: number, code: string, scope: 'run' | 'request', says: RegExp, hint: RegExp, more?: Parameters<typeof answered>[2]]
  > = [
    [403, 'SignatureDoesNotMatch', 'run', /the secret does not fit/, /access key and the secret/],
    [403, 'InvalidAccessKeyId', 'run', /does not know the access key/, /access key/],
    [404, 'XAdminUserNotFound', 'run', /does not know the access key/, /access key/],
    [400, 'ExpiredToken', 'run', /session token has expired/, /new token/],
    [403, 'AccessDenied', 'run', /access denied/, /s3:PutObject on the prefix/],
    [403, '', 'run', /access denied/, /s3:GetObject/, {operation: 'HeadObject'}],
    [403, 'AccessDenied', 'run', /access denied/, /s3:ListBucket/, {operation: 'ListObjectsV2'}],
    [403, 'AccessDenied', 'run', /KMS key/, /kms:Decrypt and kms:GenerateDataKey/, {operation: 'UploadPart'}],
    [403, 'AccessDenied', 'run', /KMS key/, /kms:Decrypt/, {message: 'User is not authorized to perform: kms:GenerateDataKey'}],
    [400, 'KMS.DisabledException', 'run', /access denied/, /kms:Decrypt/],
    [404, 'NoSuchBucket', 'run', /there is no bucket backup/, /s3\.uri/],
    [400, 'InvalidBucketName', 'run', /not a name of a bucket/, /s3\.uri/],
    [
      301,
      'PermanentRedirect',
      'run',
      /region eu-north-1, not us-east-1/,
      /s3\.region to eu-north-1/,
      {headers: {'x-amz-bucket-region': 'eu-north-1'}},
    ],
    [
      301,
      '',
      'run',
      /region eu-north-1/,
      /eu-north-1/,
      {headers: {'x-amz-bucket-region': 'eu-north-1'}, operation: 'HeadObject'},
    ],
    [400, 'AuthorizationHeaderMalformed', 'run', /region eu-west-1/, /eu-west-1/, {region: 'eu-west-1'}],
    [301, 'PermanentRedirect', 'run', /another region or endpoint/, /s3\.region/],
    [400, 'InvalidStorageClass', 'run', /storage class/, /s3\.storageClass/],
    [400, 'KeyTooLongError', 'request', /key is too long/, /shorter prefix/],
    [400, 'EntityTooLarge', 'request', /size/, /limit/],
    [413, '', 'request', /size/, /limit/],
    [403, 'QuotaExceeded', 'run', /full or the quota/, /make room/],
    [507, '', 'run', /full or the quota/, /make room/],
    [507, 'XMinioStorageFull', 'run', /full or the quota/, /make room/],
    [
      400,
      'InvalidRequest',
      'run',
      /Content-MD5/,
      /Object Lock/,
      {message: 'Content-MD5 OR x-amz-checksum- HTTP header is required'},
    ],
    [400, 'InvalidRequest', 'request', /InvalidRequest \(HTTP 400\): something else/, /doctor/, {message: 'something else'}],
    [400, 'BadDigest', 'request', /not those that were sent/, /run again/],
    [400, 'XAmzContentChecksumMismatch', 'request', /not those that were sent/, /run again/],
    [404, 'NoSuchUpload', 'request', /not open any more/, /run again/],
    [403, 'InvalidObjectState', 'request', /archive class/, /restore-object/],
    [501, 'NotImplemented', 'run', /cannot do this/, /provider notes/],
    [401, '', 'run', /refused the keys/, /access key/],
    [500, 'InternalError', 'request', /InternalError \(HTTP 500\)/, /run again later/],
    [503, '', 'request', /ServiceUnavailable \(HTTP 503\)/, /run again later/],
    [429, '', 'request', /TooManyRequests/, /run again later/],
    [418, '', 'request', /HTTP418/, /doctor/],
  ]
  for (const [status, code, scope, says, hint, more] of rows) {
    it(`${status} ${code || 'without a code'}${more?.operation ? ` to ${more.operation}` : ''} ends the ${scope}: ${says.source}`, () => {
      const error = translate(answered(status, code, more))
      expect(error).to.be.instanceOf(StoreRefusedError).and.to.include({scope, exitCode: EXIT.storeRefused})
      expect(error.message)
        .to.match(says)
        .and.to.match(/^cannot write s3:\/\/backup\/p\/wals\/1: /)
        .and.not.to.match(/\.$/)
      expect(error.hint).to.match(hint)
    })
  }

  it('of a store out of service ends the run', () => {
    expect(translate(answered(503, 'SlowDown'), {isOutOfService: true})).to.include({scope: 'run'})
  })

  it('about the clock says by how many minutes it differs, and in which direction', () => {
    const at = (minutes: number) =>
      translate(answered(403, 'RequestTimeTooSkewed', {headers: {date: new Date(Date.now() + minutes * 60_000).toUTCString()}}))
    expect(at(20).message).to.include('differs by 20 min').and.to.include('behind')
    expect(at(-20).message).to.include('differs by 20 min').and.to.include('ahead')
    expect(translate(answered(403, 'RequestTimeTooSkewed'))).to.include({scope: 'run'})
  })

  it('of a proxy that wants a password is not one of the store', () => {
    const error = translate(answered(407, ''), {place: {...place, proxy: 'proxy:3128'}})
    expect(error).to.be.instanceOf(StoreUnreachableError)
    expect(error.message).to.include('proxy:3128')
  })

  it('keeps expected errors as they are, and bugs as bugs', () => {
    const usage = new UsageError('x')
    expect(translate(usage)).to.equal(usage)
    const bug = new TypeError('x')
    expect(translate(bug)).to.equal(bug)
  })
})

describe('the error for people behind a broken connection', () => {
  const rows: Array<[errno: string, says: RegExp, hint: RegExp]> = [
    ['ENOTFOUND', /name of s3\.example\.com is not known/, /DNS/],
    ['EAI_AGAIN', /name of s3\.example\.com is not known/, /DNS/],
    ['ECONNREFUSED', /nobody listens at s3\.example\.com/, /port/],
    ['ECONNRESET', /was lost \(ECONNRESET\)/, /run again/],
    ['EPIPE', /was lost \(EPIPE\)/, /run again/],
    ['EHOSTUNREACH', /was lost \(EHOSTUNREACH\)/, /run again/],
    ['SELF_SIGNED_CERT_IN_CHAIN', /not signed by anybody/, /AWS_CA_BUNDLE/],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', /not signed by anybody/, /AWS_CA_BUNDLE/],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', /not signed by anybody/, /AWS_CA_BUNDLE/],
    ['CERT_HAS_EXPIRED', /not valid today/, /clock/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', /another name/, /name of the certificate/],
    ['EPROTO', /does not speak TLS/, /http:\/\/ or https:\/\//],
  ]
  for (const [errno, says, hint] of rows) {
    it(`${errno}: ${says.source}`, () => {
      const error = translate(Object.assign(new Error('low-level text'), {code: errno}))
      expect(error).to.be.instanceOf(StoreUnreachableError).and.to.include({exitCode: EXIT.storeUnreachable})
      expect(error.message).to.match(says)
      expect(error.hint).to.match(hint)
    })
  }

  it('names the idle limit when nothing moved, and the connection when none was made', () => {
    const timeout = (message: string) => translate(Object.assign(new Error(message), {name: 'TimeoutError'})).message
    expect(timeout('the request socket timed out after 60000 ms of inactivity')).to.include('nothing moved for 60 s')
    expect(timeout('the request socket did not establish a connection')).to.include('does not take connections')
  })

  it('names AWS and its region, and the proxy, where there is no endpoint', () => {
    const error = translate(Object.assign(new Error(''), {code: 'ECONNREFUSED'}), {
      place: {...place, endpoint: undefined, proxy: 'proxy:3128'},
    })
    expect(error.message).to.include('AWS S3 in us-east-1 through the proxy proxy:3128')
  })
})

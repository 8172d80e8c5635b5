import {BarmansError, errnoOf, messageOf, StoreRefusedError, StoreUnreachableError} from '../../errors.ts'
import {StoreAnswer} from './answer.ts'
import {LostAnswer} from './client.ts'
import {verdictOn, type RequestContext} from './refusals.ts'
import {isConnectionFault} from './retry.ts'

/**
 * The error for people behind anything the S3 client threw. Errors of our own pass through unchanged. The message never
 * holds a secret, a signature or a header; text of the store is quoted only for codes not in the table.
 */
export function toStoreError(error: unknown, context: RequestContext): Error {
  if (error instanceof BarmansError) return error
  if (error instanceof LostAnswer) return toStoreError(error.cause, context)
  if (error instanceof StoreAnswer && error.status === 407) {
    return new StoreUnreachableError(
      `cannot ${whatOf(context)}: the proxy ${context.place.proxy ?? ''} asks for a user and a password (HTTP 407)`,
      {
        hint: 'write the proxy as http://user:password@host:port, with the password percent-encoded',
        cause: error,
      },
    )
  }

  if (error instanceof StoreAnswer) {
    const verdict = verdictOn(error, context)
    return new StoreRefusedError(`cannot ${whatOf(context)}: ${verdict.says}`, {
      storeCode: error.code,
      scope: verdict.scope,
      hint: verdict.hint,
      isPassing: verdict.isPassing ?? false,
      cause: error,
    })
  }

  if (error instanceof Error && (isConnectionFault(error) || isTlsFault(error))) return unreachable(error, context)
  // What is left is a bug of ours or of the SDK: exit code 4 with its stack.
  return error instanceof Error ? error : new Error(String(error))
}

function whatOf({action, key, place}: RequestContext): string {
  return key === undefined ? `${action} bucket ${place.bucket}` : `${action} s3://${place.bucket}/${escapeKey(key)}`
}

/** A key for one line of a log: control characters escaped. */
export function escapeKey(key: string): string {
  return key.replace(/[\u0000-\u001F\u007F-\u009F\u2028\u2029]/g, (character) => {
    const code = character.charCodeAt(0)
    return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`
  })
}

const TLS_ERRNOS = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_UNTRUSTED',
  'CERT_SIGNATURE_FAILURE',
  'HOSTNAME_MISMATCH',
])

function isTlsFault(error: Error): boolean {
  const errno = errnoOf(error) ?? ''
  return TLS_ERRNOS.has(errno) || errno.startsWith('ERR_TLS_') || errno.startsWith('ERR_SSL_') || errno === 'EPROTO'
}

function unreachable(error: Error, context: RequestContext): StoreUnreachableError {
  const {place} = context
  const errno = errnoOf(error) ?? ''
  const where = `${place.endpoint ?? `AWS S3 in ${place.region}`}${place.proxy ? ` through the proxy ${place.proxy}` : ''}`
  const fail = (says: string, hint: string) =>
    new StoreUnreachableError(`cannot ${whatOf(context)}: ${says}`, {hint, cause: error})
  if (errno === 'ERR_TLS_CERT_ALTNAME_INVALID' || errno === 'HOSTNAME_MISMATCH') {
    return fail(
      `the certificate of ${where} is for another name`,
      'use the name of the certificate in s3.endpoint; for a bucket with dots set s3.forcePathStyle',
    )
  }

  if (errno === 'CERT_HAS_EXPIRED' || errno === 'CERT_NOT_YET_VALID') {
    return fail(
      `the certificate of ${where} is not valid today (${errno})`,
      'renew the certificate, or check the clock of this host',
    )
  }

  if (TLS_ERRNOS.has(errno)) {
    return fail(
      `the certificate of ${where} is not signed by anybody this host trusts (${errno})`,
      'let AWS_CA_BUNDLE (or NODE_EXTRA_CA_CERTS) name the file with the CA of the store',
    )
  }

  if (isTlsFault(error))
    return fail(`${where} does not speak TLS as expected (${errno})`, 'check whether s3.endpoint is http:// or https://')
  if (errno === 'ENOTFOUND' || errno === 'EAI_AGAIN' || errno === 'EAI_FAIL') {
    return fail(
      `the name of ${where} is not known (${errno})`,
      'check s3.endpoint and the DNS of this host, or set HTTPS_PROXY',
    )
  }

  if (errno === 'ECONNREFUSED')
    return fail(`nobody listens at ${where} (ECONNREFUSED)`, 'check s3.endpoint and its port, and that the store is up')
  if (error.name === 'TimeoutError' && !/^E(CONNRESET|PIPE)$/.test(errno)) {
    const says = /did not establish/.test(error.message)
      ? `${where} does not take connections (timed out)`
      : `${where} did not answer: nothing moved for ${Math.round(place.idleTimeoutMs / 1000)} s, several times`
    return fail(
      says,
      'check the network and the firewall between here and the store, then run again; what is stored so far is safe',
    )
  }

  return fail(`the connection to ${where} was lost (${errno || messageOf(error)})`, 'run again; what is stored so far is safe')
}

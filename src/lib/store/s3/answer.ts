import {Readable} from 'node:stream'

/** An answer of the store that is not the success its operation promises, whatever the body was. Inside `store/s3` only. */
export class StoreAnswer extends Error {
  /** HTTP status; 200 when an error document, or something that is not S3, came with it. */
  readonly status: number
  /** S3's code, else one made from the status. */
  readonly code: string
  /** True when the body had a code of S3. */
  readonly isS3: boolean
  readonly operation: string
  /** The region the store says the bucket is in. */
  readonly region: string | undefined
  /** The store's clock when it answered. */
  readonly serverTime: Date | undefined
  readonly retryAfterMs: number | undefined
  readonly $metadata: {httpStatusCode: number; clockSkewCorrected?: boolean}

  constructor(answer: HttpAnswer, operation: string, text: string) {
    const code = elementOf(text, 'Code')
    const message = elementOf(text, 'Message') ?? ''
    super(message.replace(/\s+/g, ' ').slice(0, 300))
    this.name = 'StoreAnswer'
    this.status = answer.statusCode
    this.operation = operation
    this.isS3 = code !== undefined && code !== ''
    this.code = code || codeOfStatus(answer.statusCode)
    this.region = answer.headers['x-amz-bucket-region'] ?? elementOf(text, 'Region')
    const date = new Date(answer.headers.date ?? '')
    this.serverTime = Number.isNaN(date.getTime()) ? undefined : date
    const seconds = Number(answer.headers['retry-after'] ?? Number.NaN)
    this.retryAfterMs = seconds >= 0 ? seconds * 1000 : undefined
    this.$metadata = {httpStatusCode: answer.statusCode}
    // For the SDK's signer, which corrects its clock from the Date header. Without the body, from which a printed error
    // would lead to the request and its Authorization header.
    const {statusCode, headers} = answer
    Object.defineProperty(this, '$response', {value: {statusCode, headers}, enumerable: false})
  }
}

/** The part of the SDK's HttpResponse that is looked at here. */
export interface HttpAnswer {
  readonly statusCode: number
  readonly headers: Readonly<Record<string, string>>
  body?: unknown
}

/** The root element of a successful answer; an answer of these operations is believed only with it, begun and ended. */
const ROOTS: Readonly<Record<string, string>> = {
  ListObjectsV2: 'ListBucketResult',
  ListMultipartUploads: 'ListMultipartUploadsResult',
  CreateMultipartUpload: 'InitiateMultipartUploadResult',
  CompleteMultipartUpload: 'CompleteMultipartUploadResult',
  CopyObject: 'CopyObjectResult',
  UploadPartCopy: 'CopyPartResult',
  DeleteObjects: 'DeleteResult',
}

const MAX_ERROR_BYTES = 64 * 1024
const MAX_ANSWER_BYTES = 64 * 1024 * 1024

/**
 * Looks at an answer before the SDK parses it, so that no parse failure hides the status of a 503 with an HTML body and
 * no error document inside a 200 counts as success. Replaces the body where it was read.
 * @throws StoreAnswer
 */
export async function checkAnswer(answer: HttpAnswer, operation: string): Promise<void> {
  if (answer.statusCode >= 300) throw new StoreAnswer(answer, operation, await readErrorText(answer.body))
  const root = ROOTS[operation]
  if (root === undefined) return
  const bytes = await readAll(answer.body, MAX_ANSWER_BYTES)
  const text = bytes.toString('utf8')
  const found = /^\uFEFF?\s*(?:<\?xml[^>]*\?>\s*)?<([\w:]+)/.exec(text)?.[1]
  if (found === 'Error') throw new StoreAnswer(answer, operation, text)
  const closed = text.trimEnd().endsWith(`</${root}>`) || new RegExp(`<${root}[^>]*/>\\s*$`).test(text)
  if (found !== root || !closed) {
    throw new StoreAnswer(
      answer,
      operation,
      `<Code>InvalidAnswer</Code><Message>the answer is ${found === root ? 'cut' : 'not one of S3'}</Message>`,
    )
  }

  answer.body = Readable.from(bytes)
}

async function readErrorText(body: unknown): Promise<string> {
  try {
    return (await readAll(body, MAX_ERROR_BYTES)).toString('utf8')
  } catch {
    // The status is what counts; the rest of the body would only have explained it.
    return ''
  }
}

async function readAll(body: unknown, maxBytes: number): Promise<Buffer> {
  if (!(body instanceof Readable)) return Buffer.from(body instanceof Uint8Array || typeof body === 'string' ? body : '')
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    sizeBytes += chunk.length
    if (sizeBytes > maxBytes) break
  }

  return Buffer.concat(chunks)
}

function elementOf(text: string, name: string): string | undefined {
  const found = new RegExp(`<${name}>([^<]*)</${name}>`).exec(text)?.[1]
  return found
    ?.replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&apos;', "'")
    .replaceAll('&amp;', '&')
    .trim()
}

function codeOfStatus(status: number): string {
  const codes: Readonly<Record<number, string>> = {
    200: 'InvalidAnswer',
    301: 'PermanentRedirect',
    304: 'NotModified',
    307: 'TemporaryRedirect',
    400: 'BadRequest',
    401: 'Unauthorized',
    403: 'AccessDenied',
    404: 'NotFound',
    405: 'MethodNotAllowed',
    409: 'Conflict',
    411: 'MissingContentLength',
    412: 'PreconditionFailed',
    413: 'EntityTooLarge',
    416: 'InvalidRange',
    429: 'TooManyRequests',
    500: 'InternalError',
    501: 'NotImplemented',
    502: 'BadGateway',
    503: 'ServiceUnavailable',
    504: 'GatewayTimeout',
    507: 'InsufficientStorage',
  }
  return codes[status] ?? `HTTP${status}`
}

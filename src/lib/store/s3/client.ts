import {S3Client, type S3ClientConfig} from '@aws-sdk/client-s3'
import {UsageError} from '../../errors.ts'
import {checkAnswer, type HttpAnswer} from './answer.ts'
import {createCredentials} from './credentials.ts'
import {parseEndpoint} from './endpoint.ts'
import {DEFAULTS, type S3StoreOptions} from './options.ts'
import {addMeter} from './meter.ts'
import {SLICES_ONLY} from '../throttle.ts'
import {readAwsProfile} from './profile.ts'
import {createAgents} from './proxy.ts'
import {isConnectionFault, RetryPolicy} from './retry.ts'

/** The SDK's client with our retries, counts and checks in it, and what error messages need to know. */
export interface Connection {
  readonly sdk: S3Client
  readonly bucket: string
  readonly policy: RetryPolicy
  readonly place: Place
  /** Attempts so far by operation. */
  readonly counts: Record<string, number>
  /** Set once an answer proved that the bucket is there: from then on a 404 to a HEAD means the object. */
  isBucketSeen: boolean
  /** Store's clock minus ours in ms, from the latest answer with a Date header; a second exact. */
  clockOffsetMs(): number | undefined
}

/** Where the store is, for messages. */
export interface Place {
  readonly bucket: string
  /** Host and port; undefined for AWS. */
  readonly endpoint: string | undefined
  readonly region: string
  readonly proxy: string | undefined
  readonly idleTimeoutMs: number
  readonly encryption: 'AES256' | 'aws:kms' | undefined
}

/** A connection fault of a conditional PUT: whether the store has the object now must be looked up before it is sent again. */
export class LostAnswer extends Error {
  constructor(cause: unknown) {
    super('the answer to a conditional PUT was lost', {cause})
    this.name = 'LostAnswer'
  }
}

/**
 * Makes the SDK client of a store. Nothing is sent yet.
 * @throws UsageError for an endpoint, profile, proxy or certificate bundle that cannot be used.
 */
export function createConnection(options: S3StoreOptions): Connection {
  const environment = options.environment ?? process.env
  const profile = readAwsProfile(environment, options.profile)
  if (options.profile !== undefined && !profile.found) {
    throw new UsageError(`no profile ${options.profile} in ${profile.files.join(' or ')}`, {
      hint: 'name a profile that is there, or leave it out',
    })
  }

  const endpointText =
    options.endpoint ??
    (environment.AWS_ENDPOINT_URL_S3 || environment.AWS_ENDPOINT_URL || profile.settings.endpoint_url || undefined)
  const endpoint = endpointText === undefined ? undefined : parseEndpoint(endpointText.trim())
  const region = (
    options.region ??
    (environment.AWS_REGION || environment.AWS_DEFAULT_REGION || profile.settings.region || 'us-east-1')
  ).trim()
  const concurrency = options.concurrency ?? DEFAULTS.concurrency
  const idleTimeoutMs = options.idleTimeoutMs ?? DEFAULTS.idleTimeoutMs
  const target = endpoint ?? new URL(`https://${options.bucket}.s3.${region}.amazonaws.com`)
  const agents = createAgents(target, concurrency, environment.AWS_CA_BUNDLE || profile.settings.ca_bundle)
  const policy = new RetryPolicy({
    maxAttempts: options.maxAttempts ?? DEFAULTS.maxAttempts,
    clock: options.clock,
    onRetry: options.onRetry,
  })
  const configuration: S3ClientConfig = {
    region,
    ...(endpoint ? {endpoint: endpoint.href.replace(/\/$/, '')} : {}),
    forcePathStyle: options.forcePathStyle ?? endpoint !== undefined,
    credentials: createCredentials(environment, profile, options.profile),
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    expectContinueHeader: false,
    // Our middleware below sends again; this only keeps the SDK from reading its own setting.
    maxAttempts: 1,
    customUserAgent: 'barmans3',
    logger: {trace() {}, debug() {}, info() {}, warn() {}, error() {}},
    requestHandler: {
      httpAgent: agents.httpAgent,
      httpsAgent: agents.httpsAgent,
      connectionTimeout: options.connectTimeoutMs ?? DEFAULTS.connectTimeoutMs,
      socketTimeout: idleTimeoutMs,
    },
  }
  const sdk = new S3Client(configuration)
  const counts: Record<string, number> = {}
  let offsetMs: number | undefined
  addUnsignedPayload(sdk)
  addRetries(sdk, policy)
  addAnswerCheck(sdk, counts, (serverTime) => {
    offsetMs = serverTime.getTime() - Date.now()
  })
  const pace = options.throttle ?? (endpoint?.protocol === 'http:' ? undefined : SLICES_ONLY)
  if (pace) addMeter(sdk, pace)
  const place = {
    bucket: options.bucket,
    endpoint: endpoint?.host,
    region,
    proxy: agents.proxy,
    idleTimeoutMs,
    encryption: options.encryption?.type,
  }
  return {sdk, bucket: options.bucket, policy, place, counts, isBucketSeen: false, clockOffsetMs: () => offsetMs}
}

/** Over TLS the body is not hashed for the signature: the CRC32C beside it is signed, and TLS protects it on the way. */
function addUnsignedPayload(sdk: S3Client): void {
  sdk.middlewareStack.add(
    (next) => (args) => {
      const request = (args as {request?: SignedRequest}).request
      if (request?.protocol === 'https:' && request.body instanceof Uint8Array && request.headers['x-amz-checksum-crc32c']) {
        request.headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD'
      }

      return next(args)
    },
    {step: 'build', priority: 'low', name: 'unsignedPayload'},
  )
}

/**
 * Takes the place of the SDK's own retry middleware, under its name because signing is put relative to it, so each
 * attempt is signed anew. The SDK's cannot pause all requests together, keeps sleeping after an abort, and sends a
 * conditional PUT again without looking.
 */
function addRetries(sdk: S3Client, policy: RetryPolicy): void {
  sdk.middlewareStack.add(
    (next, context) => async (args) => {
      const operation = operationOf(context)
      const signal = signalOf(context)
      const isConditional = (args as {request?: SignedRequest}).request?.headers['if-none-match'] !== undefined
      const attempts = policy.begin()
      for (;;) {
        await policy.waitForTurn(signal)
        try {
          const result = await next(args)
          policy.noteSuccess()
          return result
        } catch (error) {
          signal?.throwIfAborted()
          if (isConditional && isConnectionFault(error)) throw new LostAnswer(error)
          await policy.waitAfterFailure(error, attempts, operation, signal)
        }
      }
    },
    {step: 'finalizeRequest', priority: 'high', name: 'retryMiddleware', tags: ['RETRY'], override: true},
  )
}

/** Next to the wire: counts what is really sent and judges answers before the SDK parses them. */
function addAnswerCheck(sdk: S3Client, counts: Record<string, number>, onServerTime: (serverTime: Date) => void): void {
  sdk.middlewareStack.add(
    (next, context) => async (args) => {
      const operation = operationOf(context)
      counts[operation] = (counts[operation] ?? 0) + 1
      const result = await next(args)
      const answer = result.response as HttpAnswer
      const serverTime = new Date(answer.headers.date ?? '')
      if (!Number.isNaN(serverTime.getTime())) onServerTime(serverTime)
      await checkAnswer(answer, operation)
      return result
    },
    {step: 'deserialize', priority: 'low', name: 'checkAnswer'},
  )
}

interface SignedRequest {
  readonly protocol: string
  readonly headers: Record<string, string>
  readonly body?: unknown
}

function operationOf(context: {commandName?: string}): string {
  return (context.commandName ?? 'Unknown').replace(/Command$/, '')
}

function signalOf(context: object): AbortSignal | undefined {
  return (context as {__smithy_context?: {abortSignal?: AbortSignal}}).__smithy_context?.abortSignal
}

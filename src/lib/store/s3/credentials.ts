import {defaultProvider} from '@aws-sdk/credential-provider-node'
import {messageOf, UsageError} from '../../errors.ts'
import type {AwsProfile} from './profile.ts'

/** Keys as the SDK wants them. */
export interface AwsKeys {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
  readonly expiration?: Date
}

/** How long the instance metadata service is waited for. On a host that is no EC2 instance nobody answers. */
const METADATA_TIMEOUT_MS = 1000

const SILENT = {trace() {}, debug() {}, info() {}, warn() {}, error() {}}

/**
 * Where the keys come from, in the order of `aws`: a profile that was asked for, AWS_ACCESS_KEY_ID and
 * AWS_SECRET_ACCESS_KEY, the profile of AWS_PROFILE or `default`, then what only the SDK can do (SSO, roles, a process,
 * web identity, container, instance). Static keys are trimmed: a file read by a shell leaves a line end in them.
 *
 * The SDK is asked once; its failure stands for the run, so that a host without keys does not wait for an instance
 * metadata service at each object.
 * The function returned throws UsageError when no keys are found, naming the places, or when they cannot be right.
 */
export function createCredentials(
  environment: NodeJS.ProcessEnv,
  profile: AwsProfile,
  chosen: string | undefined,
): () => Promise<AwsKeys> {
  const fromEnvironment = () =>
    keysOf('the environment', environment.AWS_ACCESS_KEY_ID, environment.AWS_SECRET_ACCESS_KEY, environment.AWS_SESSION_TOKEN)
  const fromProfile = () => {
    const {aws_access_key_id: id, aws_secret_access_key: secret, aws_session_token: token, role_arn: role} = profile.settings
    // With a role the profile's keys are only those that assume it: the SDK does that.
    return role === undefined ? keysOf(`profile ${profile.name}`, id, secret, token) : undefined
  }

  let fixed: AwsKeys | undefined
  let refused: UsageError | undefined
  let chain: ReturnType<typeof defaultProvider> | undefined
  let asked: Promise<AwsKeys> | undefined
  return async () => {
    if (refused) throw refused
    try {
      fixed ??= (chosen === undefined ? fromEnvironment() : undefined) ?? fromProfile()
      if (fixed) return fixed
      chain ??= defaultProvider({
        profile: profile.found ? profile.name : undefined,
        timeout: METADATA_TIMEOUT_MS,
        maxRetries: 0,
        logger: SILENT,
      })
      // The SDK's chain remembers keys until they expire; requests that start together share one question.
      asked ??= chain()
      try {
        return await asked
      } finally {
        asked = undefined
      }
    } catch (error) {
      refused = error instanceof UsageError ? error : notFound(profile, chosen, error)
      throw refused
    }
  }
}

function notFound(profile: AwsProfile, chosen: string | undefined, cause: unknown): UsageError {
  const places = [
    ...(chosen === undefined ? ['AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY'] : []),
    `profile ${profile.name} of ${profile.files.join(' and ')}`,
    'web identity, container and instance roles',
  ]
  const said = messageOf(cause)
  const detail = /could not load credentials from any providers/i.test(said) ? '' : ` (${said})`
  return new UsageError(`no credentials found; looked at ${places.join(', ')}${detail}`, {
    hint:
      'put the keys into ~/.aws/credentials of the user that runs barmans3, ' +
      'or name the file by AWS_SHARED_CREDENTIALS_FILE (cron knows no HOME of yours)',
    cause,
  })
}

function keysOf(
  place: string,
  id: string | undefined,
  secret: string | undefined,
  token: string | undefined,
): AwsKeys | undefined {
  const accessKeyId = cleanKey(place, 'access key id', id)
  const secretAccessKey = cleanKey(place, 'secret', secret)
  const sessionToken = cleanKey(place, 'session token', token)
  if (!accessKeyId && !secretAccessKey) return undefined
  if (!accessKeyId || !secretAccessKey) {
    throw new UsageError(
      `${place} has ${accessKeyId ? 'an access key id without a secret' : 'a secret without an access key id'}`,
      {
        hint: 'set both, or neither',
      },
    )
  }

  return {accessKeyId, secretAccessKey, ...(sessionToken ? {sessionToken} : {})}
}

function cleanKey(place: string, what: string, value: string | undefined): string {
  const clean = (value ?? '').replace(/^[\s\uFEFF]+|\s+$/g, '')
  if (/[\u0000-\u001F\u007F]/.test(clean)) {
    throw new UsageError(`control character in the ${what} of ${place}`, {
      hint: 'write the value again, without line ends inside',
    })
  }

  return clean
}

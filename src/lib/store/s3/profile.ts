import {readFileSync} from 'node:fs'
import {homedir} from 'node:os'
import {join} from 'node:path'
import {errnoOf, UsageError} from '../../errors.ts'

/** One profile of ~/.aws/config and ~/.aws/credentials. */
export interface AwsProfile {
  readonly name: string
  /** True when either file has a section of that name. */
  readonly found: boolean
  /** The files that were looked at, whether or not they are there. */
  readonly files: readonly string[]
  /** Plain settings (`region`, `aws_access_key_id`, …); what the credentials file says wins. */
  readonly settings: Readonly<Record<string, string>>
  /** The indented block below `s3 =` (`max_concurrent_requests`, `multipart_chunksize`, …). */
  readonly s3: Readonly<Record<string, string>>
  /** The file that block stands in. */
  readonly s3File: string
}

type Section = Record<string, string | Record<string, string>>

/**
 * Reads a profile as `aws` would: a byte order mark, CRLF line ends, trailing blanks, indented keys and blanks inside
 * `[profile  name ]` make no difference. The SDK's own loader loses the first section behind a byte order mark and
 * sections with such blanks. A file that is not there counts as empty.
 * @throws UsageError when a file is there but cannot be read.
 */
export function readAwsProfile(environment: NodeJS.ProcessEnv, chosen?: string): AwsProfile {
  const name = chosen ?? (environment.AWS_PROFILE?.trim() || 'default')
  const home = environment.HOME || homedir()
  const configFile = expandHome(environment.AWS_CONFIG_FILE || join(home, '.aws', 'config'), home)
  const credentialsFile = expandHome(environment.AWS_SHARED_CREDENTIALS_FILE || join(home, '.aws', 'credentials'), home)
  const fromConfig = parseAwsIni(readText(configFile)).get(name === 'default' ? 'default' : `profile ${name}`)
  const fromDefault = name === 'default' ? parseAwsIni(readText(configFile)).get('profile default') : undefined
  const fromCredentials = parseAwsIni(readText(credentialsFile)).get(name)
  const all: Section = {...fromConfig, ...fromDefault, ...fromCredentials}
  const settings: Record<string, string> = {}
  for (const [key, value] of Object.entries(all)) {
    if (typeof value === 'string') settings[key] = value
  }

  return {
    name,
    found: Boolean(fromConfig ?? fromDefault ?? fromCredentials),
    files: [configFile, credentialsFile],
    settings,
    s3: typeof all.s3 === 'object' ? all.s3 : {},
    s3File: fromCredentials?.s3 === undefined ? configFile : credentialsFile,
  }
}

/** The sections of an AWS ini file by name, runs of blanks in names made one. */
export function parseAwsIni(text: string): Map<string, Section> {
  const sections = new Map<string, Section>()
  let section: Section | undefined
  // The indentation of the section's plain keys, and the block being read below a key without a value.
  let keyIndent = 0
  let block: Record<string, string> | undefined
  for (const rawLine of text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/)) {
    const line = rawLine.replace(/(^|\s)[#;].*$/, '').trimEnd()
    if (line.trim() === '') continue
    const header = /^\s*\[([^\]]*)\]$/.exec(line)
    if (header) {
      const name = (header[1] ?? '')
        .trim()
        .replace(/\s+/g, ' ')
        .replace(/^(profile )?(["'])(.*)\2$/, '$1$3')
      section = sections.get(name) ?? {}
      sections.set(name, section)
      block = undefined
      keyIndent = -1
      continue
    }

    const setting = /^(\s*)([^=\s][^=]*?)\s*=\s*(.*)$/.exec(line)
    if (!section || !setting) continue
    const [, indent = '', key = '', value = ''] = setting
    if (keyIndent < 0) keyIndent = indent.length
    if (block && indent.length > keyIndent) {
      block[key] = value
      continue
    }

    block = value === '' ? {} : undefined
    section[key.toLowerCase()] = block ?? value
  }

  return sections
}

function expandHome(path: string, home: string): string {
  return path.startsWith('~/') ? join(home, path.slice(2)) : path
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return ''
    // Another user's home under cron or sudo: as good as not there, unless it was named.
    if (errno === 'EACCES' && /\/\.aws\/(config|credentials)$/.test(path)) return ''
    throw new UsageError(`${path} cannot be read (${errno ?? 'unknown'})`, {
      hint: 'give the user that runs barmans3 the right to read it',
      cause: error,
    })
  }
}

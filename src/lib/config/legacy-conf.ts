/**
 * The configuration file of the bash scripts, `barmans3.conf`. They sourced it; here it is data and nothing in it runs.
 */
import {isSecretName} from './redact.ts'

/** What each key of the old file is called now. */
export const LEGACY_KEYS: ReadonlyMap<string, string> = new Map([
  ['S3_BUCKET_URI', 's3.uri'],
  ['S3_ENDPOINT_URI', 's3.endpoint'],
  ['BARMAN_ROOTPATH', 'barman.home'],
  ['BASESYNC_QUEUE', 'queue.directory'],
])

/** Keys of the scripts' own configuration without a meaning here: where cron's lines redirected to. */
const SILENT_KEYS: ReadonlySet<string> = new Set(['WALSYNC_LOGFILE', 'BASESYNC_LOGFILE'])

/** An old file, translated. */
export interface LegacyConf {
  /** Dotted path of the setting → value, unchecked. */
  readonly settings: Readonly<Record<string, string>>
  /** Lines that are no assignment and keys of ours whose value a shell would have to compute; no value is repeated. */
  readonly problems: readonly string[]
  readonly warnings: readonly string[]
}

/** A value, or why there is none. */
type Word = {readonly value: string} | {readonly problem: string}

/** True for text whose first line of meaning is an assignment of a shell: `KEY=…` or `export KEY=…`. */
export function isLegacyConf(text: string): boolean {
  const first = text.split('\n').find((line) => !/^\s*(#|$)/.test(line))
  return first !== undefined && /^\s*(export\s+)?[A-Za-z_]\w*\+?=/.test(first)
}

/**
 * Reads the old file: `KEY=value`, `KEY='value'`, `KEY="value"`, each perhaps after `export`, comments and blank lines.
 * `$KEY` and `${KEY}` mean a key that stands earlier in the file, as they did for the shell; the last of two equal keys
 * wins. Never throws; keys that are not ours are only warned about.
 */
export function parseLegacyConf(text: string, path: string): LegacyConf {
  const words = new Map<string, Word>()
  const problems: string[] = []
  const warnings: string[] = []
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*(#|$)/.test(line)) continue
    const place = `${path} line ${index + 1}`
    const [, key, rest] = /^\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)$/.exec(line) ?? []
    if (key === undefined || rest === undefined) {
      problems.push(`${place} is not KEY="value", and nothing of this file is executed`)
      continue
    }
    const word = parseWord(rest, words)
    if ('problem' in word && LEGACY_KEYS.has(key)) problems.push(`${place}: ${key} ${word.problem}`)
    if (words.has(key)) warnings.push(`${key} stands twice in ${path}; the last one counts`)
    else if (!LEGACY_KEYS.has(key) && !SILENT_KEYS.has(key)) warnings.push(formatUnknownKey(key, place))
    words.set(key, word)
  }
  return {settings: toSettings(words), problems, warnings}
}

function toSettings(words: ReadonlyMap<string, Word>): Record<string, string> {
  const settings: Record<string, string> = {}
  for (const [key, setting] of LEGACY_KEYS) {
    const word = words.get(key)
    // The old scripts took an empty value for "not set", as `${KEY:-}` does.
    if (word !== undefined && 'value' in word && word.value !== '') settings[setting] = word.value
  }
  return settings
}

function formatUnknownKey(key: string, place: string): string {
  if (isSecretName(key)) {
    return `${place}: ${key} is ignored: credentials come from the AWS chain (environment, ~/.aws/credentials)`
  }
  return `${place}: ${key} is not known and is ignored`
}

/** What follows `KEY=`: pieces in quotes and without, up to a blank; then only a comment may come. */
function parseWord(text: string, words: ReadonlyMap<string, Word>): Word {
  let value = ''
  let rest = text
  while (rest !== '' && !/^\s/.test(rest)) {
    if (rest.startsWith("'")) {
      const end = rest.indexOf("'", 1)
      if (end === -1) return {problem: 'has a quote that is not closed'}
      value += rest.slice(1, end)
      rest = rest.slice(end + 1)
      continue
    }
    const isQuoted = rest.startsWith('"')
    const piece = isQuoted ? /^"((?:[^"\\]|\\.)*)"/.exec(rest) : /^((?:[^\s'"\\;]|\\.)+)/.exec(rest)
    if (piece === null && isQuoted) return {problem: 'has a quote that is not closed'}
    if (piece === null) break
    const expanded = expand(piece[1] ?? '', isQuoted, words)
    if ('problem' in expanded) return expanded
    value += expanded.value
    rest = rest.slice(piece[0].length)
    if (!isQuoted && /^(?:\\.|[^\\])*\$$/.test(piece[1] ?? '') && /^['"]/.test(rest)) {
      return {problem: `uses ${nameOf(`$${rest[0]}`)}, which is never executed`}
    }
  }
  return /^\s*;?\s*(\s#.*)?$/.test(rest) ? {value} : {problem: 'is followed by something else than a comment'}
}

/** Replaces `\x`, `$KEY` and `${KEY}`; refuses by name whatever a shell would execute or compute. */
function expand(text: string, isQuoted: boolean, words: ReadonlyMap<string, Word>): Word {
  let value = ''
  const pieces = text.matchAll(/\\(.)|\$\{(\w+)\}|\$([A-Za-z_]\w*)|(\$[({]|\$\w|`|\$['"@*#?$!-])|([^\\$`]+|\$)/gs)
  for (const [, escaped, braced, named, active, plain] of pieces) {
    if (active !== undefined) return {problem: `uses ${nameOf(active)}, which is never executed`}
    const reference = braced ?? named
    if (reference !== undefined) {
      const word = words.get(reference)
      if (word === undefined) return {problem: `refers to ${reference}, which does not stand above it in the file`}
      if ('problem' in word) return {problem: `refers to ${reference}, whose value ${word.problem}`}
      value += word.value
    } else if (escaped !== undefined) {
      value += !isQuoted || '"\\$`'.includes(escaped) ? escaped : `\\${escaped}`
    } else {
      if (!isQuoted && /[|&<>()]/.test(plain ?? '')) return {problem: 'uses | & < > ( or ) outside quotes'}
      value += plain ?? ''
    }
  }
  return {value}
}

function nameOf(active: string): string {
  if (active === '`') return 'a command in backticks'
  if (active === '$(') return 'a command in $(…)'
  if (active === '${') return 'a computed ${…}'
  return `the shell's ${active}`
}

/**
 * Everything that is wrong with a configuration, as one error for people.
 */
import type * as z from 'zod'
import {UsageError} from '../errors.ts'
import {LEGACY_KEYS} from './legacy-conf.ts'
import {formatValue, isSecretName} from './redact.ts'
import {listKeys, nearestName, SETTINGS} from './settings.ts'

const CREDENTIAL_PLACES = 'the AWS chain (environment, ~/.aws/credentials, role of the machine)'

/** Where problems are looked up. */
export interface ProblemContext {
  /** The merged settings that were checked. */
  readonly settings: unknown
  /** Dotted path → where its value comes from. */
  readonly sources: Readonly<Record<string, string>>
  readonly file: string | undefined
  /** The file is the old one, so that its own keys are named too. */
  readonly isLegacy: boolean
}

/** One error for all problems: what zod found and `others`, one line each with path, value and source. */
export function toUsageError(
  issues: readonly z.core.$ZodIssue[],
  others: readonly string[],
  context: ProblemContext,
): UsageError {
  const lines = [...others, ...issues.flatMap((issue) => formatIssue(issue, context))]
  const count = lines.length === 1 ? 'a problem' : `${lines.length} problems`
  return new UsageError(`the configuration has ${count}, nothing was touched:\n  ${lines.join(';\n  ')}`, {
    hint: `correct ${context.file ?? 'the command line or environment'}; docs/reference/configuration.md has every setting`,
  })
}

/** The problem of a `BARMANS3_…` variable that means nothing; its value is not shown. */
export function formatUnknownVariable(name: string): string {
  const known = SETTINGS.flatMap((setting) => setting.environment ?? [])
  return `environment variable ${name}: ${formatUnknown(name, nearestName(name, [...known, 'BARMANS3_CONFIG']))}`
}

function formatIssue(issue: z.core.$ZodIssue, context: ProblemContext): string[] {
  const path = issue.path.map(String)
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => `${formatPath([...path, key])}: ${formatUnknown(key, nearestName(key, listKeys(path)))}`)
  }
  const dotted = path.join('.')
  const value = formatValue(dotted, valueAt(context.settings, path))
  const source = sourceOf(context, path)
  const shown = [formatPath(path), legacyKey(context, dotted), value, source === undefined ? '' : `(${source})`]
  return [`${shown.filter((part) => part !== '').join(' ')}: ${messageFor(issue)}`]
}

function legacyKey(context: ProblemContext, dotted: string): string {
  const [key] = [...LEGACY_KEYS].find(([, path]) => path === dotted) ?? []
  return context.isLegacy && key !== undefined && context.sources[dotted]?.startsWith('file ') ? key : ''
}

function formatUnknown(name: string, nearest: string | undefined): string {
  if (isSecretName(name)) {
    return `credentials are not read from here; they come from ${CREDENTIAL_PLACES}`
  }
  return nearest === undefined ? 'not known to this version' : `not known to this version (did you mean ${nearest}?)`
}

function messageFor(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_key') return issue.issues[0]?.message ?? issue.message
  if (issue.code !== 'invalid_type') return issue.message
  if (issue.expected === 'object' || issue.expected === 'record') return 'must be a section with settings below it'
  return issue.message
}

/** A part that is not a plain word is quoted, so that control characters and blanks are seen. */
function formatPath(path: readonly string[]): string {
  if (path.length === 0) return 'the file'
  return path.map((part) => (/^[\p{L}\p{N}_.:-]+$/u.test(part) ? part : JSON.stringify(part))).join('.')
}

function sourceOf(context: ProblemContext, path: readonly string[]): string | undefined {
  return context.sources[path.join('.')]
}

function valueAt(settings: unknown, path: readonly string[]): unknown {
  let value = settings
  for (const part of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined
    value = (value as Record<string, unknown>)[part]
  }
  return value
}

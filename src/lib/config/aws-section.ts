/**
 * The `s3` section of ~/.aws/config as defaults of ours. It was written for aws, and the bash scripts told users to tune
 * their copies there. Pure: values in, settings and warnings out. Source of all rules: aws-cli 1.46 and 2,
 * customizations/s3/transferconfig.py, and its help topic `s3-config`.
 */
import {MAX_BANDWIDTH, MAX_CONCURRENCY, PART_SIZE, type Limits} from './limits.ts'
import {formatValue} from './redact.ts'
import {formatSize} from './units.ts'

/** Which key of the section is the default of which setting. */
export const AWS_KEYS: ReadonlyMap<string, string> = new Map([
  ['max_concurrent_requests', 'transfer.concurrency'],
  ['multipart_chunksize', 'transfer.partSize'],
  ['max_bandwidth', 'transfer.maxBandwidth'],
  ['addressing_style', 's3.forcePathStyle'],
])

/** What aws reaches by another address; here that is `s3.endpoint`. */
const OTHER_ENDPOINTS: ReadonlyMap<string, string> = new Map([
  ['use_accelerate_endpoint', 'https://s3-accelerate.amazonaws.com'],
  ['use_dualstack_endpoint', 'https://s3.dualstack.REGION.amazonaws.com'],
])

export interface AwsDefaults {
  /** Dotted path → value as in our file. */
  readonly values: Readonly<Record<string, string | boolean>>
  readonly warnings: readonly string[]
}

/** A value of ours, why there is none, or both: what is out of our range counts as the nearest that is not. */
interface Translated {
  readonly value?: string | boolean
  readonly warning?: string
}

const TRANSLATIONS: ReadonlyMap<string, (value: string) => Translated> = new Map([
  ['max_concurrent_requests', (value) => within(/^\d{1,15}$/.test(value) ? Number(value) : Number.NaN, MAX_CONCURRENCY, String, 'a whole number above 0')],
  ['multipart_chunksize', (value) => within(parseAwsSize(value), PART_SIZE, formatSize, 'a size such as 16MB')],
  ['max_bandwidth', (value) => within(parseAwsRate(value), MAX_BANDWIDTH, formatSize, 'a rate such as 50MB/s')],
  ['addressing_style', translateStyle],
])

/**
 * What the keys of the section `s3` of `file` mean here. Keys whose setting `isSet` elsewhere are left out without a
 * word, as are those without a meaning here (`multipart_threshold`: up to the part size a file is one PUT). A value that
 * is not understood is a warning, never an error: the file belongs to aws.
 */
export function planAwsDefaults(section: Readonly<Record<string, string>>, file: string, isSet: (path: string) => boolean): AwsDefaults {
  const values: Record<string, string | boolean> = {}
  const warnings: string[] = []
  for (const [key, path] of AWS_KEYS) {
    const written = Object.hasOwn(section, key) ? section[key] : undefined
    if (written === undefined || isSet(path)) continue
    const {value, warning} = TRANSLATIONS.get(key)?.(written) ?? {}
    if (value !== undefined) values[path] = value
    if (warning !== undefined) warnings.push(`${file}: s3 ${key} ${formatValue(`s3.${key}`, written)} ${warning}`)
  }
  for (const [key, address] of OTHER_ENDPOINTS) {
    if (!Object.hasOwn(section, key) || section[key]?.toLowerCase() !== 'true' || isSet('s3.endpoint')) continue
    warnings.push(`${file}: s3 ${key} has no effect here; set s3.endpoint to ${address} for that`)
  }
  return {values, warnings}
}

function within(amount: number, {least, most}: Limits, format: (amount: number) => string, what: string): Translated {
  if (!(amount > 0)) return {warning: `is ignored: it is not ${what}`}
  const value = Math.min(Math.max(amount, least), most)
  return {value: String(value), ...(value === amount ? {} : {warning: `counts as ${format(value)}, the ${amount < least ? 'least' : 'most'} possible here`})}
}

function translateStyle(value: string): Translated {
  if (value === 'path' || value === 'virtual') return {value: value === 'path'}
  // `auto` is what we do by ourselves: path style for an endpoint of one's own.
  return value === 'auto' ? {} : {warning: 'is ignored: it is not path, virtual or auto'}
}

const SIZE_UNITS: ReadonlyMap<string, number> = new Map([['', 1], ['k', 1024], ['m', 1024 ** 2], ['g', 1024 ** 3], ['t', 1024 ** 4]])

/** aws's sizes: `64MB` and `64MiB` are the same, powers of 1024 in either case; NaN when it is none. */
function parseAwsSize(text: string): number {
  const [, digits, unit = ''] = /^(\d{1,15}) *(?:([kmgt])i?b)?$/i.exec(text) ?? []
  return digits === undefined ? Number.NaN : Number(digits) * (SIZE_UNITS.get(unit.toLowerCase()) ?? Number.NaN)
}

/** aws's rates, in bytes a second: `50MB/s` is bytes, `50Mb/s` bits (aws-cli 2), a number without unit bytes. */
function parseAwsRate(text: string): number {
  const [, amount = '', letter] = /^(\d{1,15} *(?:[kmgtKMGT]i?)?)([Bb])\/s$/.exec(text) ?? []
  if (letter === undefined) return /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  const perSecond = parseAwsSize(/\d *$/.test(amount) ? amount.trim() : `${amount}b`)
  return letter === 'b' ? Math.floor(perSecond / 8) : perSecond
}

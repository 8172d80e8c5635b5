/**
 * Sizes and durations as people write them. Pure; the schema is not needed to use them.
 */
import {UsageError} from '../errors.ts'

const SIZE_UNITS: ReadonlyMap<string, number> = new Map([
  ['B', 1],
  ['kB', 1000],
  ['KiB', 1024],
  ['MB', 1000 ** 2],
  ['MiB', 1024 ** 2],
  ['GB', 1000 ** 3],
  ['GiB', 1024 ** 3],
  ['TB', 1000 ** 4],
  ['TiB', 1024 ** 4],
])

const DURATION_UNITS: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
  ['w', 7 * 86_400_000],
])

/** `16MiB`, `500 MB`, `1048576` or a number of bytes → bytes. Throws UsageError naming the text. */
export function parseSize(text: string | number): number {
  const match = /^(\d+) ?(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)?$/.exec(String(text).trim())
  const sizeBytes = match === null ? Number.NaN : Number(match[1]) * (SIZE_UNITS.get(match[2] ?? 'B') ?? Number.NaN)
  if (!Number.isSafeInteger(sizeBytes)) {
    throw new UsageError(`${JSON.stringify(text)} is not a size such as 16MiB, 500MB or 5GiB`)
  }
  return sizeBytes
}

/** `30d`, `12h`, `90s`, `500ms` → milliseconds. A number without unit is refused: nobody remembers which one it is. */
export function parseDuration(text: string | number): number {
  const match = /^(\d+) ?(ms|s|m|h|d|w)$/.exec(String(text).trim())
  const durationMs = match === null ? Number.NaN : Number(match[1]) * (DURATION_UNITS.get(match[2] ?? '') ?? Number.NaN)
  if (!Number.isSafeInteger(durationMs)) {
    throw new UsageError(`${JSON.stringify(text)} is not a duration with its unit, such as 90s, 15m, 12h, 30d or 4w`)
  }
  return durationMs
}

/** As parseDuration; `0` needs no unit. */
export function parseDurationOrZero(text: string | number): number {
  return String(text).trim() === '0' ? 0 : parseDuration(text)
}

/** `50MiB` or `50MiB/s`, `0` for no limit → bytes a second. Throws UsageError naming the text. */
export function parseBandwidth(text: string | number): number {
  return parseSize(String(text).trim().replace(/ ?\/s$/, ''))
}

/** Bytes → the shortest text parseSize reads back as the same number, in binary units: 16777216 → `16MiB`. */
export function formatSize(sizeBytes: number): string {
  return formatUnit(sizeBytes, SIZE_UNITS, ['TiB', 'GiB', 'MiB', 'KiB'], 'B')
}

/** Milliseconds → the text parseDuration reads back as the same number: 60000 → `1m`. */
export function formatDuration(durationMs: number): string {
  return formatUnit(durationMs, DURATION_UNITS, ['d', 'h', 'm', 's'], 'ms')
}

function formatUnit(amount: number, units: ReadonlyMap<string, number>, names: readonly string[], smallest: string): string {
  const name = amount === 0 ? undefined : names.find((candidate) => amount % (units.get(candidate) ?? Infinity) === 0)
  return name === undefined ? `${amount}${smallest}` : `${amount / (units.get(name) ?? 1)}${name}`
}

/** A moment as Barman wrote it. Barman's resolution is the microsecond, which `Date` does not hold. */
export interface BarmanTime {
  readonly date: Date
  /** Microseconds since 1970-01-01T00:00:00Z. */
  readonly epochMicroseconds: bigint
  /** Whether the text named its zone. Old Barman left it out and meant the local time of its host. */
  readonly hasZone: boolean
  /** `2026-11-25T07:40:19.047306Z`; without `Z`, and not moved to UTC, when the text had no zone. */
  readonly normalized: string
}

const DATE_AND_TIME = String.raw`(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))?`
const ZONE = String.raw`(Z|UTC|GMT|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?)`
const ISO = new RegExp(String.raw`^${DATE_AND_TIME}\s*${ZONE}?$`)
const CTIME = /^[A-Z][a-z]{2} ([A-Z][a-z]{2}) +(\d{1,2}) (\d{2}):(\d{2}):(\d{2}) (\d{4})$/
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** Date and time as the text has them, before any zone is applied. */
interface WallTime {
  readonly year: number
  readonly month: number
  readonly day: number
  readonly hour: number
  readonly minute: number
  readonly second: number
  readonly microsecond: number
}

/**
 * The time in `text`, or undefined when it is none: `2026-11-25 07:40:19.047306+00:00` with or without fraction and zone
 * (barman: `str(datetime)`), `T` for the blank, or C's `Wed Nov 25 07:40:19 2026`. A time without zone is taken as local
 * time of this host, as Barman does (barman: `infofile.load_datetime_tz`).
 */
export function parseBarmanTime(text: string): BarmanTime | undefined {
  const iso = ISO.exec(text.trim())
  if (iso !== null) return toTime(isoWallTime(iso), iso[8])
  const ctime = CTIME.exec(text.trim())
  return ctime === null ? undefined : toTime(ctimeWallTime(ctime), undefined)
}

function isoWallTime(match: RegExpExecArray): WallTime {
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(Number)
  return {year, month, day, hour, minute, second, microsecond: Number((match[7] ?? '').slice(0, 6).padEnd(6, '0'))}
}

function ctimeWallTime(match: RegExpExecArray): WallTime {
  const [day = 0, hour = 0, minute = 0, second = 0, year = 0] = match.slice(2, 7).map(Number)
  return {year, month: MONTHS.indexOf(match[1] ?? '') + 1, day, hour, minute, second, microsecond: 0}
}

function toTime(wall: WallTime, zone: string | undefined): BarmanTime | undefined {
  const {year, month, day, hour, minute, second, microsecond} = wall
  const asUtc = new Date(Date.UTC(year, month - 1, day, hour, minute, second))
  const isPossibleDate = year > 0 && asUtc.getUTCMonth() === month - 1 && asUtc.getUTCDate() === day
  if (!isPossibleDate || hour > 23 || minute > 59 || second > 59) return undefined
  const epochMilliseconds =
    zone === undefined
      ? new Date(year, month - 1, day, hour, minute, second).getTime()
      : asUtc.getTime() - zoneOffsetSeconds(zone) * 1000
  const normalized = (zone === undefined ? asUtc : new Date(epochMilliseconds)).toISOString().slice(0, 19)
  return {
    date: new Date(epochMilliseconds + Math.floor(microsecond / 1000)),
    epochMicroseconds: BigInt(epochMilliseconds) * 1000n + BigInt(microsecond),
    hasZone: zone !== undefined,
    normalized: `${normalized}.${String(microsecond).padStart(6, '0')}${zone === undefined ? '' : 'Z'}`,
  }
}

function zoneOffsetSeconds(zone: string): number {
  const digits = zone.replaceAll(':', '')
  if (!/^[+-]/.test(digits)) return 0
  const seconds = Number(digits.slice(1, 3)) * 3600 + Number(digits.slice(3, 5)) * 60 + Number(digits.slice(5, 7))
  return digits.startsWith('-') ? -seconds : seconds
}

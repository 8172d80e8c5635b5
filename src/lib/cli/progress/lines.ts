import type {Clock} from '../../clock.ts'
import {formatOneLine} from '../render/units.ts'
import {PhaseMeter} from './measure.ts'
import type {LogFields, ProgressView} from './progress-view.ts'

export interface LinesOptions {
  /** Of the running command, such as `wal sync`. */
  readonly command: string
  readonly clock: Pick<Clock, 'now'>
  readonly write: (text: string) => void
  /** Errors only. */
  readonly isQuiet: boolean
}

/** Long work says so once a minute at most. */
const INTERVAL_MS = 60_000

/**
 * Progress for cron and systemd: one line an event, `<ISO time> <level> <command>: <message> key=value …`, without colour
 * and carriage returns. A run with nothing to do writes nothing, so that cron sends no mail.
 */
export class LinesProgress implements ProgressView {
  readonly #options: LinesOptions
  #title = ''
  #meter = new PhaseMeter()
  #lastMs: number

  constructor(options: LinesOptions) {
    this.#options = options
    this.#lastMs = options.clock.now().getTime()
  }

  phase(title: string): void {
    this.#title = title
    this.#meter = new PhaseMeter()
  }

  total(amount: {items?: number; bytes?: number}): void {
    this.#meter.setTotal(amount)
  }

  advance(amount: {items?: number; bytes?: number}): void {
    const nowMs = this.#options.clock.now().getTime()
    this.#meter.advance(amount, nowMs)
    if (nowMs - this.#lastMs < INTERVAL_MS) return
    this.#lastMs = nowMs
    const {doneBytes, totalBytes, doneItems, totalItems} = this.#meter
    const rate = this.#meter.rate(nowMs)
    const eta = this.#meter.etaSeconds(nowMs)
    this.#line('info', this.#title, {
      items: doneItems, ofItems: totalItems, bytes: doneBytes, ofBytes: totalBytes,
      bytesPerSecond: rate === undefined ? undefined : Math.round(rate), etaSeconds: eta === undefined ? undefined : Math.round(eta),
    })
  }

  warn(message: string): void {
    this.#line('warn', message, {})
  }

  fail(message: string): void {
    this.#line('error', message, {})
  }

  event(message: string, fields: LogFields = {}): void {
    this.#line('info', message, fields)
  }

  verdict(level: 'info' | 'warn' | 'error', message: string, fields: LogFields): void {
    this.#line(level, message, fields)
  }

  async finish(): Promise<void> {}

  #line(level: 'info' | 'warn' | 'error', message: string, fields: LogFields): void {
    if (this.#options.isQuiet && level !== 'error') return
    const pairs = Object.entries(fields).filter(([, value]) => value !== undefined).map(([name, value]) => ` ${name}=${formatValue(value)}`)
    const time = this.#options.clock.now().toISOString().replace(/\.\d+Z$/, 'Z')
    this.#options.write(`${time} ${level} ${this.#options.command}: ${formatOneLine(message)}${pairs.join('')}\n`)
  }
}

function formatValue(value: string | number | boolean | undefined): string {
  const text = formatOneLine(String(value))
  return /^[^\s"=]+$/.test(text) ? text : JSON.stringify(text)
}

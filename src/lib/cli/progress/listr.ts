import {Listr, ListrLogger, ProcessOutput, type DefaultRenderer, type ListrTaskWrapper, type SimpleRenderer} from 'listr2'
import type {Clock} from '../../clock.ts'
import {formatAge, formatBytes, formatCount, formatOneLine} from '../render/units.ts'
import {PhaseMeter} from './measure.ts'
import type {ProgressView} from './progress-view.ts'

type TaskView = ListrTaskWrapper<unknown, typeof DefaultRenderer, typeof SimpleRenderer>

export interface ListrOptions {
  readonly clock: Pick<Clock, 'now'>
  readonly isQuiet: boolean
}

/** At most ten updates a second. */
const UPDATE_MS = 100

/**
 * Progress on a terminal: one listr2 task a phase, with counts, bytes, rate and time to go, on stderr. Warnings and
 * failures are written after the picture, so that they stay.
 */
export class ListrProgress implements ProgressView {
  readonly #options: ListrOptions
  #meter = new PhaseMeter()
  #task: TaskView | undefined
  #end: ((outcome: 'succeeded' | 'failed') => void) | undefined
  #picture: Promise<unknown> = Promise.resolve()
  #lastMs = 0
  readonly #messages: string[] = []

  constructor(options: ListrOptions) {
    this.#options = options
  }

  phase(title: string): void {
    this.#end?.('succeeded')
    if (this.#options.isQuiet) return
    this.#meter = new PhaseMeter()
    this.#task = undefined
    const ended = new Promise<'succeeded' | 'failed'>((resolve) => {
      this.#end = resolve
    })
    const before = this.#picture
    this.#picture = before.then(async () => await this.#draw(title, ended))
  }

  async #draw(title: string, ended: Promise<'succeeded' | 'failed'>): Promise<void> {
    const tasks = new Listr([{
      title: formatOneLine(title),
      task: async (_, task) => {
        this.#task = task as TaskView
        if ((await ended) === 'failed') throw new Error(formatOneLine(title))
      },
    }], {
      // listr2 would exit 127 on SIGINT before we have cleaned up.
      registerSignalListeners: false,
      exitOnError: false,
      renderer: 'default',
      rendererOptions: {
        showErrorMessage: false, collapseErrors: false,
        // What listr2 calls its stdout is our stderr: results go to stdout.
        logger: new ListrLogger({useIcons: true, toStderr: [], processOutput: new ProcessOutput(process.stderr, process.stdout, {leaveEmptyLine: false})}),
      },
    })
    await tasks.run().catch(() => undefined)
  }

  total(amount: {items?: number; bytes?: number}): void {
    this.#meter.setTotal(amount)
  }

  advance(amount: {items?: number; bytes?: number}): void {
    const nowMs = this.#options.clock.now().getTime()
    this.#meter.advance(amount, nowMs)
    if (!this.#task || nowMs - this.#lastMs < UPDATE_MS) return
    this.#lastMs = nowMs
    this.#task.output = formatMeter(this.#meter, nowMs)
  }

  warn(message: string): void {
    this.#messages.push(`warning: ${formatOneLine(message)}`)
  }

  fail(message: string): void {
    this.#messages.push(`failed: ${formatOneLine(message)}`)
  }

  event(): void {}

  verdict(): void {}

  async finish(outcome: 'succeeded' | 'failed'): Promise<void> {
    this.#end?.(outcome)
    await this.#picture
    for (const message of this.#messages.splice(0)) {
      if (!this.#options.isQuiet || message.startsWith('failed:')) process.stderr.write(`${message}\n`)
    }
  }
}

/** One line: `12 of 128 files, 1.2 of 2.0 GiB, 210.3 MiB/s, 4 s to go`. */
export function formatMeter(meter: PhaseMeter, nowMs: number): string {
  const parts: string[] = []
  // Barman's size of a backup is an estimate: once passed, it is worth nothing.
  const isTotalKnown = meter.totalBytes !== undefined && meter.totalBytes >= meter.doneBytes
  if (meter.doneItems > 0 || meter.totalItems !== undefined) {
    parts.push(meter.totalItems === undefined ? formatCount(meter.doneItems, 'file') : `${meter.doneItems} of ${formatCount(meter.totalItems, 'file')}`)
  }
  parts.push(`${formatBytes(meter.doneBytes)}${isTotalKnown ? ` of ${formatBytes(meter.totalBytes ?? 0)}` : ''}`)
  const rate = meter.rate(nowMs)
  if (rate !== undefined) parts.push(`${formatBytes(Math.round(rate))}/s`)
  const eta = meter.etaSeconds(nowMs)
  if (eta !== undefined) parts.push(`${formatAge(eta)} to go`)
  return parts.join(', ')
}

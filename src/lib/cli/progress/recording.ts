import type {ProgressView} from './progress-view.ts'

/** Passes everything on and remembers warnings and failures, which `--json` puts into its envelope. */
export class RecordingProgress implements ProgressView {
  readonly warnings: string[] = []
  readonly #view: ProgressView | undefined

  /** @param view where it is shown; nowhere with `--json` */
  constructor(view: ProgressView | undefined) {
    this.#view = view
  }

  phase(title: string): void {
    this.#view?.phase(title)
  }

  total(amount: {items?: number; bytes?: number}): void {
    this.#view?.total(amount)
  }

  advance(amount: {items?: number; bytes?: number}): void {
    this.#view?.advance(amount)
  }

  warn(message: string): void {
    this.#remember(message)
    this.#view?.warn(message)
  }

  fail(message: string): void {
    this.#remember(message)
    this.#view?.fail(message)
  }

  event(message: string, fields?: Readonly<Record<string, string | number | boolean>>): void {
    this.#view?.event(message, fields)
  }

  verdict(...line: Parameters<ProgressView['verdict']>): void {
    this.#view?.verdict(...line)
  }

  async finish(outcome: 'succeeded' | 'failed'): Promise<void> {
    await this.#view?.finish(outcome)
  }

  #remember(message: string): void {
    if (this.warnings.length < 1000) this.warnings.push(message)
  }
}

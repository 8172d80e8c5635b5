import type {Progress} from '../progress.ts'

/** What is left to be sent, as far as known: counted beside the copy, and less with every file that need not be sent. */
export class CopyTotals {
  readonly #progress: Progress
  #items: number | undefined
  #bytes = 0

  constructor(progress: Progress) {
    this.#progress = progress
  }

  /** What the whole backup has. */
  set({items, bytes}: {items: number; bytes: number}): void {
    this.#items = items
    this.#bytes += bytes
    this.#show()
  }

  /** This need not be sent. */
  skip(bytes: number): void {
    this.#bytes -= bytes
    if (this.#items !== undefined) this.#show()
  }

  #show(): void {
    this.#progress.total({items: this.#items ?? 0, bytes: Math.max(0, this.#bytes)})
  }
}

/** How far a phase has come, and how fast over the last seconds. Pure but for the times it is given. */
export class PhaseMeter {
  doneItems = 0
  doneBytes = 0
  totalItems: number | undefined
  totalBytes: number | undefined
  readonly #windowMs: number
  readonly #samples: {atMs: number; bytes: number}[] = []

  /** @param windowMs span over which the rate is taken */
  constructor(windowMs = 10_000) {
    this.#windowMs = windowMs
  }

  setTotal({items, bytes}: {items?: number; bytes?: number}): void {
    if (items !== undefined) this.totalItems = items
    if (bytes !== undefined) this.totalBytes = bytes
  }

  advance({items = 0, bytes = 0}: {items?: number; bytes?: number}, nowMs: number): void {
    this.doneItems += items
    this.doneBytes += bytes
    if (bytes === 0) return
    const last = this.#samples.at(-1)
    // A sample a quarter of a second is enough: a million small files must not fill memory.
    if (last && nowMs - last.atMs < 250) last.bytes = this.doneBytes
    else this.#samples.push({atMs: nowMs, bytes: this.doneBytes})
    while (this.#samples.length > 2 && nowMs - (this.#samples[0]?.atMs ?? nowMs) > this.#windowMs) this.#samples.shift()
  }

  /** Bytes per second over the last seconds; undefined until there is something to measure. */
  rate(nowMs: number): number | undefined {
    const first = this.#samples[0]
    if (!first || nowMs - first.atMs < 1000) return undefined
    return ((this.doneBytes - first.bytes) * 1000) / (nowMs - first.atMs)
  }

  /** Seconds to go, as far as the rate tells. */
  etaSeconds(nowMs: number): number | undefined {
    const rate = this.rate(nowMs)
    if (!rate || this.totalBytes === undefined || this.totalBytes <= this.doneBytes) return undefined
    return (this.totalBytes - this.doneBytes) / rate
  }
}

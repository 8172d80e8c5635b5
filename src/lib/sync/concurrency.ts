/** Bounded parallel work with backpressure: nothing here ever holds more than `limit` (or `window`) items. */

/**
 * Calls `work` for every item, at most `limit` at a time. When one call rejects, no further item is begun, those under
 * way are awaited, and the first rejection is thrown.
 */
export async function forEachConcurrently<Item>(
  items: Iterable<Item> | AsyncIterable<Item>,
  limit: number,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>()
  let failure: {error: unknown} | undefined
  try {
    for await (const item of items) {
      if (failure) break
      const task: Promise<void> = begin(work, item)
        .catch((error: unknown) => {
          failure ??= {error}
        })
        .finally(() => running.delete(task))
      running.add(task)
      if (running.size >= limit) await Promise.race(running)
    }
  } finally {
    // Also when the items themselves end in an error: nothing runs on behind the caller's back.
    await Promise.all(running)
  }
  if (failure) throw failure.error
}

/** Calls `work` so that what it throws at once is a rejection as any other. */
async function begin<Item, Result>(work: (item: Item) => Promise<Result>, item: Item): Promise<Result> {
  return await work(item)
}

/** A result that comes later, without taking a place among the calls under way until then. */
export interface Later<Result> {
  readonly later: Promise<Result>
}

export interface OrderOptions<Item> {
  /** Calls at the same time. */
  readonly limit: number
  /** Results that may wait behind a slow one. */
  readonly window: number
  /** Called when nothing more can begin before the result of this item comes: whoever gathers should send what holds it. */
  readonly onStall?: (item: Item) => void
}

/**
 * Calls `work` for every item, at most `limit` at a time, and yields the results in the order of the items. After a
 * rejection the calls under way are awaited before it is thrown, so nothing runs on behind the caller's back.
 */
export async function* mapInOrder<Item, Result>(
  items: AsyncIterable<Item>, {limit, window, onStall}: OrderOptions<Item>, work: (item: Item) => Promise<Result | Later<Result>>,
): AsyncGenerator<Result, void, undefined> {
  const queue = new Queue<{item: Item; result: Promise<Result>}>()
  const running = new Set<Promise<unknown>>()
  const source = items[Symbol.asyncIterator]()
  let isExhausted = false
  try {
    for (;;) {
      while (!isExhausted && queue.length < window && running.size < limit) {
        const next = await source.next()
        if (next.done) {
          isExhausted = true
          break
        }
        const task = begin(work, next.value)
        const result = task.then(async (value) => (isLater(value) ? await value.later : value))
        // Looked at only in its turn, which may be after it has failed.
        result.catch(() => undefined)
        queue.push({item: next.value, result})
        const settled: Promise<unknown> = task.then(() => undefined, () => undefined).finally(() => running.delete(settled))
        running.add(settled)
      }
      const head = queue.first()
      if (head === undefined) return
      const first = head.result
      // A slow first one must not keep free places idle: wait for it, or for any place to become free.
      if (!isExhausted && queue.length < window && running.size >= limit) {
        const isFirst = await Promise.race([first.then(() => true), ...[...running].map((task) => task.then(() => false))])
        if (!isFirst && !(await isSettled(first))) continue
      } else if (onStall && !(await isSettled(first))) {
        onStall(head.item)
      }
      queue.shift()
      yield await first
    }
  } finally {
    // Not the `later` results: whoever gathers for them ends them.
    await Promise.allSettled(running)
    await source.return?.()
  }
}

/** First in, first out; an array that is shifted moves all of its thousands each time. */
export class Queue<Item> implements Iterable<Item> {
  #items: (Item | undefined)[] = []
  #begin = 0

  get length(): number {
    return this.#items.length - this.#begin
  }

  first(): Item | undefined {
    return this.#items[this.#begin]
  }

  push(item: Item): void {
    this.#items.push(item)
  }

  shift(): Item | undefined {
    const item = this.#items[this.#begin]
    if (this.length === 0) return undefined
    this.#items[this.#begin++] = undefined
    if (this.#begin > 1024 && this.#begin * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#begin)
      this.#begin = 0
    }
    return item
  }

  * [Symbol.iterator](): Generator<Item, void, undefined> {
    for (let index = this.#begin; index < this.#items.length; index++) yield this.#items[index] as Item
  }
}

function isLater<Result>(value: Result | Later<Result>): value is Later<Result> {
  return typeof value === 'object' && value !== null && 'later' in value
}

async function isSettled(task: Promise<unknown>): Promise<boolean> {
  const pending = Symbol('pending')
  return (await Promise.race([task.catch(() => undefined), Promise.resolve(pending)])) !== pending
}

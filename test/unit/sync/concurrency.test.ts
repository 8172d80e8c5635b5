import {getEventListeners} from 'node:events'
import {setTimeout as delay} from 'node:timers/promises'
import {expect} from 'chai'
import {BodyPool} from '../../../src/lib/sync/body-pool.ts'
import {forEachConcurrently, mapInOrder} from '../../../src/lib/sync/concurrency.ts'

async function* numbers(count: number, onTake?: (index: number) => void): AsyncGenerator<number> {
  for (let index = 0; index < count; index++) {
    onTake?.(index)
    yield index
  }
}

describe('work on many items at once', () => {
  it('never passes the limit and does each item once', async () => {
    let running = 0
    let most = 0
    const done = new Set<number>()
    await forEachConcurrently(numbers(200), 7, async (item) => {
      most = Math.max(most, ++running)
      await delay(item % 3)
      running--
      done.add(item)
    })
    expect({most, count: done.size}).to.deep.equal({most: 7, count: 200})
  })

  it('after a failure begins nothing new, waits for what runs, and throws the first error', async () => {
    const begun: number[] = []
    let ended = 0
    const error = await forEachConcurrently(numbers(100), 4, async (item) => {
      begun.push(item)
      await delay(item === 2 ? 1 : 30)
      ended++
      if (item === 2) throw new Error('two')
    }).then(() => undefined, (thrown: unknown) => thrown)
    expect((error as Error).message).to.equal('two')
    expect(begun.length).to.be.at.most(5)
    expect(ended).to.equal(begun.length)
  })

  it('when the items themselves end in an error, what runs is awaited before it is thrown', async () => {
    let running = 0
    async function* broken() {
      yield 1
      yield 2
      throw new Error('no more items')
    }
    const error = await forEachConcurrently(broken(), 4, async () => {
      running++
      await delay(15)
      running--
    }).then(() => undefined, (thrown: unknown) => thrown)
    expect((error as Error).message).to.equal('no more items')
    expect(running).to.equal(0)
  })

  it('one that fails at once is as one that fails later', async () => {
    let running = 0
    const error = await forEachConcurrently([1, 2, 3], 4, (item) => {
      if (item === 2) throw new Error('at once')
      running++
      return delay(10).then(() => {
        running--
      })
    }).then(() => undefined, (thrown: unknown) => thrown)
    expect((error as Error).message).to.equal('at once')
    expect(running).to.equal(0)
  })

  it('leaves no rejection unhandled, however many fail', async () => {
    const unhandled: unknown[] = []
    const note = (reason: unknown) => void unhandled.push(reason)
    process.on('unhandledRejection', note)
    try {
      const fails = async (item: number) => {
        await delay(item === 0 ? 20 : 1)
        throw new Error(`item ${item}`)
      }
      for (const work of [forEachConcurrently(numbers(20), 8, fails), (async () => {
        for await (const result of mapInOrder(numbers(20), {limit: 8, window: 20}, fails)) void result
      })()]) expect(await work.then(() => undefined, (thrown: unknown) => thrown)).to.be.instanceOf(Error)
      await delay(30)
      expect(unhandled).to.deep.equal([])
    } finally {
      process.off('unhandledRejection', note)
    }
  })

  it('who stops reading results early waits for what runs, and the items are closed', async () => {
    let running = 0
    let isClosed = false
    async function* items() {
      try {
        yield* numbers(50)
      } finally {
        isClosed = true
      }
    }
    for await (const result of mapInOrder(items(), {limit: 4, window: 8}, async (item) => {
      running++
      await delay(3)
      running--
      return item
    })) if (result === 2) break
    expect({running, isClosed}).to.deep.equal({running: 0, isClosed: true})
  })

  it('results come in the order of the items, whoever is first', async () => {
    const results: number[] = []
    for await (const result of mapInOrder(numbers(60), {limit: 8, window: 20}, async (item) => {
      await delay((item * 7) % 11)
      return item
    })) results.push(result)
    expect(results).to.deep.equal(Array.from({length: 60}, (_, index) => index))
  })

  it('a slow one holds up results, but not the work, as far as the window goes', async () => {
    let taken = 0
    let release: () => void = () => undefined
    const slow = new Promise<void>((resolve) => {
      release = resolve
    })
    const iterator = mapInOrder(numbers(100, (index) => {
      taken = index
    }), {limit: 4, window: 10}, async (item) => {
      if (item === 0) await slow
      return item
    })[Symbol.asyncIterator]()
    const first = iterator.next()
    await delay(30)
    expect(taken).to.be.within(9, 10)
    release()
    expect((await first).value).to.equal(0)
    await iterator.return(undefined)
  })

  it('a failure comes in its turn, and nothing runs on behind it', async () => {
    let running = 0
    const results: number[] = []
    const error = await (async () => {
      for await (const result of mapInOrder(numbers(50), {limit: 5, window: 10}, async (item) => {
        running++
        await delay(5)
        running--
        if (item === 7) throw new Error('seven')
        return item
      })) results.push(result)
    })().then(() => undefined, (thrown: unknown) => thrown)
    expect((error as Error).message).to.equal('seven')
    expect(results.every((result, index) => result === index)).to.equal(true)
    expect(running).to.equal(0)
  })
})

describe('memory for bodies', () => {
  const MIB = 1024 * 1024

  it('never hands out more than the limit, and serves everybody', async () => {
    const pool = new BodyPool(8 * MIB)
    let used = 0
    let most = 0
    await Promise.all(Array.from({length: 100}, async (_, index) => {
      const size = index % 3 === 0 ? 3 * MIB : index % 3 === 1 ? 16 * 1024 : MIB
      const buffer = await pool.take(size)
      expect(buffer.length).to.equal(size)
      used += size
      most = Math.max(most, used)
      await delay(1)
      used -= size
      pool.give(buffer)
    }))
    expect(most).to.be.at.most(8 * MIB)
  })

  it('one body larger than the limit is handed out alone', async () => {
    const pool = new BodyPool(MIB)
    const large = await pool.take(5 * MIB)
    let isSecond = false
    const second = pool.take(10).then((buffer) => {
      isSecond = true
      return buffer
    })
    await delay(5)
    expect(isSecond).to.equal(false)
    pool.give(large)
    expect((await second).length).to.equal(10)
  })

  it('small bodies do not queue behind large ones', async () => {
    const pool = new BodyPool(8 * MIB)
    const held = await pool.take(7 * MIB)
    let isLarge = false
    void pool.take(4 * MIB).then(() => {
      isLarge = true
    })
    expect((await pool.take(1000)).length).to.equal(1000)
    expect(isLarge).to.equal(false)
    pool.give(held)
    await delay(1)
    expect(isLarge).to.equal(true)
  })

  it('leaves nothing behind at the signal of the run: a million WALs must not leave a million listeners', async () => {
    const pool = new BodyPool(MIB)
    const {signal} = new AbortController()
    let held = await pool.take(MIB, signal)
    for (let index = 0; index < 50; index++) {
      const next = pool.take(MIB, signal)
      pool.give(held)
      held = await next
    }
    expect(getEventListeners(signal, 'abort')).to.have.length(0)
  })

  it('who gives up lets those behind begin', async () => {
    const pool = new BodyPool(16 * MIB)
    await pool.take(7 * MIB)
    const impatient = new AbortController()
    const first = pool.take(12 * MIB, impatient.signal).then(() => 'taken', () => 'given up')
    const second = pool.take(4 * MIB)
    await delay(1)
    impatient.abort()
    expect(await first).to.equal('given up')
    expect((await Promise.race([second, delay(50)]))?.length).to.equal(4 * MIB)
  })

  it('who waits is told when the run is stopped, and takes nothing', async () => {
    const pool = new BodyPool(2 * MIB)
    const held = await pool.take(2 * MIB)
    const abort = new AbortController()
    const waiting = pool.take(MIB, abort.signal).then(() => undefined, (thrown: unknown) => thrown)
    abort.abort(new Error('stopped'))
    expect(((await waiting) as Error).message).to.equal('stopped')
    pool.give(held)
    expect((await pool.take(2 * MIB)).length).to.equal(2 * MIB)
  })

  it('uses memory again, but not that of a failed request', async () => {
    const pool = new BodyPool(8 * MIB)
    const one = await pool.take(2 * MIB)
    pool.give(one)
    const two = await pool.take(2 * MIB)
    expect(two.buffer).to.equal(one.buffer)
    pool.give(two, {isReusable: false})
    expect((await pool.take(2 * MIB)).buffer).not.to.equal(one.buffer)
  })
})

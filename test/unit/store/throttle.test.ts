import {expect} from 'chai'
import type {Clock} from '../../../src/lib/clock.ts'
import {Throttle} from '../../../src/lib/store/throttle.ts'

/** A clock whose sleeping takes no time and moves it on; `jump` sets it, as an administrator does. */
class TestClock implements Clock {
  ms = 1_700_000_000_000
  sleptMs = 0
  #jumpMs = 0
  now(): Date {
    return new Date(this.ms)
  }
  jump(ms: number): void {
    this.#jumpMs = ms
  }
  async sleep(milliseconds: number): Promise<void> {
    await Promise.resolve()
    this.sleptMs += milliseconds
    this.ms += milliseconds + this.#jumpMs
    this.#jumpMs = 0
  }
}

const MIB = 1024 ** 2

describe('throttle', () => {
  async function pass(throttle: Throttle, sizeBytes: number): Promise<void> {
    for (let left = sizeBytes; left > 0; left -= throttle.sliceBytes) await throttle.take(Math.min(left, throttle.sliceBytes))
  }

  it('lets the limit pass, not more, however many ask', async () => {
    for (const takers of [1, 4, 128]) {
      const clock = new TestClock()
      const throttle = new Throttle({maxBytesPerSecond: MIB, clock})
      await Promise.all(Array.from({length: takers}, () => pass(throttle, (8 * MIB) / takers)))
      expect(clock.sleptMs, `${takers} at once`).to.be.within(7900, 8100)
    }
  })

  it('gives a tenth of a second at once after a pause, never what a long pause would add up to', async () => {
    const clock = new TestClock()
    const throttle = new Throttle({maxBytesPerSecond: MIB, clock})
    clock.ms += 3_600_000
    await pass(throttle, MIB)
    expect(clock.sleptMs).to.be.within(850, 950)
  })

  it('takes turns: who asks later does not pass first', async () => {
    const throttle = new Throttle({maxBytesPerSecond: MIB, clock: new TestClock()})
    const order: number[] = []
    await Promise.all([4000, 10, 4000, 10].map(async (sizeBytes, index) => {
      await throttle.take(sizeBytes)
      order.push(index)
    }))
    expect(order).to.deep.equal([0, 1, 2, 3])
  })

  it('makes up for what passed without asking', async () => {
    const clock = new TestClock()
    const throttle = new Throttle({maxBytesPerSecond: 100_000, clock})
    throttle.charge(50_000)
    await throttle.take(1)
    expect(clock.sleptMs).to.be.within(499, 501)
  })

  it('neither stalls nor lets all go when the clock of the machine is set', async () => {
    for (const jumpMs of [-3_600_000, 3_600_000]) {
      const clock = new TestClock()
      const throttle = new Throttle({maxBytesPerSecond: MIB, clock})
      await pass(throttle, MIB)
      clock.jump(jumpMs)
      await pass(throttle, 2 * MIB)
      expect(clock.sleptMs, String(jumpMs)).to.be.within(2750, 3050)
    }
  })

  it('makes slices small enough for 128 connections to move twice a second, and not smaller than worth a write', () => {
    for (const maxBytesPerSecond of [64 * 1024, MIB, 1024 * MIB]) {
      const {sliceBytes} = new Throttle({maxBytesPerSecond, clock: new TestClock()})
      expect((128 * sliceBytes) / maxBytesPerSecond).to.be.at.most(1)
      expect(sliceBytes).to.be.at.least(262)
    }
  })

  it('is no throttle without a limit', () => {
    for (const maxBytesPerSecond of [0, -1, Number.NaN]) {
      expect(() => new Throttle({maxBytesPerSecond, clock: new TestClock()})).to.throw(RangeError)
    }
  })

  describe('bodies at the same time', () => {
    it('are two on a slow line and more on a fast one; the next begins when one has passed', async () => {
      for (const [maxBytesPerSecond, most] of [[64 * 1024, 2], [2 * MIB, 8]] as const) {
        const throttle = new Throttle({maxBytesPerSecond, clock: new TestClock()})
        const begun: number[] = []
        const leaves = Array.from({length: most + 2}, async (_, index) => {
          const leave = await throttle.enter()
          begun.push(index)
          return leave
        })
        await new Promise(setImmediate)
        expect(begun).to.have.length(most)
        const leave = await leaves[0]!
        leave()
        leave()
        await new Promise(setImmediate)
        expect(begun).to.deep.equal(Array.from({length: most + 1}, (_, index) => index))
      }
    })

    it('that wait leave when the run is stopped, and hold nothing up', async () => {
      const throttle = new Throttle({maxBytesPerSecond: 64 * 1024, clock: new TestClock()})
      const inside = [await throttle.enter(), await throttle.enter()]
      const controller = new AbortController()
      const stopped = throttle.enter(controller.signal)
      const waiting = throttle.enter()
      controller.abort(new Error('stopped'))
      expect(await stopped.catch((error: Error) => error.message)).to.equal('stopped')
      expect(await throttle.enter(controller.signal).catch((error: Error) => error.message)).to.equal('stopped')
      inside[0]?.()
      expect(await waiting).to.be.a('function')
    })
  })
})

import {setTimeout as delay} from 'node:timers/promises'
import type {Clock} from '../clock.ts'

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => new Date(),
  async sleep(milliseconds, signal) {
    try {
      await delay(milliseconds, undefined, signal ? {signal} : {})
    } catch (error) {
      throw signal?.aborted ? signal.reason : error
    }
  },
}

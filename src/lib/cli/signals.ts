import {InterruptedError, EXIT} from '../errors.ts'

/** After a signal everything has this long to clean up; then the process ends whatever it waits for. */
const GRACE_MS = 9000

/**
 * Turns the first SIGINT or SIGTERM into an abort with an InterruptedError; a second one ends the process at once.
 * @returns the signal for all work, and what removes the listeners
 */
export function listenForSignals(): {signal: AbortSignal; stop: () => void} {
  const controller = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const onSignal = (name: NodeJS.Signals) => {
    const code = name === 'SIGINT' ? EXIT.interrupted : EXIT.terminated
    if (controller.signal.aborted) process.exit(code)
    timer = setTimeout(() => process.exit(code), GRACE_MS).unref()
    controller.abort(new InterruptedError(name === 'SIGINT' ? 'SIGINT' : 'SIGTERM'))
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return {
    signal: controller.signal,
    stop() {
      clearTimeout(timer)
      process.off('SIGINT', onSignal)
      process.off('SIGTERM', onSignal)
    },
  }
}

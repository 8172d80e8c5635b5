import {Command} from '@oclif/core'
import {BarmansError, EXIT, exitCodeOf, messageOf, type ExitCode} from '../errors.ts'
import {systemClock} from '../local/system-clock.ts'
import {commonFlags, overridesOf} from './flags.ts'
import {LinesProgress} from './progress/lines.ts'
import type {LogFields, ProgressView} from './progress/progress-view.ts'
import {RecordingProgress} from './progress/recording.ts'
import {listenForSignals} from './signals.ts'
import type {Wiring} from './wiring.ts'

/** How a result is shown. */
export interface Rendered {
  /** The result itself, always on stdout: a table. */
  readonly table?: readonly string[]
  /** What was done, on stdout, on a terminal only. */
  readonly summary?: readonly string[]
  /** The one line at the end without a terminal; left out when there was nothing to do. */
  readonly verdict?: {readonly level: 'info' | 'warn' | 'error'; readonly message: string; readonly fields: LogFields} | undefined
}

export interface Outcome<Result> {
  readonly result: Result
  readonly exitCode: ExitCode
  readonly rendered: Rendered
}

type CommonFlags = Readonly<{config?: string | undefined; quiet?: boolean | undefined}>

/**
 * Base of every command: common flags, signals, progress, the JSON envelope, error printing and the exit code. A command
 * parses, calls `perform` with one function of the library, and returns its result.
 */
export abstract class BarmansCommand<Result> extends Command {
  static override baseFlags = commonFlags
  static override enableJsonFlag = true
  #progress: RecordingProgress | undefined
  #exitCode: ExitCode = EXIT.ok

  /** Does the work of the command and shows what came of it. The result is also the `result` of `--json`. */
  protected async perform(flags: CommonFlags, work: (wiring: Wiring, signal: AbortSignal) => Promise<Outcome<Result>>): Promise<Result> {
    const progress = new RecordingProgress(await this.#createView(flags.quiet === true))
    this.#progress = progress
    const {signal, stop} = listenForSignals()
    let wiring: Wiring | undefined
    let isDone = false
    try {
      const {createWiring} = await import('./wiring.ts')
      wiring = await createWiring({
        configFile: flags.config, environment: process.env, overrides: overridesOf(flags), progress, signal,
      })
      const outcome = await work(wiring, signal)
      isDone = outcome.exitCode === EXIT.ok
      await progress.finish(isDone ? 'succeeded' : 'failed')
      this.#show(outcome.rendered, flags.quiet === true)
      this.#exitCode = outcome.exitCode
      process.exitCode = outcome.exitCode
      return outcome.result
    } finally {
      await progress.finish(isDone ? 'succeeded' : 'failed')
      wiring?.close()
      stop()
    }
  }

  async #createView(isQuiet: boolean): Promise<ProgressView | undefined> {
    if (this.jsonEnabled()) return undefined
    if (isInteractive()) {
      const {ListrProgress} = await import('./progress/listr.ts')
      return new ListrProgress({clock: systemClock, isQuiet})
    }
    return new LinesProgress({command: this.#name(), clock: systemClock, isQuiet, write: (text) => process.stderr.write(text)})
  }

  #show({table, summary, verdict}: Rendered, isQuiet: boolean): void {
    if (this.jsonEnabled()) return
    for (const line of table ?? []) process.stdout.write(`${line}\n`)
    if (isInteractive()) {
      if (!isQuiet) for (const line of summary ?? []) process.stdout.write(`${line}\n`)
    } else if (verdict) {
      this.#progress?.verdict(verdict.level, verdict.message, verdict.fields)
    }
  }

  #name(): string {
    return (this.id ?? '').replaceAll(':', ' ')
  }

  override async init(): Promise<void> {
    await super.init()
    process.stdout.on('error', endQuietly)
    process.stderr.on('error', endQuietly)
  }

  override async catch(error: Error & {exitCode?: number; oclif?: {exit?: number}; skipOclifErrorHandling?: boolean}): Promise<never> {
    // `--help` and the like end by an "error" of exit 0.
    if (error.oclif?.exit === 0) throw error
    const exitCode = this.#exitCodeFor(error)
    process.exitCode = exitCode
    if (this.jsonEnabled()) this.logJson(this.toErrorJson(error))
    else if (this.#progress && error instanceof BarmansError && !isInteractive()) this.#progress.verdict('error', messageOf(error), {hint: error.hint})
    else for (const line of this.#describe(error, exitCode)) process.stderr.write(`${line}\n`)
    // Printed already: oclif only has to end with the code. It looks at both fields, depending on --json.
    error.exitCode = exitCode
    error.oclif = {exit: exitCode}
    error.skipOclifErrorHandling = true
    throw error
  }

  #exitCodeFor(error: Error & {oclif?: {exit?: number}}): ExitCode {
    if (error instanceof BarmansError) return error.exitCode
    return isParseError(error) ? EXIT.usage : exitCodeOf(error)
  }

  #describe(error: Error, exitCode: ExitCode): string[] {
    const prefix = `barmans3 ${this.#name()}`
    if (exitCode === EXIT.bug) {
      return [`${prefix}: ${messageOf(error)}`, error.stack ?? '', 'this is a bug in barmans3: please report it with the lines above']
    }
    const isOurs = error instanceof BarmansError
    const hint = isOurs ? error.hint : `see ${prefix} --help`
    return [`${prefix}: ${isOurs ? messageOf(error) : parseErrorMessage(error)}`, ...(hint === undefined ? [] : [`  ${hint}`])]
  }

  override toErrorJson(error: unknown): unknown {
    const exitCode = error instanceof Error ? this.#exitCodeFor(error) : EXIT.bug
    const isOurs = error instanceof BarmansError
    return {
      status: exitCode,
      error: {
        code: isOurs ? error.code : exitCode === EXIT.usage ? 'USAGE' : 'BUG',
        message: isOurs || exitCode !== EXIT.usage ? messageOf(error) : parseErrorMessage(error),
        ...(isOurs && error.hint !== undefined ? {hint: error.hint} : {}),
      },
      warnings: this.#progress?.warnings ?? [],
    }
  }

  override toSuccessJson(result: unknown): unknown {
    return {status: this.#exitCode, result, warnings: this.#progress?.warnings ?? []}
  }

  /** Without colours and never wrapped: for programs. */
  override logJson(json: unknown): void {
    process.stdout.write(`${JSON.stringify(json, undefined, 2)}\n`)
  }
}

/** A terminal whose width nobody has set (serial lines, some containers) would get one letter on each line. */
function isInteractive(): boolean {
  return process.stdout.isTTY === true && process.stderr.isTTY === true && process.stdout.columns > 0 && process.env.TERM !== 'dumb'
}

/** oclif's own errors: unknown flag or command, missing argument. */
function isParseError(error: Error & {oclif?: {exit?: number}}): boolean {
  return error.oclif !== undefined || 'parse' in error
}

/** What oclif says of a wrong command line, without its heading and its closing line. */
function parseErrorMessage(error: unknown): string {
  const lines = (error instanceof Error ? error.message : String(error)).split('\n').map((line) => line.trim())
  return lines.filter((line) => line !== '' && line !== 'The following error occurred:' && line !== 'The following errors occurred:'
    && !line.startsWith('See more help with')).join('; ')
}

/** Who reads us went away (`| head -1`): nobody is left to tell anything. */
function endQuietly(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(process.exitCode ?? EXIT.ok)
  throw error
}

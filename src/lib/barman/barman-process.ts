import {spawn} from 'node:child_process'
import {BarmanFilesError, errnoOf, messageOf, UsageError} from '../errors.ts'

/** How to run barman. */
export interface BarmanCommandOptions {
  /** The program, `barman` when not given; looked up in PATH, never through a shell. */
  readonly command?: string | undefined
  /** For `barman -c`; Barman's own search when not given. */
  readonly configurationPath?: string | undefined
  readonly timeoutMs?: number | undefined
  readonly signal?: AbortSignal | undefined
  readonly env?: NodeJS.ProcessEnv | undefined
}

/** How a barman process ended. Both outputs may hold passwords: neither goes into a message unmasked. */
export interface BarmanProcessEnd {
  /** Undefined when a signal ended it. */
  readonly exitCode: number | undefined
  readonly stdout: string
  readonly stderr: string
}

const DEFAULT_TIMEOUT_MS = 60_000
const MAX_STDOUT_BYTES = 64 * 1024 * 1024
const MAX_STDERR_BYTES = 64 * 1024

/**
 * Runs `barman` with `arguments_`, stdin closed, and waits for its end. Throws UsageError when the program cannot be
 * started, BarmanFilesError when it does not end in time (it is killed) or says too much, and the signal's reason when
 * that is aborted.
 */
export async function runBarman(
  arguments_: readonly string[],
  options: BarmanCommandOptions = {},
): Promise<BarmanProcessEnd> {
  const command = options.command ?? 'barman'
  const {signal, timeoutMs = DEFAULT_TIMEOUT_MS} = options
  signal?.throwIfAborted()
  const configuration = options.configurationPath === undefined ? [] : ['-c', options.configurationPath]
  const child = spawn(command, [...configuration, ...arguments_], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: options.env ?? process.env,
  })
  const stdout = new BoundedOutput(MAX_STDOUT_BYTES)
  const stderr = new BoundedOutput(MAX_STDERR_BYTES)
  return new Promise<BarmanProcessEnd>((resolve, reject) => {
    const stop = (reason: unknown) => {
      child.kill('SIGKILL')
      // A grandchild may keep the pipes open; nobody waits for it.
      child.stdout.destroy()
      child.stderr.destroy()
      settle()
      reject(reason)
    }
    const onAbort = () => stop(signal?.reason)
    const timer = setTimeout(() => stop(tooSlow(command, timeoutMs)), timeoutMs)
    const settle = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
    signal?.addEventListener('abort', onAbort, {once: true})
    child.stdout.on('data', (chunk: Buffer) => {
      if (!stdout.add(chunk)) stop(new BarmanFilesError(`${command} wrote more than ${MAX_STDOUT_BYTES} bytes`))
    })
    child.stderr.on('data', (chunk: Buffer) => stderr.add(chunk))
    child.once('error', (error) => {
      settle()
      reject(notStarted(command, error))
    })
    child.once('close', (code) => {
      settle()
      resolve({exitCode: code ?? undefined, stdout: stdout.text(), stderr: stderr.text()})
    })
  })
}

/** The first bytes of a stream; what comes after the limit is dropped. */
class BoundedOutput {
  readonly #limitBytes: number
  readonly #chunks: Buffer[] = []
  #sizeBytes = 0

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  /** False when the limit is passed. */
  add(chunk: Buffer): boolean {
    const room = this.#limitBytes - this.#sizeBytes
    this.#chunks.push(chunk.length > room ? chunk.subarray(0, room) : chunk)
    this.#sizeBytes = Math.min(this.#limitBytes, this.#sizeBytes + chunk.length)
    return chunk.length <= room
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString('utf8')
  }
}

function tooSlow(command: string, timeoutMs: number): BarmanFilesError {
  return new BarmanFilesError(`${command} did not answer within ${timeoutMs / 1000} s and was stopped`, {
    hint: 'see whether PostgreSQL of the servers answers, or give servers.<name>.directory in the configuration',
  })
}

function notStarted(command: string, error: unknown): UsageError {
  const reason = errnoOf(error) === 'ENOENT' ? 'it is not installed or not in PATH' : messageOf(error)
  return new UsageError(`${command} cannot be started: ${reason}`, {
    hint: 'install Barman, or give servers.<name>.directory in the configuration, then barman itself is not needed',
    cause: error,
  })
}

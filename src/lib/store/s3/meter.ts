/**
 * Keeps what goes over the wire below the limit of a `Throttle`. A body is one Buffer, which a socket would take whole;
 * here it goes to the request in slices, each when it may. That happens next to the wire, behind retries and signing: both
 * still see the Buffer, and proxies and TLS see an ordinary request of the same length.
 */
import type {IncomingMessage} from 'node:http'
import {finished, Readable} from 'node:stream'
import type {S3Client} from '@aws-sdk/client-s3'
import type {Pace} from '../throttle.ts'

/** The parts of the SDK's HttpRequest that are looked at here. */
interface OutgoingRequest {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: unknown
}

interface Answer {
  readonly headers: Readonly<Record<string, string>>
  body?: unknown
}

/** Method, version, status and line ends; headers are counted each with `: ` and a line end. */
const FRAME_BYTES = 30

/** Lets every request and answer of `sdk` pass at the pace of `throttle`. To be called after all other middleware is in. */
export function addMeter(sdk: S3Client, throttle: Pace): void {
  sdk.middlewareStack.add(
    (next, context) => async (args) => {
      const request = (args as unknown as {request: OutgoingRequest}).request
      const signal = (context as {__smithy_context?: {abortSignal?: AbortSignal}}).__smithy_context?.abortSignal
      await throttle.take(headBytes(request.headers) + request.path.length)
      signal?.throwIfAborted()
      const sending = await beginBody(throttle, request.body, signal)
      try {
        const result = await next({...args, request: {...request, body: sending.body}} as typeof args)
        const answer = result.response as Answer
        throttle.charge(headBytes(answer.headers))
        sending.endWith(answer.body)
        if (throttle.isLimited && request.method !== 'HEAD' && answer.body instanceof Readable) answer.body = meteredAnswer(throttle, answer.body as IncomingMessage)
        return result
      } catch (error) {
        sending.giveUp()
        throw error
      }
    },
    // As low as the check of answers, and added after it: nearer to the wire.
    {step: 'deserialize', priority: 'low', name: 'meter'},
  )
}

function headBytes(headers: Readonly<Record<string, string>>): number {
  return Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + String(value).length + 4, FRAME_BYTES)
}

/** A request's body on its way. */
interface Sending {
  /** What the request gets in place of its body. */
  readonly body: unknown
  /** To be called with the body of the answer: one that comes before all was sent (a refusal) ends the sending with it. */
  endWith(answer: unknown): void
  giveUp(): void
}

async function beginBody(throttle: Pace, body: unknown, signal: AbortSignal | undefined): Promise<Sending> {
  if (!(body instanceof Uint8Array)) {
    if (typeof body === 'string') throttle.charge(Buffer.byteLength(body))
    return {body, endWith() {}, giveUp() {}}
  }
  if (body.length <= throttle.sliceBytes) {
    await throttle.take(body.length)
    signal?.throwIfAborted()
    return {body, endWith() {}, giveUp() {}}
  }
  // Waiting here no connection is open yet, so no side takes it for dead.
  const leave = await throttle.enter(signal)
  let isHandedOver = false
  const stream = Readable.from(slicesOf(throttle, body, () => {
    isHandedOver = true
    leave()
  }))
  const giveUp = () => {
    stream.destroy()
    leave()
  }
  return {
    body: stream,
    giveUp,
    endWith(answer) {
      if (isHandedOver || !(answer instanceof Readable)) return
      finished(answer, () => {
        if (isHandedOver) return
        giveUp()
        // The server waits for the rest of a body that will not come: this connection is of no more use.
        ;(answer as Partial<IncomingMessage>).socket?.destroy()
      })
    },
  }
}

async function* slicesOf(throttle: Pace, body: Uint8Array, onLast: () => void): AsyncGenerator<Uint8Array> {
  for (let position = 0; position < body.length; position += throttle.sliceBytes) {
    const slice = body.subarray(position, position + throttle.sliceBytes)
    await throttle.take(slice.length)
    if (position + slice.length === body.length) onLast()
    yield slice
  }
}

function meteredAnswer(throttle: Pace, answer: IncomingMessage): Readable {
  const metered = Readable.from(receivedSlices(throttle, answer), {objectMode: false})
  // Thrown away unread it would leave the answer, and with it the connection, open.
  metered.once('close', () => answer.destroy())
  return metered
}

async function* receivedSlices(throttle: Pace, answer: IncomingMessage): AsyncGenerator<Uint8Array> {
  for await (const chunk of answer as AsyncIterable<Uint8Array>) {
    for (let position = 0; position < chunk.length; position += throttle.sliceBytes) {
      const slice = chunk.subarray(position, position + throttle.sliceBytes)
      await throttle.take(slice.length)
      keepFromIdling(answer)
      yield slice
    }
  }
}

/** While we hold bytes back nothing moves on the connection, and that is not the other side's fault. */
function keepFromIdling({socket}: IncomingMessage): void {
  if (socket?.timeout) socket.setTimeout(socket.timeout)
}

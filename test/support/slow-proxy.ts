import {once} from 'node:events'
import {createServer, connect, type Server, type Socket} from 'node:net'
import type {AddressInfo} from 'node:net'
import {Transform} from 'node:stream'
import {setTimeout as delay} from 'node:timers/promises'

/**
 * A TCP proxy in front of an S3 server that lets only so many bytes a second through, so that a test can act in the middle,
 * and that sees the requests, so that a test need not believe what the tool says of them.
 */
export interface SlowProxy {
  readonly endpoint: string
  /** Bytes that went to the server so far. */
  sentBytes(): number
  /** From now on; 0 stops everything. */
  setBytesPerSecond(bytesPerSecond: number): void
  /** The requests so far, in the order they came: `PUT /bucket/key`, still percent-encoded and with the query. */
  requests(): readonly string[]
  /** Those of them that were answered with success, in the order of the answers. */
  answered(): readonly string[]
  stop(): Promise<void>
}

export async function startSlowProxy(targetEndpoint: string, bytesPerSecond = Infinity): Promise<SlowProxy> {
  const target = new URL(targetEndpoint)
  const sockets = new Set<Socket>()
  let rate = bytesPerSecond
  let sent = 0
  let nextMs = 0
  const requests: string[] = []
  const answered: string[] = []
  const server: Server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {
        client.destroy()
        upstream.destroy()
      })
      socket.on('close', () => sockets.delete(socket))
    }
    let current: string | undefined
    upstream.on('data', (chunk: Buffer) => {
      if (current === undefined || !/^HTTP\/1\.1 2\d\d /.test(chunk.toString('latin1', 0, 13))) return
      answered.push(current)
      current = undefined
    })
    client.pipe(new Transform({
      async transform(chunk: Buffer, _, done) {
        // A client sends the next request of a connection only after the answer to the last one: it begins a chunk.
        const request = /^((?:GET|HEAD|PUT|POST|DELETE) \S+) HTTP\/1\.1\r\n/.exec(chunk.toString('latin1', 0, 4096))?.[1]
        if (request !== undefined) {
          requests.push(request)
          current = request
        }
        while (rate === 0) await delay(20)
        // One clock for all connections: the line is shared.
        const now = Date.now()
        nextMs = Math.max(nextMs, now) + (chunk.length * 1000) / rate
        if (nextMs > now) await delay(nextMs - now)
        sent += chunk.length
        done(undefined, chunk)
      },
    })).pipe(upstream)
    upstream.pipe(client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const {port} = server.address() as AddressInfo
  return {
    endpoint: `http://127.0.0.1:${port}`,
    sentBytes: () => sent,
    requests: () => requests,
    answered: () => answered,
    setBytesPerSecond(next) {
      rate = next
      nextMs = 0
    },
    async stop() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

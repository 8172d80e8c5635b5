/**
 * An S3 server in this process that misbehaves on demand. Without a hook it answers honestly (`s3-in-memory.ts`); a hook
 * sees each request and can answer in its place, change the answer, or break the connection.
 */
import {createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse} from 'node:http'
import {createServer as createHttpsServer} from 'node:https'
import type {AddressInfo, Socket} from 'node:net'
import {
  operationOf,
  S3InMemory,
  type S3Answer,
  type S3InMemoryOptions,
  type S3Request,
  type StoredObject,
  type StoredUpload,
} from './s3-in-memory.ts'

export {answer, errorAnswer, xmlAnswer} from './s3-in-memory.ts'

/** What is done with one request instead of serving it. */
export type Fault =
  /** This answer; the request is not served. */
  | {readonly answer: S3Answer; readonly close?: boolean}
  /** Served, and the answer changed on the way. */
  | {readonly change: (answer: S3Answer) => S3Answer}
  /** The connection is reset; `served` says whether the request was carried out before. */
  | {readonly reset: 'served' | 'unserved'}
  /** No answer, the connection stays open. */
  | {readonly silent: 'served' | 'unserved'}
  /** The answer's body ends after so many bytes, by closing the connection. */
  | {readonly cutAtByte: number}
  /** The answer's body stops after so many bytes, the connection stays open. */
  | {readonly stallAtByte: number}

export interface SeenRequest extends S3Request {
  /** Counted from 1, by operation. */
  readonly number: number
  readonly path: string
}

/** Looks at a request; undefined serves it honestly. */
export type Hook = (request: SeenRequest) => Fault | undefined

export interface FaultServerOptions extends S3InMemoryOptions {
  readonly bucket?: string
  /** Key and certificate in PEM: speaks TLS. */
  readonly tls?: {readonly key: string; readonly cert: string}
  /** A path the endpoint has, such as `/gw/s3`. */
  readonly basePath?: string
  /** The server's Date header; default the time. */
  readonly now?: () => Date
}

export interface FaultServer {
  readonly endpoint: string
  readonly port: number
  readonly bucket: string
  readonly objects: Map<string, StoredObject>
  readonly uploads: Map<string, StoredUpload>
  /** All requests, in the order their bodies were read. Bodies of more than 1 MiB are left out. */
  readonly requests: SeenRequest[]
  /** Connections accepted so far. */
  readonly connectionCount: number
  /** Set by tests; undefined serves everything honestly. */
  hook: Hook | undefined
  stop(): Promise<void>
}

const KEPT_BODY_BYTES = 1024 * 1024

/** Starts a server on a free port of 127.0.0.1. */
export async function startFaultServer(options: FaultServerOptions = {}): Promise<FaultServer> {
  const bucket = options.bucket ?? 'bucket'
  const store = new S3InMemory(bucket, options)
  const sockets = new Set<Socket>()
  const counts = new Map<string, number>()
  const requests: SeenRequest[] = []
  let connectionCount = 0

  const handle = async (incoming: IncomingMessage, response: ServerResponse) => {
    const body = await readBody(incoming)
    if (!body) return
    const request = readRequest(incoming, body, options.basePath ?? '')
    if (!request)
      return send(response, {status: 404, headers: {}, body: Buffer.from('<html>no such page</html>')}, incoming.method)
    const number = (counts.get(request.operation) ?? 0) + 1
    counts.set(request.operation, number)
    const seen = {...request, number, path: incoming.url ?? ''}
    requests.push(body.length > KEPT_BODY_BYTES ? {...seen, body: Buffer.alloc(0)} : seen)
    if (options.now) response.setHeader('date', options.now().toUTCString())
    const fault = server.hook?.(seen)
    if (!fault) send(response, store.serve(request), request.method)
    else react(fault, () => store.serve(request), request.method, response)
  }

  const listener = (incoming: IncomingMessage, response: ServerResponse) => {
    // A client that goes away in the middle is nothing the server should fail at.
    handle(incoming, response).catch(() => response.destroy())
  }

  const http: Server = options.tls ? createHttpsServer(options.tls, listener) : createHttpServer(listener)
  http.on('connection', (socket: Socket) => {
    connectionCount++
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
  })
  await new Promise<void>((resolve, reject) => {
    http.once('error', reject)
    http.listen(0, '127.0.0.1', resolve)
  })
  const {port} = http.address() as AddressInfo
  const server: FaultServer = {
    endpoint: `${options.tls ? 'https' : 'http'}://127.0.0.1:${port}${options.basePath ?? ''}`,
    port,
    bucket,
    objects: store.objects,
    uploads: store.uploads,
    requests,
    get connectionCount() {
      return connectionCount
    },
    hook: undefined,
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => http.close(resolve))
    },
  }
  return server
}

async function readBody(incoming: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk)
  } catch {
    return undefined
  }

  return Buffer.concat(chunks)
}

function readRequest(incoming: IncomingMessage, body: Buffer, basePath: string): S3Request | undefined {
  const [path = '', search = ''] = (incoming.url ?? '/').split('?', 2)
  if (!path.startsWith(`${basePath}/`)) return undefined
  const [bucket = '', ...segments] = path.slice(basePath.length + 1).split('/')
  const key = segments.map((segment) => decodeURIComponent(segment)).join('/')
  const query = new URLSearchParams(search)
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(incoming.headers)) headers[name] = String(value)
  const method = incoming.method ?? 'GET'
  return {method, operation: operationOf(method, key, query, headers), bucket, key, query, headers, body}
}

function react(fault: Fault, serve: () => S3Answer, method: string, response: ServerResponse): void {
  if ('answer' in fault) {
    if (fault.close) response.setHeader('connection', 'close')
    send(response, fault.answer, method)
  } else if ('change' in fault) {
    send(response, fault.change(serve()), method)
  } else if ('reset' in fault) {
    if (fault.reset === 'served') serve()
    const {socket} = response
    if (socket && 'resetAndDestroy' in socket && !('encrypted' in socket)) socket.resetAndDestroy()
    else socket?.destroy()
  } else if ('silent' in fault) {
    if (fault.silent === 'served') serve()
  } else {
    const answer = serve()
    const atByte = 'cutAtByte' in fault ? fault.cutAtByte : fault.stallAtByte
    response.writeHead(answer.status, {...answer.headers, 'content-length': String(answer.body.length)})
    response.write(answer.body.subarray(0, atByte), () => {
      if ('cutAtByte' in fault) response.socket?.destroy()
    })
  }
}

function send(response: ServerResponse, {status, headers, body}: S3Answer, method = 'GET'): void {
  response.writeHead(status, {...headers, ...(status === 204 ? {} : {'content-length': String(body.length)})})
  response.end(method === 'HEAD' ? undefined : body)
}

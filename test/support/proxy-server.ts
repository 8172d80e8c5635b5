/** A small HTTP proxy: CONNECT tunnels and plain forwarding, with user and password asked for. */
import {createServer, request as sendRequest} from 'node:http'
import {connect, type AddressInfo, type Socket} from 'node:net'

export interface ProxyServer {
  readonly port: number
  /** What was asked for, as `CONNECT host:port` or `PUT http://host:port/…`. */
  readonly seen: string[]
  stop(): Promise<void>
}

/** Starts a proxy on 127.0.0.1 that lets `user:password` through. */
export async function startProxyServer(user: string, password: string): Promise<ProxyServer> {
  const seen: string[] = []
  const sockets = new Set<Socket>()
  const wanted = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  const server = createServer((incoming, response) => {
    seen.push(`${incoming.method} ${incoming.url}`)
    const {'proxy-authorization': authorization, 'proxy-connection': _, ...headers} = incoming.headers
    if (authorization !== wanted) {
      response.writeHead(407).end()
      return
    }

    const outgoing = sendRequest(incoming.url ?? '', {method: incoming.method, headers}, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    outgoing.on('error', () => response.destroy())
    incoming.pipe(outgoing)
  })
  server.on('connect', (incoming, socket: Socket) => {
    seen.push(`CONNECT ${incoming.url}`)
    if (incoming.headers['proxy-authorization'] !== wanted) {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n')
      return
    }

    const [host = '', port = ''] = (incoming.url ?? '').split(':')
    const target = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      target.pipe(socket).pipe(target)
    })
    target.on('error', () => socket.destroy())
    socket.on('error', () => target.destroy())
    socket.on('close', () => target.destroy())
  })
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

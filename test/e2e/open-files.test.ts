import {readdirSync} from 'node:fs'
import {setTimeout as delay} from 'node:timers/promises'
import {expect} from 'chai'
import {MIB, ResumeHost} from '../support/resume-host.ts'
import {startServerOrSkip, type TestServer} from '../support/s3-servers.ts'

describe('a process that may have 128 files open', function () {
  this.timeout(180_000)
  let server: TestServer
  let host: ResumeHost
  before(async function () {
    server = await startServerOrSkip(this, 'weed')
    host = await ResumeHost.create(server, {
      files: {plainBytes: 40 * MIB, compressibleBytes: 40 * MIB, smallFiles: 4000, others: {large: 16, medium: 200}},
      transfer: {concurrency: 16, partSize: '5MiB'}, openFiles: 128,
    })
  })
  after(async () => {
    await host?.remove()
    await server?.stop()
  })

  it('copies thousands of files and large ones in parts with concurrency 16', async () => {
    const {child, end} = host.start('base', 'sync', 'pg', '--json')
    let most = 0
    const ended = new AbortController()
    const counting = (async () => {
      while (!ended.signal.aborted) {
        try {
          most = Math.max(most, readdirSync(`/proc/${child.pid}/fd`).length)
        } catch {
          return
        }
        await delay(5)
      }
    })()
    const {code, stdout, stderr} = await end
    ended.abort()
    await counting
    expect(code, stdout + stderr).to.equal(0)
    expect(JSON.parse(stdout).result.servers[0].backups[0]).to.deep.include({outcome: 'copied'})
    expect(stderr).not.to.match(/EMFILE|too many open files/)
    process.stdout.write(`        ${most} files and sockets open at most\n`)
    expect(most).to.be.within(20, 127)
    const {openUploads, objects} = await host.stored()
    expect(openUploads).to.equal(0)
    expect([...objects.keys()].filter((key) => /\/large\//.test(key))).to.have.length(18)
  })
})

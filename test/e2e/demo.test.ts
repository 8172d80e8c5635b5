import {mkdirSync, readdirSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {expect} from 'chai'
import {runChild} from '../support/child.ts'
import {startServerOrSkip} from '../support/s3-servers.ts'
import {useTemporaryDirectory} from '../support/temporary-directory.ts'

const demo = fileURLToPath(new URL('../../scripts/demo.js', import.meta.url))

describe('npm run demo', function () {
  this.timeout(180_000)
  const directory = useTemporaryDirectory()

  function run(environment: Record<string, string> = {}) {
    const kept = Object.entries(process.env).filter(([name]) => /^(PATH|HOME|BARMANS3_TEST_CACHE|NO_PROXY|no_proxy)$/.test(name))
    return runChild(process.execPath, [demo], {cwd: '/', env: {...Object.fromEntries(kept), TMPDIR: directory(), ...environment}})
  }

  it('shows each command before its output, then the bucket, and leaves nothing behind', async function () {
    // Asks for the server first, so that a missing one is skipped as everywhere else.
    const server = await startServerOrSkip(this, 'weed')
    await server.stop()
    const {status, stdout, stderr} = await run()
    expect(status, stdout + stderr).to.equal(0)
    const order = ['barmans3 queue add\nbackup ', '$ barmans3 base sync\n', '$ barmans3 wal sync main-server\n', '$ barmans3 base ls main-server\nSERVER ', '$ barmans3 queue status\nSERVER ', 'What lies in s3://backup now']
    const places = order.map((text) => stdout.indexOf(text))
    expect(places, stdout).not.to.include(-1)
    expect(places).to.deep.equal([...places].sort((left, right) => left - right))
    expect(stdout.match(/complete +yes +yes$/gm)).to.have.length(2)
    expect(stdout).to.match(/000000010000000000000005 +16\.0 MiB\n/)
    expect(readdirSync(directory())).to.deep.equal([])
  })

  it('a step that fails ends it with one line and exit 1, and it cleans up', async () => {
    const cache = join(directory(), 'cache')
    mkdirSync(join(cache, 'bin'), {recursive: true})
    writeFileSync(join(cache, 'bin/weed'), '#!/bin/sh\necho no disk >&2\nexit 7\n', {mode: 0o755})
    const {status, stderr} = await run({BARMANS3_TEST_CACHE: cache})
    expect(status).to.equal(1)
    expect(stderr).to.match(/^demo: .*weed.*$/m)
    expect(stderr).not.to.match(/^ +at /m)
    expect(readdirSync(directory())).to.deep.equal(['cache'])
  })
})

import {readdirSync, readFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {z} from 'zod'
import {projectDirectory, readPage} from '../support/doc-pages.ts'
import {openDocSandbox, requirePrograms, type DocSandbox} from '../support/doc-sandbox.ts'
import {startServerOrSkip} from '../support/s3-servers.ts'

const SCHEMAS = join(projectDirectory, 'docs/reference/schemas')
type Schema = Parameters<typeof z.fromJSONSchema>[0]
type Fields = Readonly<Record<string, unknown>>

function readSchema(name: string): Schema {
  return JSON.parse(readFileSync(join(SCHEMAS, `${name}.json`), 'utf8')) as Schema
}

describe('the schemas of the JSON output', function () {
  this.timeout(180_000)
  let host: DocSandbox
  const seen = new Set<string>()
  before(async function () {
    requirePrograms(this)
    await (await startServerOrSkip(this, 'weed')).stop()
    host = await openDocSandbox()
    const {status, stderr} = await host.runPage('docs/guide/install.md')
    expect(status, stderr).to.equal(0)
  })
  after(async () => await host?.remove())

  /** Runs a command line and holds its output against a schema, which knows every field and allows no other. */
  async function check(name: string, line: string, exitCode = 0): Promise<Fields> {
    const {status, stdout, stderr} = await host.runScript(`barmans3 ${line} --json`)
    expect(status, stdout + stderr).to.equal(exitCode)
    const output = JSON.parse(stdout) as Fields
    const parsed = z.fromJSONSchema(readSchema(name)).safeParse(output)
    expect(parsed.error?.message, `${line}: ${stdout}`).to.equal(undefined)
    expect(output.status).to.equal(exitCode)
    seen.add(name)
    return output
  }

  it('describe what every command says when it works', async () => {
    await check('base-ls', 'base ls')
    await check('wal-sync', 'wal sync main-server --dry-run')
    await check('base-sync', 'base sync --dry-run')
    await check('full-sync', 'full-sync main-server --dry-run')
    await check('queue-add', 'queue add main-server 20261102T020000')
    await check('queue-status', 'queue status')
    await check('base-sync', 'base sync main-server')
    await check('wal-sync', 'wal sync --all')
    await check('full-sync', 'full-sync main-server')
    await check('base-ls', 'base ls main-server')
    await check('queue-prune', 'queue prune --older-than 1ms')
    await check('queue-retry', 'queue retry')
  })

  it('describe what every command says when it does not', async () => {
    await check('queue-add', 'queue add main-server 20261103T020000')
    await check('base-sync', 'base sync', 10)
    await check('queue-status', 'queue status --state error')
    await check('queue-retry', 'queue retry main-server')
    const name = '000000010000000000000020'
    host.tree.addWal(name)
    await check('wal-sync', 'wal sync main-server')
    await host.runScript(`sleep 1; printf x | dd of=/var/lib/barman/main-server/wals/0000000100000000/${name} bs=1 seek=99999 conv=notrunc status=none`)
    await check('wal-sync', 'wal sync main-server', 12)
    await check('full-sync', 'full-sync main-server', 12)
    await host.runScript("sed 's/^s3:/s3:\\n  maxAttempts: 1/' /etc/barmans3.yaml >/etc/one-try.yaml")
    await host.runScript("(cat /etc/barmans3.yaml; echo 'servers: {gone: {directory: /srv/gone}}') >/etc/gone.yaml")
    const errors = [
      ['wal sync no-such-server', 3], ['wal sync gone --config /etc/gone.yaml', 13], ['wal sync main-server --s3-uri s3://no-such-bucket/x', 1],
      ['base ls --config /etc/one-try.yaml --s3-endpoint http://127.0.0.1:9', 2], ['queue status --no-such-flag', 3], ['wal sync', 3],
    ] as const
    for (const [line, exitCode] of errors) {
      const {status, stdout} = await host.runScript(`barmans3 ${line} --json`)
      const output = JSON.parse(stdout) as Fields
      const schema = 'error' in output ? 'error' : 'wal-sync'
      expect(z.fromJSONSchema(readSchema(schema)).safeParse(output).error?.message, stdout).to.equal(undefined)
      expect([line, status, output.status]).to.deep.equal([line, exitCode, exitCode])
    }
  })

  it('there is one for each command and one for errors, and each was held against real output', () => {
    const names = readdirSync(SCHEMAS).map((name) => name.replace('.json', '')).sort()
    expect([...seen, 'error'].sort()).to.deep.equal(names)
  })

  it('each is linked from docs/reference/json-output.md', () => {
    const page = readPage('docs/reference/json-output.md')
    for (const file of readdirSync(SCHEMAS)) expect(page).to.contain(`(schemas/${file})`)
  })
})

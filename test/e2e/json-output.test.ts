import {readFile, writeFile} from 'node:fs/promises'
import {rmSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {runCli} from '../support/cli.ts'
import {createSampleTree, type SampleTree} from '../support/sample-tree.ts'
import {startServerOrSkip, type TestServer} from '../support/s3-servers.ts'
import {useTemporaryDirectory} from '../support/temporary-directory.ts'

/** Fields of one section of the page: `a.b`, `a[].b`, `a.*` for everything below. */
async function documentedFields(section: string): Promise<string[]> {
  const page = await readFile(new URL('../../docs/reference/json-output.md', import.meta.url), 'utf8')
  const text = page.split(/^## /m).find((part) => part.startsWith(`${section}\n`))
  if (text === undefined) throw new Error(`the page has no section ${section}`)
  return text.split('\n').filter((line) => line.startsWith('| `')).flatMap((line) => [...(line.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map(([, field]) => field ?? ''))
}

/** Paths of every leaf of a document, with `[]` for elements. */
function pathsOf(value: unknown, path = ''): string[] {
  if (Array.isArray(value)) return value.flatMap((each) => pathsOf(each, `${path}[]`))
  if (typeof value === 'object' && value !== null) return Object.entries(value).flatMap(([name, each]) => pathsOf(each, path === '' ? name : `${path}.${name}`))
  return [path]
}

function isDocumented(path: string, fields: readonly string[]): boolean {
  return fields.some((field) => field === path || (field.endsWith('.*') && path.startsWith(field.slice(0, -1))))
}

describe('the JSON output', function () {
  this.timeout(120_000)
  const use = useTemporaryDirectory()
  let store: TestServer
  before(async function () {
    store = await startServerOrSkip(this, 'versitygw')
  })
  after(async () => await store?.stop())

  it('of every command has the fields of docs/reference/json-output.md, and no others', async () => {
    await store.createBucket('json')
    const tree: SampleTree = createSampleTree(join(use(), 'home'))
    tree.addBackup({id: '20261102T020000', name: 'nightly', parentId: '20261101T020000'})
    tree.addBackup({id: '20261103T020000', status: 'FAILED'})
    const config = join(use(), 'config.json')
    await writeFile(config, JSON.stringify({
      s3: {uri: 's3://json/barman', endpoint: store.endpoint, region: store.region}, barman: {home: join(use(), 'home')},
      queue: {directory: join(use(), 'queue')}, state: {directory: join(use(), 'state')},
    }))
    const environment = {BARMANS3_CONFIG: config, AWS_ACCESS_KEY_ID: store.accessKeyId, AWS_SECRET_ACCESS_KEY: store.secretAccessKey}
    const seen = new Map<string, Set<string>>()
    async function run(section: string, line: string, {status = 0}: {status?: number} = {}): Promise<void> {
      const end = await runCli([...line.split(' '), '--json'], {environment})
      const envelope = JSON.parse(end.stdout) as {status: number; result?: unknown; warnings: unknown}
      expect([end.status, envelope.status], `${line}: ${end.stdout}`).to.deep.equal([status, status])
      expect(Object.keys(envelope).filter((key) => !['status', 'result', 'error', 'warnings'].includes(key))).to.deep.equal([])
      const known = seen.get(section) ?? new Set<string>()
      for (const path of pathsOf(envelope.result)) known.add(path)
      seen.set(section, known)
    }

    await run('queue add', 'queue add pg 20261101T020000')
    await run('queue add', 'queue add pg 20261103T020000')
    await run('wal sync', 'wal sync pg --dry-run')
    writeFileSync(join(tree.walsDirectory, '0000000100000000/00000001000000000000000F'), Buffer.alloc(100))
    await run('wal sync', 'wal sync pg')
    await run('base sync', 'base sync pg --dry-run', {status: 10})
    await run('base sync', 'base sync', {status: 10})
    writeFileSync(join(use(), 'queue/pg/README'), 'foreign')
    await run('queue status', 'queue status')
    await run('queue retry', 'queue retry')
    await run('queue prune', 'queue prune --older-than 0s')
    await run('base ls', 'base ls pg')
    rmSync(join(tree.walsDirectory), {recursive: true})
    await run('full-sync', 'full-sync pg', {status: 13})

    for (const [section, paths] of seen) {
      const fields = await documentedFields(section)
      expect(paths.size, section).to.be.greaterThan(0)
      expect([...paths].filter((path) => !isDocumented(path, fields)), `${section}: not on the page`).to.deep.equal([])
      const never = fields.filter((field) => ![...paths].some((path) => isDocumented(path, [field])))
      // What needs a fault that this run does not have: named one by one, so that a field nobody writes is noticed.
      const rare = /\.(conflicts|vanished|lost|failed)\.items\[\]|stoppedBy|baseError|\[\]\.parentBackupId|brokenTasks|hook\.\*|problems\[\]|warnings\[\]|wal\.\*|broken\[\]\.server|^tasks\[\]\.(startedAt|endedAt|identity\.\*)/
      expect(never.filter((field) => !rare.test(field)), `${section}: on the page, never written`).to.deep.equal([])
    }
  })
})

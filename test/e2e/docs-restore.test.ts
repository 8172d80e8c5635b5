/** docs/guide/restore.md, followed word by word, on backups whose files have the worst names that a file system takes. */
import {execFileSync} from 'node:child_process'
import {appendFileSync, linkSync, readFileSync, rmSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {crc32c} from '../../src/lib/store/checksum.ts'
import type {ObjectKey} from '../../src/lib/store/object-store.ts'
import {listBucket, openBucket, readObject} from '../support/bucket.ts'
import {BUCKET, openDocSandbox, requirePrograms, type DocSandbox} from '../support/doc-sandbox.ts'
import {addHostileFiles, listTree} from '../support/hostile-files.ts'
import {startServerOrSkip} from '../support/s3-servers.ts'

const FIRST = '20261101T020000'
const SECOND = '20261102T020000'
const ARCHIVE = 'barman/main-server'

describe('docs/guide/restore.md', function () {
  this.timeout(300_000)
  let host: DocSandbox
  before(async function () {
    requirePrograms(this)
    await (await startServerOrSkip(this, 'weed')).stop()
  })
  beforeEach(async () => {
    host = await openDocSandbox()
    const {status, stderr} = await host.runPage('docs/guide/install.md')
    expect(status, stderr).to.equal(0)
  })
  afterEach(async () => await host?.remove())

  function addHostileNames(): void {
    for (const id of [FIRST, SECOND]) addHostileFiles(join(host.tree.baseDirectory, id), id)
    const [first = '', second = ''] = [FIRST, SECOND].map((id) => join(host.tree.baseDirectory, id, 'large/two  spaces'))
    rmSync(second)
    linkSync(first, second)
  }

  async function copy(id: string, layout: 'compact' | 'mirror'): Promise<void> {
    const file = join(host.root, 'etc/barmans3.yaml')
    const text = readFileSync(file, 'utf8').replace(/^base:.*\n/m, '')
    writeFileSync(file, text)
    appendFileSync(file, `base: {layout: ${layout}}\n`)
    const {status, stderr} = await host.runScript(`barmans3 base sync main-server --backup ${id}`)
    expect(status, stderr).to.equal(0)
  }

  async function restore(): Promise<{status: unknown; stdout: string; stderr: string}> {
    const wals = await host.runScript('barmans3 wal sync main-server')
    expect(wals.status, wals.stderr).to.equal(0)
    return await host.runPage('docs/guide/restore.md')
  }

  async function expectFaithful(): Promise<void> {
    const {status, stdout, stderr} = await restore()
    expect(status, stderr).to.equal(0)
    const original = join(host.tree.baseDirectory, SECOND)
    const target = join(host.root, 'srv/restore/main-server/base', SECOND)
    execFileSync('diff', ['-r', '--no-dereference', '--exclude=pg_tblspc', original, target])
    expect(listTree(target)).to.deep.equal(listTree(original))
    const files = listTree(original).filter((line) => /\0f /.test(line)).length
    expect(stdout).to.contain(`${files} files are right\n${files}\n`)
    expect(files).to.be.greaterThan(270)
  }

  interface StoredRecord {
    readonly layout: string
    readonly features: readonly string[]
    readonly owners: readonly string[]
    readonly counts: {readonly referencedObjects: number; readonly objects: number}
  }

  async function recordOf(id: string): Promise<StoredRecord> {
    return JSON.parse(String(await readObject(host.server, BUCKET, `${ARCHIVE}/barmans3/${id}.json`))) as StoredRecord
  }

  it('brings back every name, mode and time: layout compact, the second of two backups, which refers to objects of the first', async () => {
    addHostileNames()
    await copy(FIRST, 'compact')
    await copy(SECOND, 'compact')
    const record = await recordOf(SECOND)
    expect(record).to.deep.include({layout: 'compact', features: ['packs', 'references', 'zstd'], owners: [FIRST]})
    expect(record.counts.referencedObjects).to.be.greaterThan(10)
    const packs = await listBucket(host.server, BUCKET, `${ARCHIVE}/base/${SECOND}/packs/`)
    expect(packs.size).to.be.greaterThan(1)
    expect(record.counts.objects).to.be.greaterThan(packs.size + 5)
    await expectFaithful()
  })

  it('brings back every name, mode and time: layout mirror', async () => {
    addHostileNames()
    await copy(SECOND, 'mirror')
    expect(await recordOf(SECOND)).to.deep.include({layout: 'mirror', features: ['mirror'], owners: []})
    await expectFaithful()
  })

  it('brings back every name, mode and time: layout compact that refers to objects of a mirror, where a name that ends in .zst means nothing', async () => {
    addHostileNames()
    await copy(FIRST, 'mirror')
    await copy(SECOND, 'compact')
    const record = await recordOf(SECOND)
    expect(record.owners).to.deep.equal([FIRST])
    expect(record.counts.referencedObjects).to.be.greaterThan(10)
    await expectFaithful()
  })

  for (const [what, key, complaint] of [
    ['a pack', `${ARCHIVE}/base/${SECOND}/packs/0001.tar`, /^not what was backed up: data\//m],
    ['an object of an earlier backup', `${ARCHIVE}/base/${FIRST}/data/same.zst`, /data\/same\.zst/],
    ['the manifest', `${ARCHIVE}/barmans3/${SECOND}.manifest.gz`, /^manifest\.gz: FAILED$/m],
  ] as const) {
    it(`stops where ${what} is damaged`, async () => {
      for (const id of [FIRST, SECOND]) writeFileSync(join(host.tree.baseDirectory, id, 'data/same'), Buffer.alloc(200 * 1024, 'x'))
      await copy(FIRST, 'compact')
      await copy(SECOND, 'compact')
      const body = await readObject(host.server, BUCKET, key)
      body[Math.floor(body.length / 2)]! ^= 1
      const store = openBucket(host.server, BUCKET)
      await store.put(key as ObjectKey, body, {kind: 'base', crc32c: crc32c(body)}).finally(() => store.close())
      const {status, stdout, stderr} = await restore()
      expect(status).not.to.equal(0)
      expect(stdout + stderr).to.match(complaint)
      expect(stdout).not.to.contain('files are right')
    })
  }
})

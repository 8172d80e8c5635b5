import {execFileSync} from 'node:child_process'
import {createHash} from 'node:crypto'
import {chmodSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {ArchiveKeys} from '../../../src/lib/archive/keys.ts'
import type {ManifestEntry} from '../../../src/lib/archive/manifest.ts'
import {createMemoryStore} from '../../../src/lib/store/memory.ts'
import type {ObjectStore} from '../../../src/lib/store/object-store.ts'
import {BodyPool} from '../../../src/lib/sync/body-pool.ts'
import {checkTreeUnchanged} from '../../../src/lib/sync/end-check.ts'
import {HashPool} from '../../../src/lib/sync/hash-pool.ts'
import {ObjectFold} from '../../../src/lib/sync/copy-summary.ts'
import {LocalFileError} from '../../../src/lib/sync/file-errors.ts'
import {objectOfLine, type JournalLine} from '../../../src/lib/sync/journal-line.ts'
import {compareListing} from '../../../src/lib/sync/listing-check.ts'
import type {ServerContext} from '../../../src/lib/sync/server-context.ts'
import {localPath, walkBackupTree} from '../../../src/lib/sync/tree-walk.ts'
import {startModule} from '../../support/child.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

const deps = {hashes: new HashPool(1), pool: new BodyPool(1024 ** 2), partSizeBytes: 1024, signal: new AbortController().signal}

/** The tree as a copy of it would have journaled it. */
async function copyOf(root: string): Promise<JournalLine[]> {
  const lines: JournalLine[] = []
  for await (const found of walkBackupTree(root)) {
    if (found.type === 'unreadable') throw found.error
    const {local, ...entry} = found
    const content = found.type === 'file' ? readFileSync(localPath(root, found.path)) : undefined
    lines.push({local, entry: {...entry, ...(content && {sha256: createHash('sha256').update(content).digest('hex'), crc32c: 0, object: 'x'})} as ManifestEntry})
  }
  return lines
}

async function* replay<Line>(lines: readonly Line[]): AsyncGenerator<Line> {
  yield* lines
}

describe('the check at the end of a copy', () => {
  const use = useTemporaryDirectory()
  const at = (name: string) => join(use(), 'backup', name)
  let copied: JournalLine[]
  beforeEach(async () => {
    mkdirSync(at('data/base/1'), {recursive: true})
    mkdirSync(at('data/empty'))
    for (const name of ['data/PG_VERSION', 'data/base/1/1259', 'data/base/1/1259_fsm', 'data/z']) writeFileSync(at(name), `content of ${name}`)
    symlinkSync('/ts', at('data/link'))
    execFileSync('mkfifo', [at('data/pipe')])
    copied = await copyOf(at(''))
  })

  async function check(): Promise<string> {
    try {
      const added = await checkTreeUnchanged(at(''), replay(copied), deps)
      return added.length === 0 ? 'same' : `added ${added.join(' ')}`
    } catch (error) {
      if (error instanceof LocalFileError) return `${error.fault} ${error.shownPath}`
      throw error
    }
  }

  /** Changes the content but neither size nor mtime. */
  function rot(name: string): void {
    const {atime, mtime} = statSync(at(name))
    writeFileSync(at(name), readFileSync(at(name), 'utf8').replace('content', 'CONTENT'))
    utimesSync(at(name), atime, mtime)
  }

  for (const [what, change, answer] of [
    ['nothing', () => undefined, 'same'],
    ['a file grew', () => writeFileSync(at('data/z'), 'longer than it was before'), 'changed data/z'],
    ['a file of the same size', () => writeFileSync(at('data/z'), 'CONTENT of data/z'), 'changed data/z'],
    ['a file touched', () => utimesSync(at('data/z'), 1, 1), 'changed data/z'],
    ['a file replaced by its copy', () => {
      execFileSync('cp', ['-p', at('data/z'), at('data/y')])
      renameSync(at('data/y'), at('data/z'))
    }, 'changed data/z'],
    ['a file gone, the first', () => rmSync(at('data/PG_VERSION')), 'vanished data/PG_VERSION'],
    ['a file gone, the last', () => rmSync(at('data/z')), 'vanished data/z'],
    ['a directory gone with what was in it', () => rmSync(at('data/base'), {recursive: true}), 'vanished data/base'],
    ['an empty directory gone', () => rmSync(at('data/empty'), {recursive: true}), 'vanished data/empty'],
    ['a directory where a file was', () => {
      rmSync(at('data/z'))
      mkdirSync(at('data/z'))
    }, 'changed data/z'],
    ['a link with another target', () => {
      rmSync(at('data/link'))
      symlinkSync('/other', at('data/link'))
    }, 'changed data/link'],
    ['a link made anew with the same target', () => {
      rmSync(at('data/link'))
      symlinkSync('/ts', at('data/link'))
    }, 'same'],
    ['a file where a FIFO was', () => {
      rmSync(at('data/pipe'))
      writeFileSync(at('data/pipe'), '')
    }, 'changed data/pipe'],
    ['a mode alone: ctime moves, content decides', () => chmodSync(at('data/z'), 0o600), 'same'],
    ['content with size and mtime restored', () => rot('data/z'), 'changed data/z'],
    ['a hard link more (the next rsync backup)', () => linkSync(at('data/z'), join(use(), 'other')), 'same'],
    ['files that came', () => {
      writeFileSync(at('data/backup_manifest'), '')
      mkdirSync(at('data/zz'))
    }, 'added data/backup_manifest data/zz'],
    ["Barman's own metadata that came", () => writeFileSync(at('backup.info'), ''), 'same'],
  ] as const) {
    it(`${what}: ${answer}`, async () => {
      change()
      expect(await check()).to.equal(answer)
    })
  }

  it('a directory that may not be read any more is named as such, empty or not (as an ordinary user)', async () => {
    for (const name of ['data/empty', 'data/base']) {
      chmodSync(use(), 0o755)
      chmodSync(at(name), 0)
      const {exit} = startModule(`
        const {checkTreeUnchanged} = await source('lib/sync/end-check.ts')
        const {BodyPool} = await source('lib/sync/body-pool.ts')
        if (process.getuid() === 0) { process.setgid(65534); process.setuid(65534) }
        const lines = ${JSON.stringify(copied.map(({entry, local}) => ({entry: {...entry, mtimeNs: 0}, local: Object.fromEntries(Object.entries(local).map(([key, value]) => [key, String(value)]))})))}
          .map(({entry, local}) => ({entry, local: {device: BigInt(local.device), inode: BigInt(local.inode), sizeBytes: Number(local.sizeBytes), mtimeNs: BigInt(local.mtimeNs), ctimeNs: BigInt(local.ctimeNs), linkCount: Number(local.linkCount)}}))
        const {HashPool} = await source('lib/sync/hash-pool.ts')
        async function* replay() { yield* lines }
        await checkTreeUnchanged(${JSON.stringify(at(''))}, replay(), {pool: new BodyPool(1e6), hashes: new HashPool(1), partSizeBytes: 1024, signal: new AbortController().signal})
          .then((added) => console.log('added', added), ({fault, shownPath}) => console.log(fault, shownPath))`)
      const {stdout, stderr} = await exit
      chmodSync(at(name), 0o755)
      expect(stderr).to.equal('')
      expect(stdout).to.equal(`unreadable ${name}\n`)
    }
  })

  it('stops at the signal', async () => {
    const abort = new AbortController()
    abort.abort(new Error('stopped'))
    const error = await checkTreeUnchanged(at(''), replay(copied), {...deps, signal: abort.signal}).then(() => undefined, (thrown: unknown) => thrown)
    expect((error as Error).message).to.equal('stopped')
  })
})

describe('the listing compared with what was copied', () => {
  const ID = '20261101T020000'
  const keys = new ArchiveKeys({prefix: 'p', server: 'pg'})
  const local = {device: 1n, inode: 1n, sizeBytes: 0, mtimeNs: 0n, ctimeNs: 0n, linkCount: 1}
  const names = Array.from({length: 60}, (_, index) => `data/${index}`)

  function line(name: string, sizeBytes = 3): JournalLine {
    const entry = {type: 'file', path: name, mode: 0, mtimeNs: 0n, sizeBytes, sha256: '', crc32c: 0, object: `base/${ID}/${name}`}
    return {entry: entry as unknown as ManifestEntry, local}
  }

  async function compare(listed: readonly (readonly [string, number])[], copied: readonly JournalLine[] = names.map((name) => line(name)), keysInMemory?: number) {
    const memory = createMemoryStore()
    const store = {...memory, async* list() {
      for (const [name, sizeBytes] of listed) yield {key: `${keys.dataPrefix(ID)}${name}`, sizeBytes, lastModified: new Date(0)}
    }} as unknown as ObjectStore
    const context = {store, keys, signal: new AbortController().signal} as ServerContext
    const objects = copied.map((each) => objectOfLine(each)!)
    const expected = new ObjectFold()
    for (const object of objects) expected.add(object)
    return await compareListing(context, ID, {expected, objects: () => replay(objects)}, keysInMemory)
  }

  const whole = names.map((name) => [name, 3] as const)

  it('agrees in any order', async () => {
    expect(await compare(whole)).to.equal(undefined)
    expect(await compare([...whole].reverse())).to.equal(undefined)
    expect(await compare([])).not.to.equal(undefined)
    expect(await compare([], [])).to.equal(undefined)
  })

  it("Barman's metadata in base/<id>/ is no data", async () => {
    expect(await compare([...whole, ['backup.info', 9], ['annotations/keep', 4]])).to.equal(undefined)
  })

  for (const keysInMemory of [100_000, 20, 1]) {
    it(`names what is missing, foreign, or of another size, with ${keysInMemory} keys in memory at a time`, async () => {
      const listed = whole.filter(([name]) => name !== 'data/7').map(([name, size]) => [name, name === 'data/9' ? 4 : size] as const)
      const difference = await compare([...listed, ['data/x', 3], ['.barmans3', 0]], undefined, keysInMemory)
      expect(difference?.missing.count).to.equal(2)
      expect([...difference!.missing.keys].sort()).to.deep.equal([`base/${ID}/data/7`, `base/${ID}/data/9`])
      expect(difference?.foreign.count).to.equal(2)
      expect([...difference!.foreign.keys].sort()).to.deep.equal([`base/${ID}/.barmans3`, `base/${ID}/data/x`])
    })
  }

  it('two sizes exchanged are a difference, though count and bytes agree', async () => {
    const copied = [line('data/a', 1), line('data/b', 2)]
    expect((await compare([['data/a', 2], ['data/b', 1]], copied))?.missing.count).to.equal(2)
  })

  it('a million differences are counted and a few named', async () => {
    const difference = await compare([])
    expect(difference?.missing.count).to.equal(60)
    expect(difference?.missing.keys).to.have.length(20)
  })
})

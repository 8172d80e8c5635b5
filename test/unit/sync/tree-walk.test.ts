import {execFileSync} from 'node:child_process'
import {once} from 'node:events'
import {chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync} from 'node:fs'
import {createServer} from 'node:net'
import {join} from 'node:path'
import {expect} from 'chai'
import {LocalFileError} from '../../../src/lib/sync/file-errors.ts'
import {walkBackupTree, type WalkedEntry} from '../../../src/lib/sync/tree-walk.ts'
import {startModule} from '../../support/child.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

async function walk(root: string): Promise<WalkedEntry[]> {
  const found: WalkedEntry[] = []
  for await (const entry of walkBackupTree(root)) found.push(entry)
  return found
}

describe('the walk through a backup', () => {
  const use = useTemporaryDirectory()

  it('comes in the order of path bytes, which is not that of directories', async () => {
    for (const name of ['a', 'a/x', 'a/x/1', 'a-b', 'a-b/y', 'b', 'B', 'a.d', 'a0']) mkdirSync(join(use(), name))
    for (const name of ['a.c', 'a/z', 'a0b', 'a/x.y', 'a/x-1']) writeFileSync(join(use(), name), '')
    writeFileSync(Buffer.concat([Buffer.from(`${use()}/`), Buffer.from([0xff, 0x41])]), '')
    const paths = (await walk(use())).map(({path}) => path)
    expect(paths).to.deep.equal([...paths].sort((left, right) => Buffer.compare(Buffer.from(left, 'latin1'), Buffer.from(right, 'latin1'))))
    expect(paths).to.have.length(16)
    expect(paths[0]).to.equal('')
  })

  it("leaves out Barman's metadata at the top, and only there", async () => {
    mkdirSync(join(use(), 'annotations'))
    mkdirSync(join(use(), 'data/annotations'), {recursive: true})
    for (const name of ['backup.info', 'backup.info.tmp', '.backup.info.x', 'data/backup.info']) writeFileSync(join(use(), name), '')
    expect((await walk(use())).map(({path}) => String(path))).to.deep.equal(['', 'data', 'data/annotations', 'data/backup.info'])
  })

  it('C20: follows no link, hangs on no FIFO, and names what is no file', async () => {
    symlinkSync('/nonexistent', join(use(), 'dangling'))
    symlinkSync('.', join(use(), 'loop'))
    symlinkSync('/etc', join(use(), 'outside'))
    execFileSync('mkfifo', [join(use(), 'pipe')])
    const server = createServer().listen(join(use(), 'sock'))
    await once(server, 'listening')
    const byPath = new Map((await walk(use())).map((entry) => [String(entry.path), entry]))
    server.close()
    expect([...byPath.keys()]).to.deep.equal(['', 'dangling', 'loop', 'outside', 'pipe', 'sock'])
    expect(byPath.get('dangling')).to.deep.include({type: 'symlink', target: '/nonexistent'})
    expect(byPath.get('loop')).to.deep.include({type: 'symlink', target: '.'})
    expect(byPath.get('pipe')).to.deep.include({type: 'special', kind: 'fifo'})
    expect(byPath.get('sock')).to.deep.include({type: 'special', kind: 'socket'})
  })

  it('tells modes with all their bits, and times to the nanosecond', async () => {
    writeFileSync(join(use(), 'f'), 'abc')
    chmodSync(join(use(), 'f'), 0o4711)
    execFileSync('touch', ['-d', '2026-11-01 02:00:00.123456789 UTC', join(use(), 'f')])
    expect((await walk(use()))[1]).to.deep.include({type: 'file', mode: 0o4711, sizeBytes: 3, mtimeNs: 1_793_498_400_123_456_789n})
  })

  it('what goes away during the walk is an error: a finished backup has no holes', async () => {
    mkdirSync(join(use(), 'a'))
    writeFileSync(join(use(), 'a/1'), '')
    writeFileSync(join(use(), 'z'), '')
    const error = await (async () => {
      for await (const {path} of walkBackupTree(use())) if (path === 'a') rmSync(join(use(), 'a'), {recursive: true})
    })().then(() => undefined, (thrown: unknown) => thrown)
    expect(error).to.be.instanceOf(LocalFileError).and.include({fault: 'vanished'})
  })

  it('what may not be read is named, and the rest goes on (as an ordinary user)', async () => {
    mkdirSync(join(use(), 'closed'))
    writeFileSync(join(use(), 'closed/1'), '')
    writeFileSync(join(use(), 'open'), '')
    chmodSync(use(), 0o755)
    chmodSync(join(use(), 'closed'), 0)
    const {exit} = startModule(`
      const {walkBackupTree} = await source('lib/sync/tree-walk.ts')
      if (process.getuid() === 0) { process.setgid(65534); process.setuid(65534) }
      const found = []
      for await (const {path, type, error} of walkBackupTree(${JSON.stringify(use())})) found.push([path, type, error?.message])
      console.log(JSON.stringify(found))`)
    const {stdout, stderr} = await exit
    chmodSync(join(use(), 'closed'), 0o700)
    expect(stderr).to.equal('')
    expect(JSON.parse(stdout)).to.deep.equal([
      ['', 'directory', null], ['closed', 'directory', null], ['closed', 'unreadable', '"closed" cannot be read: permission denied for uid 65534'], ['open', 'file', null],
    ])
  })

  it('a directory of very many files holds up nothing else, and stops at the signal in the middle', async () => {
    mkdirSync(join(use(), 'd'))
    for (let index = 0; index < 3000; index++) writeFileSync(join(use(), 'd', String(index)), '')
    let turns = 0
    const count = () => {
      turns++
      timer = setImmediate(count)
    }
    let timer = setImmediate(count)
    const abort = new AbortController()
    let seen = 0
    const error = await (async () => {
      for await (const entry of walkBackupTree(use(), abort.signal)) {
        void entry
        if (++seen === 2500) abort.abort(new Error('stopped'))
      }
    })().then(() => undefined, (thrown: unknown) => thrown)
    clearImmediate(timer)
    expect((error as Error).message).to.equal('stopped')
    expect(seen).to.equal(2500)
    expect(turns).to.be.greaterThan(8)
  })

  it('a missing or closed backup directory is named where it lies', async () => {
    const error = await walk(join(use(), 'nosuch')).then(() => undefined, (thrown: unknown) => thrown)
    expect((error as LocalFileError).message).to.contain(join(use(), 'nosuch'))
    chmodSync(use(), 0o700)
    const {exit} = startModule(`
      const {walkBackupTree} = await source('lib/sync/tree-walk.ts')
      if (process.getuid() === 0) { process.setgid(65534); process.setuid(65534) }
      for await (const {type, error} of walkBackupTree(${JSON.stringify(use())})) if (type === 'unreadable') console.log(error.message)`)
    expect((await exit).stdout).to.equal(process.getuid?.() === 0 ? `"${use()}" cannot be read: permission denied for uid 65534\n` : '')
  })

  it('a backup directory that is itself a link is walked', async () => {
    mkdirSync(join(use(), 'real'))
    writeFileSync(join(use(), 'real/f'), '')
    symlinkSync(join(use(), 'real'), join(use(), 'link'))
    expect((await walk(join(use(), 'link'))).map(({path, type}) => [path, type])).to.deep.equal([['', 'directory'], ['f', 'file']])
  })
})

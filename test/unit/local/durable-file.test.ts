import {expect} from 'chai'
import {mkdir, readdir, readFile, stat, symlink, writeFile, chown, chmod} from 'node:fs/promises'
import {join} from 'node:path'
import {errnoOf, LocalStateError} from '../../../src/lib/errors.ts'
import {
  createDurably, ensureDirectory, isTemporaryName, removeDurably, renameDurably, writeDurably,
} from '../../../src/lib/local/durable-file.ts'
import {runChild, startModule} from '../../support/child.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

describe('durable files', () => {
  const directory = useTemporaryDirectory()
  const path = (name = 'file') => join(directory(), name)

  async function refuses(promise: Promise<unknown>, text: string): Promise<void> {
    try {
      await promise
    } catch (error) {
      expect(error).to.be.instanceOf(LocalStateError)
      expect((error as LocalStateError).message).to.include(text)
      expect((error as LocalStateError).hint).to.not.equal(undefined)
      return
    }
    throw new Error('it did not fail')
  }

  it('replaces the whole content, with the mode asked for, and leaves nothing else', async () => {
    await writeFile(path(), 'something longer than what comes')
    await writeDurably(path(), 'new', {mode: 0o600})
    expect(await readFile(path(), 'utf8')).to.equal('new')
    expect((await stat(path())).mode & 0o777).to.equal(0o600)
    await writeDurably(path(), Buffer.from([0, 255]))
    expect([...await readFile(path())]).to.deep.equal([0, 255])
    expect(await readdir(directory())).to.deep.equal(['file'])
  })

  it('replaces a symbolic link instead of writing through it', async () => {
    await writeFile(path('precious'), 'precious')
    await symlink(path('precious'), path())
    await writeDurably(path(), 'new')
    expect(await readFile(path('precious'), 'utf8')).to.equal('precious')
    expect(await readFile(path(), 'utf8')).to.equal('new')
  })

  it('creates only where nothing is, not even a dangling link', async () => {
    expect(await createDurably(path(), 'first')).to.equal(true)
    expect(await createDurably(path(), 'second')).to.equal(false)
    expect(await readFile(path(), 'utf8')).to.equal('first')
    await symlink(path('nowhere'), path('link'))
    expect(await createDurably(path('link'), 'x')).to.equal(false)
    expect((await readdir(directory())).sort()).to.deep.equal(['file', 'link'])
  })

  it('lets exactly one of many creators win', async () => {
    const won = await Promise.all(Array.from({length: 30}, (_, index) => createDurably(path(), `${index}`)))
    const winners = won.flatMap((isWinner, index) => isWinner ? [`${index}`] : [])
    expect(winners).to.deep.equal([await readFile(path(), 'utf8')])
    expect(await readdir(directory())).to.deep.equal(['file'])
  })

  it('leaves no temporary file when the rename fails', async () => {
    await mkdir(path('taken'))
    await writeFile(path('taken/x'), '')
    await refuses(writeDurably(path('taken'), 'x'), 'cannot write')
    expect(await readdir(directory())).to.deep.equal(['taken'])
  })

  it('says what is wrong with the place', async () => {
    await writeFile(path(), '')
    await refuses(writeDurably(path('file/below'), 'x'), 'a part of the path is not a directory')
    await refuses(writeDurably(path('missing/below'), 'x'), 'no such file or directory')
    await refuses(ensureDirectory(path('file/below')), 'not a directory')
    await refuses(ensureDirectory(path()), 'not a directory')
  })

  it('says that it may not write there', async () => {
    // Root may write everywhere, so the directory is tried by somebody else.
    const isRoot = process.geteuid?.() === 0
    await chmod(directory(), 0o555)
    const child = startModule(`
      const {writeDurably} = await source('lib/local/durable-file.ts')
      if (process.getuid() === 0) process.setuid(65534)
      try { await writeDurably(${JSON.stringify(path())}, 'x') } catch (error) { console.log(error.message + ' | ' + error.hint) }
    `)
    const {stdout} = await child.exit
    expect(stdout).to.include('permission denied').and.include('run barmans3 as the user who owns')
    expect(await readdir(directory()), String(isRoot)).to.deep.equal([])
    await chmod(directory(), 0o755)
  })

  it('renames, and lets the caller see that the file is gone', async () => {
    await writeFile(path('a'), 'a')
    await renameDurably(path('a'), path('b'))
    expect(await readdir(directory())).to.deep.equal(['b'])
    try {
      await renameDurably(path('a'), path('b'))
      throw new Error('it did not fail')
    } catch (error) {
      expect(errnoOf(error)).to.equal('ENOENT')
    }
    await removeDurably(path('b'))
    await removeDurably(path('b'))
    expect(await readdir(directory())).to.deep.equal([])
  })

  it('makes missing directories with the mode asked for', async () => {
    await ensureDirectory(path('a/b/c'))
    await ensureDirectory(path('a/b/c'))
    expect((await stat(path('a/b'))).mode & 0o777).to.equal(0o750)
  })

  it('gives what root makes to the owner of the directory', async function () {
    if (process.geteuid?.() !== 0) {
      // Others cannot give files away: then it must at least be theirs.
      await writeDurably(path(), 'x')
      expect((await stat(path())).uid).to.equal(process.getuid?.())
      return
    }
    await chown(directory(), 12_345, 23_456)
    await ensureDirectory(path('new/newer'))
    await writeDurably(path('new/newer/file'), 'x')
    await createDurably(path('created'), 'x')
    for (const name of ['new', 'new/newer', 'new/newer/file', 'created']) {
      const {uid, gid} = await stat(path(name))
      expect([uid, gid], name).to.deep.equal([12_345, 23_456])
    }
  })

  it('on a full disk leaves the old content and no half file', async () => {
    // A tmpfs of 64 KiB in a mount namespace of its own, for root and others alike.
    const source = new URL('../../../src/lib/local/durable-file.ts', import.meta.url).href
    const script = `
      mount -t tmpfs -o size=64k tmpfs "$1" && cd "$1" && echo old > file || exit 99
      "$2" --input-type=module -e '
        const {writeDurably} = await import(process.argv[1])
        try { await writeDurably(process.cwd() + "/file", Buffer.alloc(200000)) }
        catch (error) { console.log(error.name + ": " + error.message + " | " + error.hint) }
      ' "$3"; cat file; ls -A`
    const isRoot = process.geteuid?.() === 0
    const {stdout, stderr, status} = await runChild(
      'unshare', [isRoot ? '-m' : '-rm', 'sh', '-c', script, 'sh', directory(), process.execPath, source])
    expect(status, stderr).to.equal(0)
    expect(stdout).to.match(/^LocalStateError: cannot write .*\/file: no space left on the device \| free some space/)
    expect(stdout.split('\n').slice(1)).to.deep.equal(['old', 'file', ''])
  })

  it('knows its own temporary names', () => {
    expect(isTemporaryName('.tmp-12-0123456789abcdef')).to.equal(true)
    expect(isTemporaryName('20261125T073400.run')).to.equal(false)
    expect(isTemporaryName('x.tmp')).to.equal(false)
  })
})

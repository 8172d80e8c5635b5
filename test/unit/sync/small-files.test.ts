import {execFileSync} from 'node:child_process'
import {appendFileSync, chmodSync, linkSync, lstatSync, readFileSync, rmSync, symlinkSync, truncateSync, utimesSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {LocalFileError} from '../../../src/lib/sync/file-errors.ts'
import {localStatOf, type LocalStat} from '../../../src/lib/sync/local-stat.ts'
import {SmallFileReader} from '../../../src/lib/sync/small-files.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'
import {asUnprivilegedUser} from '../barman/as-other-user.ts'

describe('the reader of small files', () => {
  const use = useTemporaryDirectory()
  const path = () => join(use(), 'file')
  const look = (): LocalStat => localStatOf(lstatSync(path(), {bigint: true}))
  beforeEach(() => {
    writeFileSync(path(), 'content of the file')
    utimesSync(path(), 1_700_000_000, 1_700_000_000)
  })

  /** A clock that says of each read whether the disk was slow. */
  function reader(slow: boolean): SmallFileReader {
    let now = 0
    return new SmallFileReader(() => (now += slow ? 10 : 0.1))
  }

  async function read(files: SmallFileReader, expected = look()): Promise<string> {
    const fill = await files.prepare(path(), 'shown', expected)
    const target = Buffer.alloc(expected.sizeBytes, 0xa5)
    fill(target)
    return target.toString()
  }

  /** Reads in the background: a read at once that was slow comes before. */
  async function backgroundReader(): Promise<SmallFileReader> {
    const files = reader(true)
    expect(await read(files)).to.equal('content of the file')
    return files
  }

  for (const [how, open] of [['at once', async () => reader(false)], ['in the background', backgroundReader]] as const) {
    describe(how, () => {
      const faultOf = async (work: Promise<unknown>) => await work.then(() => 'none', (error: unknown) => {
        if (error instanceof LocalFileError) return `${error.fault} ${error.shownPath}`
        throw error
      })

      it('gives the whole content', async () => expect(await read(await open())).to.equal('content of the file'))

      it('gives nothing of an empty file', async () => {
        const files = await open()
        writeFileSync(path(), '')
        expect(await read(files)).to.equal('')
      })

      for (const [what, change, fault] of [
        ['became shorter', () => truncateSync(path(), 3), 'changed shown'],
        ['grew', () => appendFileSync(path(), 'x'), 'changed shown'],
        ['was written anew with the same size', () => writeFileSync(path(), 'CONTENT OF THE FILE'), 'changed shown'],
        ['is gone', () => rmSync(path()), 'vanished shown'],
        ['became a link', () => {
          rmSync(path())
          symlinkSync('/etc/passwd', path())
        }, 'changed shown'],
        ['became a FIFO: nothing hangs', () => {
          rmSync(path())
          execFileSync('mkfifo', [path()])
        }, 'changed shown'],
        ['got one hard link more', () => linkSync(path(), join(use(), 'link')), 'none'],
        ['got another mode', () => chmodSync(path(), 0o600), 'none'],
      ] as const) {
        it(`a file that ${what} since it was looked at: ${fault}`, async () => {
          const files = await open()
          const expected = look()
          change()
          expect(await faultOf(read(files, expected))).to.equal(fault)
        })
      }

      it('one that may not be read is unreadable (as an ordinary user), and the file is closed again', async () => {
        chmodSync(use(), 0o755)
        const files = await open()
        chmodSync(path(), 0)
        expect(await asUnprivilegedUser(async () => await faultOf(read(files)))).to.equal('unreadable shown')
      })
    })
  }

  it('a slow disk sends the reads after it to the background, a number of them, and then tries again', async () => {
    const files = await backgroundReader()
    /** Whether the content was read when the result came, and not when it is wanted. */
    const isBackground = async (): Promise<boolean> => {
      writeFileSync(path(), 'content of the file')
      const fill = await files.prepare(path(), 'shown', look())
      rmSync(path())
      const target = Buffer.alloc(19)
      try {
        fill(target)
      } catch (error) {
        expect(error).to.be.instanceOf(LocalFileError).and.include({fault: 'vanished'})
        return false
      }
      expect(target.toString()).to.equal('content of the file')
      return true
    }
    let count = 0
    while (await isBackground()) expect(++count).to.be.at.most(1000)
    expect(count).to.be.at.least(16)
    expect(await isBackground()).to.equal(false)
  })

  it('reads names of any bytes', async () => {
    const name = Buffer.concat([Buffer.from(`${use()}/`), Buffer.from([0xff, 0xfe])])
    writeFileSync(name, 'odd')
    for (const slow of [false, true]) {
      const files = reader(slow)
      for (let round = 0; round < 2; round++) {
        const target = Buffer.alloc(3)
        const fill = await files.prepare(name, 'odd', localStatOf(lstatSync(name, {bigint: true})))
        fill(target)
        expect(target.equals(readFileSync(name))).to.equal(true)
      }
    }
  })
})

import {copyFileSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {setTimeout as delay} from 'node:timers/promises'
import {expect} from 'chai'
import {backupPathFromBytes, type BackupPath} from '../../../src/lib/archive/backup-path.ts'
import {LocalStateError} from '../../../src/lib/errors.ts'
import {JournalWriter, removeJournal} from '../../../src/lib/sync/journal.ts'
import {readJournal, type JournalLine} from '../../../src/lib/sync/journal-line.ts'
import {compareLocalStat, type LocalStat} from '../../../src/lib/sync/local-stat.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

const ID = '20261101T020000'
const binding = {server: 'pg', backupId: ID, systemId: '7300000000000000001'}
const local: LocalStat = {device: 1n, inode: 2n ** 60n, sizeBytes: 3, mtimeNs: 1_795_592_040_205_173_500n, ctimeNs: 5n, linkCount: 1}

function line(path: string): JournalLine {
  return {entry: {type: 'file', path: path as BackupPath, mode: 0o600, mtimeNs: 7n, sizeBytes: 3, sha256: 'a'.repeat(64), crc32c: 9, object: `base/${ID}/x`}, local}
}

async function collect(lines: AsyncIterable<JournalLine>): Promise<string[]> {
  const paths: string[] = []
  for await (const {entry} of lines) paths.push(entry.path)
  return paths
}

describe('the journal of a backup', () => {
  const use = useTemporaryDirectory()
  const path = () => join(use(), `${ID}.jsonl`)

  async function write(paths: readonly string[], isWhole = true): Promise<void> {
    const writer = await JournalWriter.open(use(), ID, binding)
    for (const each of paths) await writer.append(line(each))
    await writer.finish({isWhole})
  }

  it('gives every line back exactly, whatever bytes the names have', async () => {
    const names = ['a', 'a b', 'a\tb', 'a\nb', backupPathFromBytes(Buffer.from([0x66, 0xff, 0xfe])), backupPathFromBytes(Buffer.from('ü\u2028\u2029'))].sort()
    await write(names)
    const lines: JournalLine[] = []
    for await (const each of readJournal(path(), binding)) lines.push(each)
    expect(lines).to.deep.equal(names.map(line))
  })

  it('of another backup, bucket or installation is not used', async () => {
    await write(['a'])
    expect(await collect(readJournal(path(), {...binding, systemId: '1'}))).to.deep.equal([])
    expect(await collect(readJournal(path(), {...binding, archiveUri: 's3://x'}))).to.deep.equal([])
  })

  it('a line torn anywhere ends it, and the lines before stay', async () => {
    await write(['a', 'b', 'c'])
    const bytes = readFileSync(path())
    for (let length = 0; length < bytes.length; length += 11) {
      writeFileSync(path(), bytes.subarray(0, length))
      const found = await collect(readJournal(path(), binding))
      expect(['a', 'b', 'c'].slice(0, found.length)).to.deep.equal(found)
    }
  })

  it('an earlier line is found in order, and only for its own path', async () => {
    await write(['a', 'c', 'e'])
    const writer = await JournalWriter.open(use(), ID, binding)
    const found: (string | undefined)[] = []
    for (const each of ['a', 'b', 'c', 'd', 'f']) found.push((await writer.earlierLine(each))?.entry.path)
    await writer.finish({isWhole: true})
    expect(found).to.deep.equal(['a', undefined, 'c', undefined, undefined])
  })

  it('a run that stops half-way keeps what the earlier one knew behind that point', async () => {
    await write(['a', 'c', 'e'])
    const writer = await JournalWriter.open(use(), ID, binding)
    for (const each of ['a', 'b']) {
      await writer.earlierLine(each)
      await writer.append(line(each))
    }
    await writer.finish({isWhole: false})
    expect(await collect(readJournal(path(), binding))).to.deep.equal(['a', 'b', 'c', 'e'])
  })

  it('after kill -9 what the old and the new one know is put together', async () => {
    await write(['a', 'c', 'e'])
    copyFileSync(path(), `${path()}.kept`)
    await write(['a', 'b', 'd'])
    copyFileSync(path(), `${path()}.new`)
    copyFileSync(`${path()}.kept`, path())
    writeFileSync(`${path()}.new`, readFileSync(`${path()}.new`).subarray(0, -10))
    const writer = await JournalWriter.open(use(), ID, binding)
    expect((await writer.earlierLine('b'))?.entry.path).to.equal('b')
    await writer.finish({isWhole: false})
    // The walk did not come by a any more.
    expect(await collect(readJournal(path(), binding))).to.deep.equal(['b', 'c', 'e'])
  })

  it('of a run that is killed all but the last lines are on disk', async () => {
    const names = Array.from({length: 100}, (_, index) => `f${String(index).padStart(3, '0')}`)
    const killed = await JournalWriter.open(use(), ID, binding)
    for (const name of names) await killed.append(line(name))
    const known = await collect(readJournal(`${path()}.new`, binding))
    expect(known).to.deep.equal(names.slice(0, known.length))
    expect(known).to.have.length.greaterThan(80)
    await killed.finish({isWhole: true})
  })

  describe('while a file before them in path order is still on its way', () => {
    const names = Array.from({length: 1000}, (_, index) => `f${String(index).padStart(4, '0')}`)

    /** b takes its time; the files f… are sent meanwhile, in an order of their own. One of them had another inode in the earlier run. */
    async function sendAllButOne(): Promise<JournalWriter> {
      await write(['a', 'f0999', 'g'])
      const run = await JournalWriter.open(use(), ID, binding)
      await run.earlierLine('a')
      await run.append(line('a'))
      for (const name of [...names].reverse()) await run.noteSent(name === 'f0999' ? {...line(name), local: {...local, inode: 77n}} : line(name))
      return run
    }

    async function knownToNextRun(directory: string): Promise<JournalLine[]> {
      const next = await JournalWriter.open(directory, ID, binding)
      const found: (JournalLine | undefined)[] = []
      for (const name of ['a', 'b', ...names, 'g']) found.push(await next.earlierLine(name))
      await next.finish({isWhole: false})
      return found.filter((each) => each !== undefined)
    }

    it('C11: a run that is killed has noted all files sent but those of the last moment', async () => {
      const run = await sendAllButOne()
      // What is noted is written soon, not at once: a journal that follows makes it needless.
      await delay(300)
      const asKilled = join(use(), 'as-killed')
      const left = readdirSync(use())
      mkdirSync(asKilled)
      for (const name of left) copyFileSync(join(use(), name), join(asKilled, name))
      await run.finish({isWhole: true})
      const known = await knownToNextRun(asKilled)
      const paths = known.map(({entry}) => entry.path)
      expect(paths).to.have.length.greaterThan(984).and.to.include.members(['a', 'f0999', 'g'])
      expect(paths).not.to.include('b')
      expect(known.find(({entry}) => entry.path === 'f0999')?.local.inode).to.equal(77n)
      expect(readdirSync(asKilled)).to.deep.equal([`${ID}.jsonl`])
    })

    it('a run that fails keeps every one of them', async () => {
      const run = await sendAllButOne()
      await run.finish({isWhole: false})
      const known = await knownToNextRun(use())
      expect(known.map(({entry}) => entry.path)).to.deep.equal(['a', ...names, 'g'])
      expect(known.find(({entry}) => entry.path === 'f0999')?.local.inode).to.equal(77n)
    })

    it('the notes stay small, however many files a backup has', async () => {
      const run = await JournalWriter.open(use(), ID, binding)
      let largest = 0
      for (let round = 0; round < 300; round++) {
        const batch = Array.from({length: 100}, (_, index) => `r${String(round).padStart(4, '0')}-${String(index).padStart(3, '0')}`)
        for (const name of [...batch].reverse()) await run.noteSent(line(name))
        for (const name of batch) await run.append(line(name))
        largest = Math.max(largest, statSync(`${path()}.sent`, {throwIfNoEntry: false})?.size ?? 0)
      }
      expect(largest).to.be.within(1, 4 * 1024 ** 2)
      await run.noteSent(line('s'))
      await run.finish({isWhole: false})
      expect(await collect(readJournal(path(), binding))).to.have.length(30_001)
      expect(readdirSync(use())).to.deep.equal([`${ID}.jsonl`])
    })
  })

  it('a run that reads ahead and then fails forgets nothing of what it had asked for', async () => {
    await write(['a', 'b', 'c', 'd'])
    for (let run = 0; run < 3; run++) {
      const writer = await JournalWriter.open(use(), ID, binding)
      for (const each of ['a', 'b', 'c']) await writer.earlierLine(each)
      if (run === 1) await writer.append(line('a'))
      await writer.finish({isWhole: false})
      expect(await collect(readJournal(path(), binding))).to.deep.equal(['a', 'b', 'c', 'd'])
    }
  })

  it('what was asked for and found to be another file is not kept', async () => {
    await write(['a', 'b', 'c'])
    const writer = await JournalWriter.open(use(), ID, binding)
    for (const each of ['a', 'b', 'c']) await writer.earlierLine(each)
    await writer.append({...line('b'), local: {...local, inode: 77n}})
    await writer.finish({isWhole: false})
    const inodes: bigint[] = []
    for await (const each of readJournal(path(), binding)) inodes.push(each.local.inode)
    expect(inodes).to.deep.equal([77n, local.inode])
  })

  it('a last line that was cut is not taken for a whole one with other numbers', async () => {
    const writer = await JournalWriter.open(use(), ID, binding)
    await writer.append({...line('a'), local: {...local, linkCount: 12}})
    await writer.finish({isWhole: true})
    const bytes = readFileSync(path())
    for (let cut = 1; cut < 30; cut++) {
      writeFileSync(path(), bytes.subarray(0, -cut))
      for await (const each of readJournal(path(), binding)) expect(each.local, `${cut} bytes cut`).to.deep.equal({...local, linkCount: 12})
    }
  })

  it('garbage instead of lines, as after a power cut, ends it', async () => {
    await write(['a', 'b'])
    const [head, first] = readFileSync(path(), 'latin1').split('\n')
    for (const garbage of ['\0'.repeat(100), '{}', 'x\ty', `{"type":"end"}\t1,2,3,4,5,6;`, '\t']) {
      writeFileSync(path(), `${head}\n${first}\n${garbage}\n${first}\n`)
      expect(await collect(readJournal(path(), binding))).to.deep.equal(['a'])
    }
  })

  it('left behind by a death at any moment of putting two together, the next run still knows what either knew', async () => {
    await write(['b', 'd'])
    const old = readFileSync(path())
    await write(['a', 'b'])
    const younger = readFileSync(path())
    for (const [what, prepare] of [
      ['before', () => undefined],
      ['while the merge is written', () => writeFileSync(`${path()}.merge`, old.subarray(0, 20))],
      ['after the merge took its place', () => writeFileSync(path(), Buffer.concat([younger, old.subarray(old.lastIndexOf('{'))]))],
    ] as const) {
      writeFileSync(path(), old)
      writeFileSync(`${path()}.new`, younger)
      prepare()
      const writer = await JournalWriter.open(use(), ID, binding)
      await writer.finish({isWhole: false})
      expect(await collect(readJournal(path(), binding)), what).to.deep.equal(['a', 'b', 'd'])
    }
  })

  it('a state directory that cannot be written is an error with the way out, not a bug', async () => {
    writeFileSync(join(use(), 'file'), '')
    const error = await JournalWriter.open(join(use(), 'file', 'below'), ID, binding).then(() => undefined, (thrown: unknown) => thrown)
    expect(error).to.be.instanceOf(LocalStateError)
    expect((error as LocalStateError).hint).to.be.a('string')
  })

  it('is removed with everything a dead run left beside it', async () => {
    await write(['a'])
    for (const suffix of ['.new', '.merge', '.sent', '.sent.next']) copyFileSync(path(), `${path()}${suffix}`)
    await removeJournal(use(), ID)
    expect(readdirSync(use())).to.deep.equal([])
  })

  it('is removed whole', async () => {
    await write(['a'])
    await removeJournal(use(), ID)
    expect(await collect(readJournal(path(), binding))).to.deep.equal([])
  })
})

describe('two looks at a file', () => {
  for (const [what, change, verdict] of [
    ['nothing', {}, 'same'], ['the device', {device: 9n}, 'changed'], ['the inode', {inode: 9n}, 'changed'], ['the size', {sizeBytes: 9}, 'changed'],
    ['the mtime by a nanosecond', {mtimeNs: local.mtimeNs + 1n}, 'changed'], ['the ctime alone', {ctimeNs: 9n}, 'unclear'],
    ['ctime and links', {ctimeNs: 9n, linkCount: 2}, 'same'], ['links alone', {linkCount: 2}, 'same'],
  ] as const) {
    it(`when ${what} differs: ${verdict}`, () => expect(compareLocalStat(local, {...local, ...change})).to.equal(verdict))
  }

  it('across a reboot the device number says nothing', () => {
    expect(compareLocalStat(local, {...local, device: 9n}, {ignoreDevice: true})).to.equal('same')
  })
})

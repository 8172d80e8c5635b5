import {copyFileSync, readFileSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {backupPathFromBytes, type BackupPath} from '../../../src/lib/archive/backup-path.ts'
import {JournalWriter, readJournal, removeJournal, type JournalLine} from '../../../src/lib/sync/journal.ts'
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
    // b was seen by this run, which kept nothing of it; behind it lies what both knew.
    expect(await collect(readJournal(path(), binding))).to.deep.equal(['c', 'e'])
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

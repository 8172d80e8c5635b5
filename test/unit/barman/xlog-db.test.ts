import {expect} from 'chai'
import {chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs'
import {tmpdir} from 'node:os'
import path from 'node:path'
import {serverFromDirectories} from '../../../src/lib/barman/server-directories.ts'
import {findXlogDb, parseXlogDbLine, readXlogDb, readXlogDbNames} from '../../../src/lib/barman/xlog-db.ts'
import {BarmanFilesError} from '../../../src/lib/errors.ts'
import {LABS, labPath, readLabText, serverFiles} from './fixtures.ts'
import {collect, rejectionOf} from './promises.ts'

const SEGMENT = '000000010000000000000010'

describe('parseXlogDbLine', () => {
  it('C16: takes lines of 5, 4 and 3 fields', () => {
    const common = {name: SEGMENT, sizeBytes: 16_513, mtimeSeconds: 1_795_430_897.53}
    expect(parseXlogDbLine(`${SEGMENT}\t16513\t1795430897.53\tgzip\tNone`)).to.deep.equal(
      {...common, compression: 'gzip', encryption: undefined})
    expect(parseXlogDbLine(`${SEGMENT}\t16513\t1795430897.53\tNone\tgpg\n`)).to.deep.equal(
      {...common, compression: undefined, encryption: 'gpg'})
    expect(parseXlogDbLine(`${SEGMENT}\t16513\t1795430897.53\tbzip2\r\n`)).to.deep.equal(
      {...common, compression: 'bzip2', encryption: undefined})
    expect(parseXlogDbLine(`${SEGMENT}\t16513\t1795430897.53`)).to.deep.equal(
      {...common, compression: undefined, encryption: undefined})
  })
  const torn = [
    '', '\n', SEGMENT, SEGMENT.slice(0, 22), `${SEGMENT}\t16`, `${SEGMENT}\t16513\t`, `${SEGMENT}\tNone\t1\tgzip`, `${SEGMENT}\t16513\tx`,
    `${SEGMENT}\t16513\t1\tgzip\tNone\textra`, 'xlog.db\t1\t1\tNone\tNone', `${SEGMENT.slice(2)}\t16513\t1795430897.53\tgzip\tNone`,
    `${SEGMENT}\t-1\t1\tNone`,
  ]
  for (const line of torn) {
    it(`C16: ${JSON.stringify(line)} is no line`, () => expect(parseXlogDbLine(line)).to.equal(undefined))
  }
})

describe('readXlogDb', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'barmans3-xlogdb-'))
  })
  afterEach(() => rmSync(directory, {recursive: true, force: true}))

  const write = (text: string) => {
    const file = path.join(directory, 'xlog.db')
    writeFileSync(file, text)
    return file
  }

  for (const lab of LABS) {
    it(`reads every line of ${lab}`, async () => {
      const files = serverFiles(lab).filter((file) => file.endsWith('xlog.db'))
      expect(files.length).to.equal(1)
      const file = files[0] ?? ''
      const lines = await collect(readXlogDb(labPath(lab, 'server', file)))
      const written = readLabText(lab, 'server', file).trim().split('\n')
      expect(lines.map((line) => line.name)).to.deep.equal(written.map((line) => line.split('\t')[0]))
      expect(lines.every((line) => line.sizeBytes > 0 && line.mtimeSeconds > 1.7e9)).to.equal(true)
    })
  }
  it('shows the double lines of a passive node as they are', async () => {
    const file = labPath('barman-3.19.1-passive', 'server/wals/s_f-tl-xlog.db')
    const names = await collect(readXlogDbNames(file))
    expect(names.length).to.equal(new Set(names).size * 2)
  })
  it('C16: leaves out a torn last line and nonsense between, and goes on', async () => {
    const file = write([
      '000000010000000000000001\t16777216\t1795430897.5\tNone\tNone', 'nonsense', '', `${'x'.repeat(10_000)}`,
      '0000000900003E1200000010\t16777216\t1795430897.5\tgzip', '000000010000000000000003\t16777216\t1795430897.5',
      '000000010000000000000004\t16777216\t17954',
    ].join('\n'))
    expect(await collect(readXlogDbNames(file))).to.deep.equal(
      ['000000010000000000000001', '0000000900003E1200000010', '000000010000000000000003'])
  })
  it('puts lines together over the borders of its reads', async () => {
    const names = Array.from({length: 20_000}, (_, index) => index.toString(16).toUpperCase().padStart(24, '0'))
    const file = write(names.map((name) => `${name}\t16777216\t1795430897.5\tNone\tNone\n`).join(''))
    expect(await collect(readXlogDbNames(file))).to.deep.equal(names)
  })
  it('does not keep a file without line ends in memory', async () => {
    const file = write('')
    const {open} = await import('node:fs/promises')
    await using handle = await open(file, 'w')
    await handle.truncate(512 * 1024 * 1024)
    const before = process.memoryUsage().rss
    expect(await collect(readXlogDbNames(file))).to.deep.equal([])
    expect(process.memoryUsage().rss - before).to.be.lessThan(100 * 1024 * 1024)
  })
  it('a missing file has no lines, one that cannot be read is an error', async () => {
    expect(await collect(readXlogDb(path.join(directory, 'none')))).to.deep.equal([])
    expect(await rejectionOf(collect(readXlogDb(directory)))).to.be.instanceOf(BarmanFilesError)
  })
  it('stops when told to', async () => {
    const file = write('000000010000000000000001\t1\t1\tNone\tNone\n')
    const reason = new Error('enough')
    expect(await rejectionOf(collect(readXlogDb(file, {signal: AbortSignal.abort(reason)})))).to.equal(reason)
  })
  it('is found under its new name, then its old one, then nowhere', async () => {
    const server = serverFromDirectories('pg', {directory})
    const wals = path.join(directory, 'wals')
    expect(await findXlogDb(server)).to.equal(undefined)
    mkdirSync(wals)
    writeFileSync(path.join(wals, 'xlog.db'), '')
    expect(await findXlogDb(server)).to.equal(path.join(wals, 'xlog.db'))
    writeFileSync(path.join(wals, 'pg-xlog.db'), '')
    expect(await findXlogDb(server)).to.equal(path.join(wals, 'pg-xlog.db'))
    const elsewhere = path.join(directory, 'elsewhere.db')
    writeFileSync(elsewhere, '')
    chmodSync(elsewhere, 0o600)
    expect(await findXlogDb({...server, xlogDbPath: elsewhere})).to.equal(elsewhere)
  })
})

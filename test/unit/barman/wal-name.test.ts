import {expect} from 'chai'
import fc from 'fast-check'
import {
  compareWalNames, hashDirectory, isHashDirectoryName, isValidSegmentSize, nextSegmentName, parseWalName, segmentName,
  segmentNumber, segmentsBetween, walRelativePath,
} from '../../../src/lib/barman/wal-name.ts'
import {BarmanFilesError} from '../../../src/lib/errors.ts'
import {LABS, readLabText, serverFiles} from './fixtures.ts'

const MIB = 1024 * 1024
const SIZES = Array.from({length: 11}, (_, exponent) => MIB * 2 ** exponent)
const SEGMENT = '000000010000000000000005'

describe('parseWalName', () => {
  it('knows the four kinds of WAL file', () => {
    const position = {segment: '00000002000000A1000000FF', logId: 0xa1, logSegment: 0xff}
    expect(parseWalName('00000002000000A1000000FF')).to.deep.equal(
      {kind: 'segment', name: '00000002000000A1000000FF', timeline: 2, ...position})
    expect(parseWalName('00000002000000A1000000FF.00D000D8.backup')).to.deep.equal(
      {kind: 'backup', name: '00000002000000A1000000FF.00D000D8.backup', timeline: 2, ...position, offsetBytes: 0xd0_00d8})
    expect(parseWalName('00000002000000A1000000FF.partial')).to.deep.equal(
      {kind: 'partial', name: '00000002000000A1000000FF.partial', timeline: 2, ...position})
    expect(parseWalName('0000000A.history')).to.deep.equal({kind: 'history', name: '0000000A.history', timeline: 10})
  })
  it('takes hex digits in either case, as Barman does', () => {
    expect(parseWalName('0000000a000000a1000000ff')?.kind).to.equal('segment')
    expect(hashDirectory('0000000a000000a1000000ff')).to.equal('0000000A000000A1')
  })
  const foreign = [
    '', 'xlog.db', 'pg-xlog.db', 'xlog.db.tmp', '.pg-xlogdb.lock', 'lost+found', 'sync-wals.info', '0000000100000000',
    `${SEGMENT}.tmp`, `${SEGMENT}.gz`, `${SEGMENT}.compressed`, `${SEGMENT}.uncompressed`, `${SEGMENT}.gpg`,
    `.${SEGMENT}.aB3xYz`, `.${SEGMENT}`, `${SEGMENT}.00000028.backup.tmp`, `${SEGMENT}.0000028.backup`,
    `${SEGMENT}.BACKUP`, `${SEGMENT}.PARTIAL`, `${SEGMENT}.partial.gz`, '00000002.HISTORY', '00000002.history.tmp', '2.history',
    `${SEGMENT}\n`, ` ${SEGMENT}`, `${SEGMENT}0`, SEGMENT.slice(1), `G${SEGMENT.slice(1)}`, `${SEGMENT.slice(1)}٣`,
    `0000000100000000/${SEGMENT}`, `${SEGMENT}.00000028.partial`, '00000001.backup',
  ]
  for (const name of foreign) {
    it(`C15: ${JSON.stringify(name)} is no WAL file`, () => {
      expect(parseWalName(name)).to.equal(undefined)
      expect(hashDirectory(name)).to.equal(undefined)
    })
  }
  it('C15: history, .backup and .partial beside segments are WAL files', () => {
    const names = ['00000002.history', `${SEGMENT}.00000028.backup`, '000000010000000000000006.partial', SEGMENT]
    expect(names.map((name) => parseWalName(name)?.kind)).to.deep.equal(['history', 'backup', 'partial', 'segment'])
  })
  for (const lab of LABS) {
    it(`puts every WAL file of ${lab} where that Barman has put it`, () => {
      const paths = serverFiles(lab).filter((file) => file.startsWith('wals/')).map((file) => file.slice('wals/'.length))
      for (const file of paths) {
        const walFile = parseWalName(file.split('/').at(-1) ?? '')
        if (walFile === undefined) expect(file).to.match(/xlog\.db$|sync-wals\.info$/)
        else expect(walRelativePath(walFile)).to.equal(file)
      }
    })
  }
  it('reads every name in the xlog.db of every lab', () => {
    let names = 0
    for (const lab of LABS) {
      for (const file of serverFiles(lab).filter((name) => name.endsWith('xlog.db'))) {
        for (const line of readLabText(lab, 'server', file).trim().split('\n')) {
          expect(parseWalName(line.split('\t')[0] ?? ''), line).to.not.equal(undefined)
          names++
        }
      }
    }
    expect(names).to.be.greaterThan(100)
  })
})

describe('hash directories', () => {
  it('are the first 16 digits; history files lie beside them', () => {
    expect(hashDirectory(`${SEGMENT}.00000028.backup`)).to.equal('0000000100000000')
    expect(hashDirectory('00000002.history')).to.equal(undefined)
    const paths = [SEGMENT, '00000002.history'].map((name) => walRelativePath(parseWalName(name)!))
    expect(paths).to.deep.equal([`0000000100000000/${SEGMENT}`, '00000002.history'])
  })
  it('have 16 digits in upper case', () => {
    const names = ['0000000100000000', '0000000A0000FFFF', '0000000a0000ffff', '000000010000000', SEGMENT, 'lost+found', '']
    expect(names.map((name) => isHashDirectoryName(name))).to.deep.equal([true, true, false, false, false, false, false])
  })
})

describe('segment sizes', () => {
  it('are powers of two from 1 MiB to 1 GiB', () => {
    expect(SIZES.every((size) => isValidSegmentSize(size))).to.equal(true)
    for (const size of [0, 1, -MIB, MIB / 2, 2048 * MIB, 3 * MIB, 16 * MIB + 1, Number.NaN, Infinity, 1.5 * MIB]) {
      expect(isValidSegmentSize(size), String(size)).to.equal(false)
    }
  })
})

describe('WAL arithmetic', () => {
  const timelines = fc.integer({min: 0, max: 0xffff_ffff})
  const logIds = fc.integer({min: 0, max: 0xffff_ffff})

  for (const size of SIZES) {
    const perLog = 2 ** 32 / size
    it(`with ${size / MIB} MiB any segment survives being numbered and named`, () => {
      fc.assert(fc.property(timelines, logIds, fc.integer({min: 0, max: perLog - 1}), (timeline, logId, logSegment) => {
        const name = segmentName(timeline, logId * perLog + logSegment, size)
        expect(name).to.match(/^[0-9A-F]{24}$/)
        expect(segmentNumber(name, size)).to.equal(logId * perLog + logSegment)
        expect(parseWalName(name)).to.include({timeline, logId, logSegment, kind: 'segment'})
      }))
    })
    it(`with ${size / MIB} MiB the successor is one further, also into the next hash directory`, () => {
      fc.assert(fc.property(logIds.filter((logId) => logId < 0xffff_ffff), (logId) => {
        const last = segmentName(1, logId * perLog + perLog - 1, size)
        const next = nextSegmentName(last, size)
        expect(segmentNumber(next, size)).to.equal(segmentNumber(last, size) + 1)
        expect(parseWalName(next)).to.include({logId: logId + 1, logSegment: 0})
        expect(compareWalNames(last, next)).to.equal(-1)
      }))
    })
    it(`with ${size / MIB} MiB a span of segments is whole and in order`, () => {
      fc.assert(fc.property(fc.integer({min: 0, max: 10_000}), fc.integer({min: 0, max: 300}), (begin, count) => {
        const names = [...segmentsBetween(segmentName(7, begin, size), segmentName(7, begin + count, size), size)]
        expect(names.map((name) => segmentNumber(name, size))).to.deep.equal(
          Array.from({length: count + 1}, (_, index) => begin + index))
        expect(names.toSorted(compareWalNames)).to.deep.equal(names)
      }), {numRuns: 30})
    })
  }

  it('64 MiB: …3F is followed by …00 of the next log id, as the lab shows', () => {
    expect(nextSegmentName('00000001000000000000003F', 64 * MIB)).to.equal('000000010000000100000000')
    expect(nextSegmentName('00000001000000000000003F', 16 * MIB)).to.equal('000000010000000000000040')
  })
  it('a name that segments of this size cannot have is refused', () => {
    expect(() => segmentNumber('000000010000000000000040', 64 * MIB)).to.throw(BarmanFilesError, /67108864/)
    expect(() => segmentNumber('00000002.history', 16 * MIB)).to.throw(BarmanFilesError, /not a WAL segment/)
    expect(() => segmentNumber('nonsense', 16 * MIB)).to.throw(BarmanFilesError, /not a WAL segment/)
    expect(() => segmentNumber(SEGMENT, 3 * MIB)).to.throw(BarmanFilesError, /3145728/)
  })
  it('there is nothing before the first and after the last segment', () => {
    expect(() => segmentName(1, -1, 16 * MIB)).to.throw(BarmanFilesError)
    expect(() => segmentName(2 ** 32, 0, 16 * MIB)).to.throw(BarmanFilesError)
    expect(() => segmentName(1, 0.5, 16 * MIB)).to.throw(BarmanFilesError)
    expect(() => nextSegmentName('00000001FFFFFFFF000000FF', 16 * MIB)).to.throw(BarmanFilesError)
  })
  it('.backup and .partial count as their segment', () => {
    expect(segmentNumber(`${SEGMENT}.00000028.backup`, 16 * MIB)).to.equal(5)
    expect(segmentNumber(`${SEGMENT}.partial`, 16 * MIB)).to.equal(5)
  })
  it('PostgreSQL before 9.3 skips the last segment of each log id', () => {
    const begin = '0000000100000000000000FD'
    const end = '000000010000000100000001'
    const old = [...segmentsBetween(begin, end, 16 * MIB, {postgresVersion: 90_224})]
    expect(old.map((name) => name.slice(8))).to.deep.equal(
      ['00000000000000FD', '00000000000000FE', '0000000100000000', '0000000100000001'])
    expect([...segmentsBetween(begin, end, 16 * MIB, {postgresVersion: 90_300})]).to.include('0000000100000000000000FF')
    expect(nextSegmentName('0000000100000000000000FE', 16 * MIB, {postgresVersion: 90_224})).to.equal('000000010000000100000000')
  })
  it('a span is refused across timelines and backwards, before anything is walked', () => {
    expect(() => segmentsBetween(SEGMENT, '000000020000000000000006', 16 * MIB)).to.throw(BarmanFilesError, /timeline/)
    expect(() => segmentsBetween('000000010000000000000006', SEGMENT, 16 * MIB)).to.throw(BarmanFilesError, /before/)
  })
  it('a span is lazy and can be walked twice', () => {
    const span = segmentsBetween('000000010000000000000000', '00000001FFFFFFFF000000FF', 16 * MIB)
    const firstTwo = () => Iterator.from(span).take(2).toArray()
    expect(firstTwo()).to.deep.equal(['000000010000000000000000', '000000010000000000000001'])
    expect(firstTwo()).to.deep.equal(['000000010000000000000000', '000000010000000000000001'])
  })
  it('the span of one segment is that segment, also the very last one', () => {
    const last = '00000001FFFFFFFF000000FF'
    expect([...segmentsBetween(last, last, 16 * MIB)]).to.deep.equal([last])
  })
  it('history files sort before the segments of their timeline, .backup after its segment', () => {
    const sorted = [
      SEGMENT, `${SEGMENT}.00000028.backup`, '000000010000000000000006', '00000002.history', '000000020000000000000006',
    ]
    expect(sorted.toReversed().sort(compareWalNames)).to.deep.equal(sorted)
    expect(compareWalNames(SEGMENT, SEGMENT)).to.equal(0)
  })
})

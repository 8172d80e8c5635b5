import {expect} from 'chai'
import {parseTimelineHistory} from '../../../src/lib/barman/timeline-history.ts'
import {BarmanFilesError} from '../../../src/lib/errors.ts'
import {readLabText} from './fixtures.ts'

describe('parseTimelineHistory', () => {
  it('reads the history file of a promoted cluster', () => {
    const text = readLabText('barman-3.19.1-local-rsync-timelines', 'server/wals/00000002.history')
    expect(parseTimelineHistory(text)).to.deep.equal([
      {parentTimeline: 1, switchLsn: 0x500_22c8n, reason: 'before 2026-11-25 07:54:17.229746+00'},
    ])
  })
  it('passes over comments and blank lines, and takes a missing reason', () => {
    const text = '# made by hand\n\n1\t0/5000060\tno recovery target specified\r\n   \n  # more\n\n3 A/0\n'
    expect(parseTimelineHistory(text)).to.deep.equal([
      {parentTimeline: 1, switchLsn: 0x500_0060n, reason: 'no recovery target specified'},
      {parentTimeline: 3, switchLsn: 0xa_0000_0000n, reason: ''},
    ])
  })
  it('reads the form of PostgreSQL before 9.3, which names the segment', () => {
    const [first] = parseTimelineHistory('1\t000000010000000100000002\tbefore transaction 4711 at 2012-01-01\n')
    expect(first).to.deep.equal(
      {parentTimeline: 1, switchLsn: 0x1_0200_0000n, reason: 'before transaction 4711 at 2012-01-01'})
  })
  const wrong: readonly [string, RegExp][] = [
    ['', /names no timeline/],
    ['# only a comment\n', /names no timeline/],
    ['\x1f\x8b\x08\0\0binary\n', /line 1/],
    ['1\n', /line 1/],
    ['1\tnowhere\treason\n', /line 1/],
    ['one\t0/5\treason\n', /line 1/],
    ['1\t0/5\tx\n1\t0/6\tx\n', /out of order/],
    ['2\t0/5\tx\n1\t0/6\tx\n', /out of order/],
    ['0\t0/5\tx\n', /out of order/],
    ['4294967296\t0/5\tx\n', /out of order/],
    ['<html>not here</html>', /line 1/],
  ]
  for (const [text, reason] of wrong) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseTimelineHistory(text)).to.throw(BarmanFilesError, reason)
    })
  }
})

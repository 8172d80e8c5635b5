import {expect} from 'chai'
import {LinesProgress} from '../../../src/lib/cli/progress/lines.ts'
import {formatMeter} from '../../../src/lib/cli/progress/listr.ts'
import {PhaseMeter} from '../../../src/lib/cli/progress/measure.ts'
import {RecordingProgress} from '../../../src/lib/cli/progress/recording.ts'

function linesAt(isQuiet = false) {
  const state = {now: Date.parse('2026-11-01T02:00:00.500Z'), text: ''}
  const progress = new LinesProgress({
    command: 'wal sync', isQuiet, clock: {now: () => new Date(state.now)}, write: (text) => {
      state.text += text
    },
  })
  return {state, progress}
}

describe('progress under cron', () => {
  it('is one line an event: time, level, command, message, fields', () => {
    const {state, progress} = linesAt()
    progress.event('backup copied', {backup: '20261101T020000', files: 3})
    progress.verdict('error', 'nobody answers', {server: 'pg', hint: 'is it "up"?', left: undefined})
    expect(state.text).to.equal('2026-11-01T02:00:00Z info wal sync: backup copied backup=20261101T020000 files=3\n'
      + '2026-11-01T02:00:00Z error wal sync: nobody answers server=pg hint="is it \\"up\\"?"\n')
  })

  it('C22: never has a raw line break, colour or carriage return, whatever the names', () => {
    const {state, progress} = linesAt()
    progress.fail('a\r\nb\u001b[31m')
    progress.event('x', {name: 'p\nq'})
    expect(state.text.split('\n')).to.have.length(3)
    expect(state.text).not.to.match(/[\r\u001b]/)
  })

  it('speaks of long work once a minute at most, with rate and time to go', () => {
    const {state, progress} = linesAt()
    progress.phase('WAL of pg: upload')
    progress.total({items: 100, bytes: 1000})
    for (let second = 0; second < 130; second++) {
      progress.advance({items: 1, bytes: 5})
      state.now += 1000
    }
    const lines = state.text.trim().split('\n')
    expect(lines).to.have.length(2)
    expect(lines[0]).to.match(/^2026-11-01T02:01:00Z info wal sync: WAL of pg: upload items=61 ofItems=100 bytes=305 ofBytes=1000 bytesPerSecond=5 etaSeconds=139$/)
  })

  it('says nothing but errors when quiet', () => {
    const {state, progress} = linesAt(true)
    progress.warn('w')
    progress.event('e')
    progress.verdict('info', 'done', {})
    progress.fail('bad')
    expect(state.text).to.equal('2026-11-01T02:00:00Z error wal sync: bad\n')
  })
})

describe('progress on a terminal', () => {
  it('shows files, bytes, rate over the last seconds and time to go', () => {
    const meter = new PhaseMeter(10_000)
    meter.setTotal({items: 128, bytes: 2 * 1024 ** 3})
    for (let second = 0; second <= 20; second++) meter.advance({items: 1, bytes: 10 * 1024 ** 2}, second * 1000)
    expect(formatMeter(meter, 20_000)).to.equal('21 of 128 files, 210.0 MiB of 2.0 GiB, 10.0 MiB/s, 3 min to go')
  })

  it('shows no total once the estimate is passed', () => {
    const meter = new PhaseMeter()
    meter.setTotal({bytes: 10})
    meter.advance({items: 1, bytes: 20}, 0)
    expect(formatMeter(meter, 0)).to.equal('1 file, 20 B')
  })

  it('keeps a bounded number of samples for a million small files', () => {
    const meter = new PhaseMeter(10_000)
    for (let index = 0; index < 100_000; index++) meter.advance({items: 1, bytes: 1}, index)
    expect(meter.rate(100_000)).to.be.closeTo(1000, 60)
  })
})

describe('progress with --json', () => {
  it('keeps warnings and failures for the envelope, at most a thousand', () => {
    const progress = new RecordingProgress(undefined)
    progress.warn('a')
    progress.fail('b')
    for (let index = 0; index < 2000; index++) progress.warn(`w${index}`)
    expect(progress.warnings.slice(0, 2)).to.deep.equal(['a', 'b'])
    expect(progress.warnings).to.have.length(1000)
  })
})

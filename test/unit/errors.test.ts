import {readFileSync} from 'node:fs'
import {expect} from 'chai'
import {ConflictError, EXIT, InterruptedError, UsageError, errnoOf, exitCodeOf, messageOf, worstExitCode} from '../../src/lib/errors.ts'

describe('exit codes', () => {
  const order = [143, 12, 4, 13, 14, 3, 15, 1, 2, 11, 10, 0]

  for (const [index, code] of order.entries()) {
    it(`${code} wins over everything behind it`, () => {
      for (const other of order.slice(index)) expect(worstExitCode([other, code, 0])).to.equal(code)
    })
  }

  it('an interruption wins over all', () => expect(worstExitCode([12, 130, 0])).to.equal(130))
  it('none is 0, an unknown one is a bug', () => {
    expect(worstExitCode([])).to.equal(0)
    expect(worstExitCode([0, 99])).to.equal(4)
  })

  it('of anything thrown', () => {
    expect(exitCodeOf(new ConflictError('x'))).to.equal(12)
    expect(exitCodeOf(new InterruptedError('SIGTERM'))).to.equal(143)
    expect(exitCodeOf(new InterruptedError('SIGINT'))).to.equal(130)
    expect(exitCodeOf(new TypeError('x'))).to.equal(4)
    expect(exitCodeOf('text')).to.equal(4)
  })
})

describe('docs/reference/exit-codes.md', () => {
  const page = readFileSync(new URL('../../docs/reference/exit-codes.md', import.meta.url), 'utf8')

  it('has every exit code and no other', () => {
    const codes = [...page.matchAll(/^\| ([\d, ]+) \|/gm)].flatMap(([, cell = '']) => cell.split(',').map(Number))
    expect(codes).to.deep.equal(Object.values(EXIT))
  })

  it('says which one wins', () => {
    const order = (/the first of this order is the exit code: ([\d, ]+)\./.exec(page)?.[1] ?? '').split(', ').map(Number)
    expect([...order].sort()).to.deep.equal([...Object.values(EXIT)].sort())
    for (const [index, code] of order.entries()) for (const other of order.slice(index)) expect(worstExitCode([other, code]), `${code} and ${other}`).to.equal(code)
  })
})

describe('messages', () => {
  it('are one line and without stack', () => {
    expect(messageOf(new Error('a\n  b\r\nc'))).to.equal('a b c')
    expect(messageOf(new RangeError(''))).to.equal('RangeError')
    expect(messageOf(42)).to.equal('42')
  })

  it('keep hint and cause', () => {
    const error = new UsageError('wrong', {hint: 'do that', cause: new Error('why')})
    expect(error).to.include({hint: 'do that', name: 'UsageError', code: 'USAGE'})
    expect((error.cause as Error).message).to.equal('why')
  })

  it('errno of a system error only', () => {
    expect(errnoOf(Object.assign(new Error('x'), {code: 'ENOENT'}))).to.equal('ENOENT')
    expect(errnoOf(Object.assign(new Error('x'), {code: 5}))).to.equal(undefined)
    expect(errnoOf(undefined)).to.equal(undefined)
  })
})

import {expect} from 'chai'
import fc from 'fast-check'
import {parsePythonLiteral} from '../../../src/lib/barman/python-literal.ts'
import type {PythonLiteral} from '../../../src/lib/barman/python-literal.ts'

describe('parsePythonLiteral', () => {
  const good: readonly [string, PythonLiteral][] = [
    ['None', null], ['True', true], ['False', false],
    ['0', 0], ['-17', -17], ['+3', 3], ['16384L', 16_384], ['2.041973', 2.041973], ['1e-05', 1e-5], ['1.', 1],
    ['7712021306369699987', 7_712_021_306_369_699_987n], ['-7712021306369699987', -7_712_021_306_369_699_987n],
    ["''", ''], ["'a'", 'a'], ['"it\'s"', "it's"], ["'it\\'s'", "it's"], ["u'ts1'", 'ts1'], ["b'x'", 'x'],
    ["'a' 'b'", 'ab'], ["'a\\nb\\tc\\\\d'", 'a\nb\tc\\d'], ["'\\x41\\u00e4\\U0001F600\\101'", 'Aä😀A'],
    ["'\\d'", '\\d'], ["'ä'", 'ä'], ["'C:\\\\x'", 'C:\\x'],
    ['[]', []], ['()', []], ["('a',)", ['a']], ["('a')", 'a'], ['[1, 2,]', [1, 2]], ['((1), [None])', [1, [null]]],
    ["[('ts1', 16384, '/srv/ts1')]", [['ts1', 16_384, '/srv/ts1']]],
    [' [ 1 , 2 ] ', [1, 2]],
  ]
  for (const [text, value] of good) {
    it(`understands ${text}`, () => expect(parsePythonLiteral(text)).to.deep.equal(value))
  }
  it('understands dicts', () => {
    const value = parsePythonLiteral("{'copy_time': 1.5, 'items': {'pgdata': [1]}, 'error': None}")
    expect(value).to.deep.equal(new Map<string, unknown>([['copy_time', 1.5], ['items', new Map([['pgdata', [1]]])], ['error', null]]))
    expect(parsePythonLiteral('{}')).to.deep.equal(new Map())
  })
  it('is not fooled by names of object properties', () => {
    expect(parsePythonLiteral("{'__proto__': 1, 'constructor': 2}")).to.deep.equal(
      new Map([['__proto__', 1], ['constructor', 2]]))
    expect(parsePythonLiteral("'\\constructor'")).to.equal('\\constructor')
  })
  const wrong = [
    '', ' ', "'", "'a", "'a\nb'", '[', '[1', '[1,,]', '(,)', '{1}', "{'a'}", "{'a' 1}", ']', 'true', 'null', 'none', 'nan', '-', '1 2',
    "'a' 1", "__import__('os')", 'x()', "'\\x4'", "'\\u12'", "'\\UFFFFFFFF'", "'\\", "r'a'", "{'a': [1, (2}]}", '0x10', "Nonesuch",
  ]
  for (const text of wrong) {
    it(`refuses ${JSON.stringify(text)}`, () => expect(parsePythonLiteral(text)).to.equal(undefined))
  }
  it('gives up on nesting that would exhaust the stack', () => {
    expect(parsePythonLiteral('['.repeat(100_000) + ']'.repeat(100_000))).to.equal(undefined)
    expect(parsePythonLiteral('['.repeat(20) + ']'.repeat(20))).to.be.an('array')
  })
  it('any text survives Python-like quoting', () => {
    const quote = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\n', '\\n')}'`
    fc.assert(fc.property(fc.string({unit: 'binary'}), (text) => {
      expect(parsePythonLiteral(quote(text))).to.equal(text)
      expect(parsePythonLiteral(quote(quote(text)))).to.equal(quote(text))
    }))
  })
  it('never throws, whatever the text', () => {
    fc.assert(fc.property(fc.string({unit: fc.constantFrom(...'[](){}\'",:\\ux01N one.L-e\n ')}), (text) => {
      parsePythonLiteral(text)
    }), {numRuns: 2000})
  })
})

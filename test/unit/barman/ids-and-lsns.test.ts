import {expect} from 'chai'
import fc from 'fast-check'
import {parseBackupId} from '../../../src/lib/barman/backup-id.ts'
import {formatLsn, parseLsn} from '../../../src/lib/barman/lsn.ts'

describe('parseBackupId', () => {
  for (const text of ['20261125T074018', '00000000T000000', '99999999T999999']) {
    it(`takes ${text}`, () => expect(parseBackupId(text)).to.equal(text))
  }
  const wrong = [
    '', '20261125', '20261125T07401', '20261125T0740180', '20261125t074018', ' 20261125T074018', '20261125T074018\n',
    '20261125T074018.tmp', '../20261125T074018', '２０261125T074018', '.import-20261125T074018', 'latest',
  ]
  for (const text of wrong) {
    it(`refuses ${JSON.stringify(text)}`, () => expect(parseBackupId(text)).to.equal(undefined))
  }
})

describe('LSNs', () => {
  const good: readonly [string, bigint, string][] = [
    ['0/0', 0n, '0/0'],
    ['0/3000028', 0x300_0028n, '0/3000028'],
    ['0/03000028', 0x300_0028n, '0/3000028'],
    ['a/ff', 0xa_0000_00ffn, 'A/FF'],
    ['00000016/B374D848', 0x16_b374_d848n, '16/B374D848'],
    ['FFFFFFFF/FFFFFFFF', 0xffff_ffff_ffff_ffffn, 'FFFFFFFF/FFFFFFFF'],
  ]
  for (const [text, value, formatted] of good) {
    it(`${text} is ${value} and is written ${formatted}`, () => {
      expect(parseLsn(text)).to.equal(value)
      expect(formatLsn(value)).to.equal(formatted)
    })
  }
  for (const text of ['', '/', '0/', '/0', '0', '0/0/0', 'g/0', '000000000/0', '0/000000000', '-1/0', '0/0 ', '0x0/0']) {
    it(`refuses ${JSON.stringify(text)}`, () => expect(parseLsn(text)).to.equal(undefined))
  }
  it('any LSN survives being written and read', () => {
    fc.assert(fc.property(fc.bigInt({min: 0n, max: 2n ** 64n - 1n}), (lsn) => parseLsn(formatLsn(lsn)) === lsn))
  })
  it('what is no LSN is not written', () => {
    expect(() => formatLsn(-1n)).to.throw(RangeError)
    expect(() => formatLsn(2n ** 64n)).to.throw(RangeError)
  })
})

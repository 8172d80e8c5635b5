import {expect} from 'chai'
import fc from 'fast-check'
import {parseBarmanTime} from '../../../src/lib/barman/barman-time.ts'

describe('parseBarmanTime', () => {
  const zoned: readonly [string, string][] = [
    ['2026-11-25 07:40:19.047306+00:00', '2026-11-25T07:40:19.047306Z'],
    ['2026-11-25 07:40:19+00:00', '2026-11-25T07:40:19.000000Z'],
    ['2026-11-25 09:40:19.047306+02:00', '2026-11-25T07:40:19.047306Z'],
    ['2026-11-25 02:10:19.5-05:30', '2026-11-25T07:40:19.500000Z'],
    ['2026-11-25T07:40:19.047306Z', '2026-11-25T07:40:19.047306Z'],
    ['2026-11-25 09:40:19+0200', '2026-11-25T07:40:19.000000Z'],
    ['2026-11-25 09:40:19+02', '2026-11-25T07:40:19.000000Z'],
    ['2026-11-25 07:40:19 UTC', '2026-11-25T07:40:19.000000Z'],
    ['1900-01-01 00:00:00+01:39:49', '1899-12-31T22:20:11.000000Z'],
    ['2026-11-25 07:40:19.123456789+00:00', '2026-11-25T07:40:19.123456Z'],
    ['2024-02-29 23:59:59+00:00', '2024-02-29T23:59:59.000000Z'],
  ]
  for (const [text, normalized] of zoned) {
    it(`reads ${text}`, () => {
      const time = parseBarmanTime(text)
      expect(time?.normalized).to.equal(normalized)
      expect(time?.hasZone).to.equal(true)
      expect(time?.date.toISOString()).to.equal(`${normalized.slice(0, 23)}Z`)
      expect(time?.epochMicroseconds).to.equal(
        BigInt(Date.parse(`${normalized.slice(0, 19)}Z`)) * 1000n + BigInt(normalized.slice(20, 26)))
    })
  }
  for (const text of ['2014-12-22 09:25:22.561207', '2014-12-22T09:25:22.561207']) {
    it(`takes ${text}, which names no zone, as local time`, () => {
      const time = parseBarmanTime(text)
      expect(time?.hasZone).to.equal(false)
      expect(time?.normalized).to.equal('2014-12-22T09:25:22.561207')
      expect(time?.date.getTime()).to.equal(new Date(2014, 11, 22, 9, 25, 22, 561).getTime())
    })
  }
  it("reads C's form, which sync-info gave to passive nodes", () => {
    expect(parseBarmanTime('Wed Nov  5 07:54:37 2026')?.normalized).to.equal('2026-11-05T07:54:37.000000')
    expect(parseBarmanTime('Mon Dec 22 09:25:22 2014')?.normalized).to.equal('2014-12-22T09:25:22.000000')
  })
  const wrong = [
    '', 'None', 'yesterday', '2026-11-25', '2026-11-25 07:40', '2026-02-30 00:00:00+00:00', '2026-13-01 00:00:00+00:00',
    '2026-11-25 24:00:00+00:00', '2026-11-25 07:60:00+00:00', '2026-11-25 07:40:19+', '2026-11-25 07:40:19 Nowhere/Land',
    '2023-02-29 00:00:00', 'Wed Foo 25 07:54:37 2026', '0000-01-01 00:00:00', '1795592419.6',
  ]
  for (const text of wrong) {
    it(`refuses ${JSON.stringify(text)}`, () => expect(parseBarmanTime(text)).to.equal(undefined))
  }
  it('keeps every microsecond, whatever the zone', () => {
    const seconds = fc.integer({min: 0, max: 4_000_000_000})
    const micros = fc.integer({min: 0, max: 999_999})
    fc.assert(fc.property(seconds, micros, fc.integer({min: -56, max: 56}), (second, micro, quarters) => {
      const local = new Date(second * 1000 + quarters * 900_000).toISOString()
      const sign = quarters < 0 ? '-' : '+'
      const two = (value: number) => String(value).padStart(2, '0')
      const zone = `${sign}${two(Math.floor(Math.abs(quarters) / 4))}:${two((Math.abs(quarters) % 4) * 15)}`
      const text = `${local.slice(0, 10)} ${local.slice(11, 19)}.${String(micro).padStart(6, '0')}${zone}`
      expect(parseBarmanTime(text)?.epochMicroseconds).to.equal(BigInt(second) * 1_000_000n + BigInt(micro))
    }))
  })
})

import {expect} from 'chai'
import fc from 'fast-check'
import {formatDuration, formatSize, parseBandwidth, parseDuration, parseDurationOrZero, parseSize} from '../../../src/lib/config/units.ts'
import {UsageError} from '../../../src/lib/errors.ts'

describe('units', () => {
  const sizes: readonly [string | number, number][] = [
    ['16MiB', 16_777_216],
    ['16 MiB', 16_777_216],
    ['5GiB', 5_368_709_120],
    ['500MB', 500_000_000],
    ['1kB', 1000],
    ['1KiB', 1024],
    ['2TiB', 2_199_023_255_552],
    ['7B', 7],
    ['1048576', 1_048_576],
    [1_048_576, 1_048_576],
    ['0', 0],
  ]
  for (const [text, sizeBytes] of sizes) {
    it(`reads the size ${text} as ${sizeBytes} bytes`, () => expect(parseSize(text)).to.equal(sizeBytes))
  }
  for (const text of ['', 'MiB', '16M', '16mib', '-1MiB', '1.5GiB', '16 MiBs', '1e6', 'NaN', '99999999TiB', 1.5, -1]) {
    it(`refuses the size ${JSON.stringify(text)}`, () => expect(() => parseSize(text)).to.throw(UsageError, /not a size/))
  }

  const durations: readonly [string, number][] = [
    ['500ms', 500],
    ['90s', 90_000],
    ['15m', 900_000],
    ['12h', 43_200_000],
    ['30d', 2_592_000_000],
    ['4w', 2_419_200_000],
    ['0s', 0],
  ]
  for (const [text, durationMs] of durations) {
    it(`reads the duration ${text} as ${durationMs} ms`, () => expect(parseDuration(text)).to.equal(durationMs))
  }
  for (const text of ['', '60', 60, '30 days', '1M', '1.5h', '-1d', 'd', '1h30m']) {
    it(`refuses the duration ${JSON.stringify(text)}`, () => {
      expect(() => parseDuration(text)).to.throw(UsageError, /not a duration with its unit/)
    })
  }

  it('reads 0 as a duration where that is asked for, and everything else as before', () => {
    for (const [text, durationMs] of [[0, 0], ['0', 0], ['0s', 0], ['0d', 0], ['30d', 30 * 86_400_000]] as const) {
      expect(parseDurationOrZero(text), String(text)).to.equal(durationMs)
    }
    for (const text of ['00', '', 5, '-0', '0x']) expect(() => parseDurationOrZero(text), String(text)).to.throw(UsageError, /not a duration/)
  })

  it('reads a bandwidth with and without "per second"', () => {
    for (const [text, bytes] of [['50MiB', 52_428_800], ['50MiB/s', 52_428_800], ['50 MB/s', 50_000_000], [0, 0], ['65536', 65_536]] as const) {
      expect(parseBandwidth(text), String(text)).to.equal(bytes)
    }
    for (const text of ['50Mb/s', '50MiB/h', '/s', 'MiB/s', '50MiB//s', -1]) {
      expect(() => parseBandwidth(text), String(text)).to.throw(UsageError, /not a size/)
    }
  })

  it('writes sizes and durations so that they read back as the same number', () => {
    fc.assert(fc.property(fc.maxSafeNat(), (amount) => {
      expect(parseSize(formatSize(amount))).to.equal(amount)
      expect(parseDuration(formatDuration(amount))).to.equal(amount)
    }))
    expect([formatSize(16_777_216), formatSize(1000), formatSize(0)]).to.deep.equal(['16MiB', '1000B', '0B'])
    expect([formatDuration(60_000), formatDuration(90_000), formatDuration(2_592_000_000)]).to.deep.equal(['1m', '90s', '30d'])
  })
})

import {expect} from 'chai'
import fc from 'fast-check'
import {formatArchiveUri, parseArchiveUri} from '../../../src/lib/config/archive-uri.ts'
import {UsageError} from '../../../src/lib/errors.ts'

describe('address of the archive', () => {
  const good: readonly [string, string, string][] = [
    ['s3://b/p', 'b', 'p'],
    ['s3://b/p/', 'b', 'p'],
    ['s3://b//p', 'b', 'p'],
    ['s3://b///p//q///', 'b', 'p/q'],
    ['s3://b', 'b', ''],
    ['s3://b/', 'b', ''],
    ['s3://my.bucket-1/a b/ü', 'my.bucket-1', 'a b/ü'],
    ['s3://Old_Bucket/x', 'Old_Bucket', 'x'],
    ['s3://b/a%20b', 'b', 'a%20b'],
    ['s3://b/...', 'b', '...'],
  ]
  for (const [text, bucket, prefix] of good) {
    it(`C64: reads ${text} as bucket ${bucket}, prefix "${prefix}"`, () => {
      expect(parseArchiveUri(text)).to.deep.equal({bucket, prefix})
    })
  }

  const bad: readonly [string, RegExp][] = [
    ['', /s3:\/\/bucket\/prefix/],
    ['b/p', /s3:\/\/bucket\/prefix/],
    ['S3://b/p', /s3:\/\/bucket\/prefix/],
    ['gs://b/p', /s3:\/\/bucket\/prefix/],
    ['https://h/b', /s3:\/\/bucket\/prefix/],
    ['s3:/b/p', /s3:\/\/bucket\/prefix/],
    ['s3://', /no bucket/],
    ['s3:///p', /no bucket/],
    ['s3://b/p?x=1', /query/],
    ['s3://b/p#x', /query or fragment/],
    ['s3://b/../p', /parts \. or \.\./],
    ['s3://b/./p', /parts \. or \.\./],
    ['s3://b/p/..', /parts \. or \.\./],
    ['s3://b/p\r', /control character/],
    ['s3://b/p\n', /control character/],
    ['s3://b/\u0000', /control character/],
    ['s3://b/p\u007f', /control character/],
    [' s3://b/p', /blank/],
    ['s3://b/p ', /blank/],
    ['s3://b/p /', /blank/],
    ['s3://b/ /p', /blank/],
    ['s3://b/a\\b', /backslash/],
    ['s3://b:9000/p', /host or port/],
    ['s3://-b/p', /possible bucket/],
    ['s3://b..c/p', /possible bucket/],
    ['s3://bücket/p', /possible bucket/],
    [`s3://b/${'x'.repeat(256)}`, /255 bytes/],
  ]
  for (const [text, why] of bad) {
    it(`refuses ${JSON.stringify(text.slice(0, 30))}`, () => {
      expect(() => parseArchiveUri(text)).to.throw(UsageError, why)
    })
  }

  it('refuses credentials in the address without repeating them', () => {
    try {
      parseArchiveUri('s3://AKIAEXAMPLE:verysecret@bucket/p')
      expect.fail('was accepted')
    } catch (error) {
      expect(error).to.be.instanceOf(UsageError)
      expect(String(error)).to.match(/credentials/).and.not.match(/AKIA|verysecret/)
    }
  })

  it('C64: no accepted address gives a prefix with //, a slash at either end or a dot part, and formatting reads back', () => {
    const part = fc.string({unit: fc.constantFrom('a', '.', '/', '-', ' ', 'ä', '\\', '?', '%'), maxLength: 12})
    let accepted = 0
    fc.assert(
      fc.property(part, (tail) => {
        let uri
        try {
          uri = parseArchiveUri(`s3://bucket/${tail}`)
        } catch (error) {
          expect(error).to.be.instanceOf(UsageError)
          return
        }
        accepted++
        expect(uri.prefix).to.not.match(/\/\/|^\/|\/$|(^|\/)\.\.?(\/|$)/)
        expect(parseArchiveUri(formatArchiveUri(uri))).to.deep.equal(uri)
      }),
      {numRuns: 2000},
    )
    expect(accepted).to.be.greaterThan(0)
  })
})

import {expect} from 'chai'
import fc from 'fast-check'
import {combineCrc32c, crc32c, formatCrc32c, parseCrc32c} from '../../../src/lib/store/checksum.ts'
import {compareKeys} from '../../../src/lib/store/key-order.ts'

describe('CRC32C', () => {
  it("has the check value of the standard, in S3's base64 too", () => {
    expect(crc32c(Buffer.from('123456789'))).to.equal(0xe3069283)
    expect(formatCrc32c(0xe3069283)).to.equal('4waSgw==')
    expect(parseCrc32c('4waSgw==')).to.equal(0xe3069283)
  })

  it('reads nothing into a composite value or into what is no value', () => {
    for (const text of [undefined, '', '4waSgw==-3', '4waSgw', 'not base64!', '4waSgwAAAAA='])
      expect(parseCrc32c(text), String(text)).to.equal(undefined)
  })

  it('of parts makes that of the whole without reading it', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({maxLength: 300}), {maxLength: 6}), (parts) => {
        const combined = parts.reduce((before, part) => combineCrc32c(before, crc32c(part), part.length), 0)
        return combined === crc32c(Buffer.concat(parts)) && combined === parts.reduce((before, part) => crc32c(part, before), 0)
      }),
    )
  })

  it('of parts beyond 4 GiB keeps its meaning: zeros appended one block after the other', () => {
    const block = crc32c(Buffer.alloc(1024 * 1024))
    let byBlocks = crc32c(Buffer.from('x'))
    for (let index = 0; index < 5000; index++) byBlocks = combineCrc32c(byBlocks, block, 1024 * 1024)
    let zeros = 0
    for (let index = 0; index < 5000; index++) zeros = combineCrc32c(zeros, block, 1024 * 1024)
    expect(combineCrc32c(crc32c(Buffer.from('x')), zeros, 5000 * 1024 * 1024)).to.equal(byBlocks)
  })
})

describe('the order of keys', () => {
  it('is that of their UTF-8 bytes', () => {
    const text = fc.string({unit: fc.constantFrom('a', '/', '-', 'é', '\uD7FF', '\uE000', '\uFFFD', '\u{10000}', '\u{1F600}')})
    fc.assert(
      fc.property(text, text, (a, b) => Math.sign(compareKeys(a, b)) === Buffer.compare(Buffer.from(a), Buffer.from(b))),
    )
  })
})

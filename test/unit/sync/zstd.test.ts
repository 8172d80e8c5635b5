import {execFileSync} from 'node:child_process'
import {randomBytes} from 'node:crypto'
import {zstdDecompressSync} from 'node:zlib'
import {expect} from 'chai'
import {compressFrame, FRAME_BYTES, isNeverCompressed, isWorthIt, mostStoredBytes, release} from '../../../src/lib/sync/zstd.ts'

describe('zstd frames', () => {
  const sizes = [1, 63, 1000, 128 * 1024, 1024 ** 2 - 1, 1024 ** 2, 5 * 1024 ** 2 + 1, FRAME_BYTES]

  for (const [what, make] of [['zeros', (bytes: number) => Buffer.alloc(bytes)], ['noise', (bytes: number) => randomBytes(bytes)]] as const) {
    it(`of ${what}, of any size: one frame each, with its size and checksum, which zstd reads, and within what is reckoned with`, async () => {
      for (const bytes of sizes) {
        const content = make(bytes)
        const frame = await compressFrame(content, 3)
        expect(frame.length).to.be.at.most(mostStoredBytes(bytes))
        expect(execFileSync('zstd', ['-d', '-c'], {input: frame, maxBuffer: 64 * 1024 ** 2}).equals(content), String(bytes)).to.equal(true)
        // RFC 8878, 3.1.1.1: the checksum flag, and a content size (flag, or a single segment).
        const descriptor = frame[4]!
        expect(descriptor & 0x04).to.equal(0x04)
        expect((descriptor & 0xc0) !== 0 || (descriptor & 0x20) !== 0).to.equal(true)
        release(frame)
      }
    })
  }

  it('whose memory is given back at once are empty then, and a second time does no harm', async () => {
    const frame = await compressFrame(randomBytes(1024 ** 2), 3)
    release(frame)
    expect(frame.length).to.equal(0)
    release(frame)
    const small = await compressFrame(Buffer.from('small'), 3)
    release(small)
    release(Buffer.from('from the pool of Node'))
    expect(Buffer.from('still there').toString()).to.equal('still there')
  })

  it('a spoilt byte of one is found', async () => {
    const frame = await compressFrame(randomBytes(1000), 3)
    frame[500]! ^= 1
    expect(() => zstdDecompressSync(frame)).to.throw()
  })

  it('are worth it from a sixteenth on', () => {
    expect([isWorthIt(1600, 1500), isWorthIt(1600, 1501), isWorthIt(1600, 1600), isWorthIt(1600, 0)]).to.deep.equal([true, false, false, true])
  })

  for (const [path, isNever] of [
    ['data/base.tar.gz', true], ['data/BASE.TAR.GZ', true], ['x.lz4', true], ['x.zst', true], ['x.gpg', true], ['x.age', true], ['data/base/1/2619', false], ['x.tar', false],
    ['x.gz.part', false], ['gz', false], ['data/gz/1', false], ['x.gzip2', false],
  ] as const) {
    it(`${path} is ${isNever ? 'never' : 'to be'} tried`, () => expect(isNeverCompressed(path)).to.equal(isNever))
  }
})

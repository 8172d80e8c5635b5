import {createHash, randomBytes} from 'node:crypto'
import {writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {pathToFileURL} from 'node:url'
import {expect} from 'chai'
import {crc32c} from '../../../src/lib/store/checksum.ts'
import {HashPool} from '../../../src/lib/sync/hash-pool.ts'
import {startModule} from '../../support/child.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

const MIB = 1024 ** 2

function shared(bytes: Buffer): Buffer {
  const copy = Buffer.from(new SharedArrayBuffer(bytes.length + 7), 7)
  bytes.copy(copy)
  return copy
}

const sha = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

describe('hashing beside the main thread', () => {
  const use = useTemporaryDirectory()
  let pool: HashPool
  beforeEach(() => {
    pool = new HashPool(2)
  })
  afterEach(() => pool.close())

  for (const sizeBytes of [0, 1, 1000, MIB, 3 * MIB + 17]) {
    it(`${sizeBytes} bytes have the digest and the checksum they have, in any memory`, async () => {
      const bytes = randomBytes(sizeBytes)
      for (const each of [bytes, shared(bytes)]) expect(await pool.digest(each)).to.deep.equal({sha256: sha(bytes), crc32c: crc32c(bytes)})
    })
  }

  it('many contents that come in pieces at the same time do not mix', async () => {
    await Promise.all(Array.from({length: 7}, async (_, index) => {
      const pieces = [MIB, 2 * MIB, 100, 0, MIB].map((size) => randomBytes(size + index))
      const hash = pool.begin(4 * MIB)
      const sums = await Promise.all(pieces.map(async (piece, at) => await hash.update(at % 2 === 0 ? shared(piece) : piece)))
      expect(sums).to.deep.equal(pieces.map((piece) => crc32c(piece)))
      expect(await hash.digest()).to.equal(sha(Buffer.concat(pieces)))
    }))
  })

  it('one that is dropped leaves the others alone', async () => {
    const bytes = shared(randomBytes(MIB))
    const dropped = pool.begin(2 * MIB)
    await dropped.update(bytes)
    dropped.drop()
    dropped.drop()
    expect((await pool.digest(bytes)).sha256).to.equal(sha(bytes))
  })

  it('a thread that cannot run is an error, now and later, and never a wait for ever', async () => {
    const file = join(use(), 'broken.mjs')
    writeFileSync(file, 'throw new Error("no")')
    const broken = new HashPool(1, pathToFileURL(file))
    const bytes = shared(randomBytes(MIB))
    for (let time = 0; time < 2; time++) {
      const error = await broken.digest(bytes).then(() => undefined, (thrown: unknown) => thrown)
      expect(String(error)).to.match(/no/)
    }
  })

  it('holds a program until the digest is there, and not longer', async () => {
    const {exit} = startModule(`
      const {HashPool} = await source('lib/sync/hash-pool.ts')
      const pool = new HashPool(2)
      console.log((await pool.digest(Buffer.from(new SharedArrayBuffer(${MIB})))).sha256)`)
    const {status, stdout, stderr} = await exit
    expect({status, stderr, stdout: stdout.trim()}).to.deep.equal({status: 0, stderr: '', stdout: sha(Buffer.alloc(MIB))})
  })
})

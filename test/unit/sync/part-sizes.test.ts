import {closeSync, ftruncateSync, openSync, writeSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {StoreRefusedError} from '../../../src/lib/errors.ts'
import {crc32c} from '../../../src/lib/store/checksum.ts'
import {createMemoryStore} from '../../../src/lib/store/memory.ts'
import type {ObjectKey, ObjectStore, StoreLimits} from '../../../src/lib/store/object-store.ts'
import {BodyPool} from '../../../src/lib/sync/body-pool.ts'
import {sendData} from '../../../src/lib/sync/data-upload.ts'
import {HashPool} from '../../../src/lib/sync/hash-pool.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

const MIB = 1024 ** 2
const MAX_BODY_BYTES = 128 * MIB
const hashes = new HashPool(2)
after(() => hashes.close())

interface Sink {
  readonly store: ObjectStore
  readonly parts: Map<number, number>
  /** Most bytes of bodies that were under way at the same time. */
  mostBytes: number
}

/** A store that drops the bodies, and refuses what a real one would: part numbers beyond its limit, small parts, wrong sums. */
function createSink(limits: Partial<StoreLimits>): Sink {
  const memory = createMemoryStore({limits})
  const sink: Sink = {parts: new Map(), mostBytes: 0, store: Object.assign(Object.create(memory) as ObjectStore, {
    limits: memory.limits,
    createUpload: async () => 'one',
    async uploadPart(key: ObjectKey, _: string, partNumber: number, body: Uint8Array, {crc32c: sum = 0} = {}) {
      underWay += body.length
      sink.mostBytes = Math.max(sink.mostBytes, underWay)
      await new Promise((resolve) => setImmediate(resolve))
      underWay -= body.length
      if (partNumber > memory.limits.maxParts) throw new StoreRefusedError(`part ${partNumber} of ${key}`, {storeCode: 'InvalidArgument', scope: 'request'})
      if (sum !== crc32c(body)) throw new StoreRefusedError(`part ${partNumber} of ${key}`, {storeCode: 'BadDigest', scope: 'request'})
      sink.parts.set(partNumber, body.length)
      return {partNumber, sizeBytes: body.length, etag: `"${partNumber}"`, crc32c: sum}
    },
    async put(_: ObjectKey, body: Uint8Array) {
      sink.mostBytes = Math.max(sink.mostBytes, body.length)
      return 'stored'
    },
    completeUpload: async () => undefined,
    abortUpload: async () => undefined,
  })}
  let underWay = 0
  return sink
}

describe('C25: parts of a file that would be too many', function () {
  this.timeout(120_000)
  const use = useTemporaryDirectory()

  function makeSparse(name: string, sizeBytes: number): string {
    const path = join(use(), name)
    const file = openSync(path, 'w')
    ftruncateSync(file, sizeBytes)
    for (let position = 0; position < sizeBytes; position += 16 * MIB) writeSync(file, `block ${position}`, position)
    closeSync(file)
    return path
  }

  for (const [what, sizeBytes, partSizeBytes, limits] of [
    // A hundredth of the field case, parts and all: 60 GiB in 10,000.
    ['600 MiB where 100 parts are allowed', 600 * MIB, 5 * MIB, {maxParts: 100}],
    ['200 MiB where 10 parts are allowed', 200 * MIB, 5 * MIB, {maxParts: 10}],
    ['a byte more than ten parts where 10 are allowed', 50 * MIB + 1, 5 * MIB, {maxParts: 10}],
    ['parts larger than all memory for bodies', 400 * MIB, 5 * MIB, {maxParts: 2}],
  ] as const) {
    for (const form of ['stored as it is', 'in zstd frames'] as const) {
      it(`${what}, ${form}: the part size follows the file, and memory stays bounded`, async () => {
        const path = makeSparse(form === 'in zstd frames' ? 'file' : 'file.gz', sizeBytes)
        const sink = createSink(limits)
        const {object, content} = await sendData(
          {store: sink.store, pool: new BodyPool(MAX_BODY_BYTES), frames: new BodyPool(40 * MIB), hashes, partSizeBytes, signal: new AbortController().signal},
          {path, shownPath: path, plainKey: 'p/x' as ObjectKey, compressed: {key: 'p/x.zst' as ObjectKey, level: 1}},
        )
        expect(content.sizeBytes).to.equal(sizeBytes)
        if (form === 'in zstd frames') {
          // Holes shrink to nothing, so it is one PUT in the end.
          expect(object?.zstd?.offsets).to.have.length(Math.ceil(sizeBytes / (16 * MIB)))
          expect(sink.mostBytes).to.be.lessThan(MIB)
          return
        }
        const sizes = [...sink.parts.entries()].sort(([left], [right]) => left - right).map(([, size]) => size)
        expect(sizes.length).to.be.within(2, limits.maxParts)
        expect(sizes.reduce((sum, size) => sum + size, 0)).to.equal(content.sizeBytes)
        expect(new Set(sizes.slice(0, -1)).size, 'all but the last are of one size').to.equal(1)
        expect(sink.mostBytes).to.be.at.most(Math.max(MAX_BODY_BYTES, sizes[0]!))
      })
    }
  }
})

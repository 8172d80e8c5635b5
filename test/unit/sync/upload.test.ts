import {execFileSync} from 'node:child_process'
import {randomBytes} from 'node:crypto'
import {appendFileSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {crc32c} from '../../../src/lib/store/checksum.ts'
import {createMemoryStore, type MemoryStore} from '../../../src/lib/store/memory.ts'
import type {ObjectKey, ObjectStore} from '../../../src/lib/store/object-store.ts'
import {BodyPool} from '../../../src/lib/sync/body-pool.ts'
import {LocalFileError} from '../../../src/lib/sync/file-errors.ts'
import {HashPool} from '../../../src/lib/sync/hash-pool.ts'
import {digestFile} from '../../../src/lib/sync/open-file.ts'
import {planPartSize} from '../../../src/lib/sync/part-sender.ts'
import {uploadFile, type UploadRequest} from '../../../src/lib/sync/upload.ts'
import {watchStore} from '../../support/sync-setting.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

const KEY = 'p/pg/base/x' as ObjectKey
const MIB = 1024 ** 2
const PART = MIB
const GIB = 1024 ** 3
const hashes = new HashPool(1)

describe('sending one file', () => {
  const use = useTemporaryDirectory()
  const path = () => join(use(), 'file')
  let store: MemoryStore
  let abort: AbortController
  beforeEach(() => {
    store = createMemoryStore({limits: {minPartBytes: 1}})
    abort = new AbortController()
  })

  async function send(request: Partial<UploadRequest> = {}, through: ObjectStore = store) {
    return await uploadFile(
      {store: through, pool: new BodyPool(10 * PART), hashes, partSizeBytes: PART, signal: abort.signal},
      {path: path(), shownPath: 'file', key: KEY, kind: 'base', singlePutBytes: PART, ...request},
    )
  }

  async function fault(work: Promise<unknown>): Promise<LocalFileError['fault'] | 'nothing' | string> {
    return await work.then(() => 'nothing', (error: unknown) => (error instanceof LocalFileError ? error.fault : String(error)))
  }

  for (const sizeBytes of [0, 1, PART - 1, PART, PART + 1, 3 * PART, 3 * PART + 17]) {
    it(`${sizeBytes} bytes arrive as they are, with CRC32C and mtime, and are digested`, async () => {
      const body = randomBytes(sizeBytes)
      writeFileSync(path(), body)
      execFileSync('touch', ['-d', '2026-11-01 02:00:00.000000789 UTC', path()])
      const uploaded = await send()
      const stored = store.objects.get(KEY)!
      expect(stored.body.equals(body)).to.equal(true)
      expect(uploaded).to.deep.include({outcome: 'stored', sizeBytes, crc32c: crc32c(body)})
      const sha256 = execFileSync('sha256sum', [path()], {encoding: 'utf8'}).slice(0, 64)
      expect(stored.metadata).to.deep.equal({mtime: '1793498400.000000789'})
      expect(await digestFile({pool: new BodyPool(PART), hashes, partSizeBytes: PART, signal: abort.signal}, {path: path(), shownPath: 'file'})).to.deep.include({
        sizeBytes, crc32c: uploaded.crc32c, sha256,
      })
      expect(store.uploads.size).to.equal(0)
    })
  }

  it('a time before 1970 is written as one', async () => {
    writeFileSync(path(), 'x')
    execFileSync('touch', ['-d', '1969-12-31 23:59:57.25 UTC', path()])
    await send()
    expect(store.objects.get(KEY)!.metadata.mtime).to.equal('-2.750000000')
  })

  describe('that changes', () => {
    /** Changes the file when the first request of a kind is made. */
    const during = (method: keyof ObjectStore, change: () => void) => {
      let isDone = false
      return watchStore(store, {before: (call) => {
        if (isDone || call.method !== method) return
        isDone = true
        change()
      }})
    }

    for (const [what, change] of [
      ['grows', () => appendFileSync(path(), 'more')],
      ['is cut', () => truncateSync(path(), PART + 500)],
      ['is emptied', () => truncateSync(path(), 0)],
      ['is overwritten with as many bytes', () => writeFileSync(path(), randomBytes(5 * PART))],
    ] as const) {
      it(`a large one that ${what} while its parts are sent is never put together, and nothing stays open`, async () => {
        writeFileSync(path(), randomBytes(5 * PART))
        expect(await fault(send({}, during('createUpload', change)))).to.equal('changed')
        expect(store.objects.size).to.equal(0)
        expect(store.uploads.size).to.equal(0)
      })
    }

    it('one that another file has replaced since the walk', async () => {
      writeFileSync(path(), 'one')
      const {local} = await digestFile({pool: new BodyPool(PART), hashes, partSizeBytes: PART, signal: abort.signal}, {path: path(), shownPath: 'file'})
      writeFileSync(`${path()}.new`, 'two')
      renameSync(`${path()}.new`, path())
      expect(await fault(send({expected: local}))).to.equal('changed')
      expect(store.objects.size).to.equal(0)
    })

    it('one that a link has replaced is not followed', async () => {
      symlinkSync('/etc/passwd', path())
      expect(await fault(send())).to.equal('changed')
      expect(store.objects.size).to.equal(0)
    })

    it('a FIFO in its place does not hang, a directory is no file, and nothing is there any more', async () => {
      execFileSync('mkfifo', [path()])
      expect(await fault(send())).to.equal('changed')
      rmSync(path())
      mkdirSync(path())
      expect(await fault(send())).to.equal('changed')
      rmSync(path(), {recursive: true})
      expect(await fault(send())).to.equal('vanished')
      expect(await fault(send({path: join(use(), 'nosuch', 'file')}))).to.equal('vanished')
    })
  })

  describe('in parts', () => {
    beforeEach(() => writeFileSync(path(), randomBytes(7 * PART)))

    it('a part that fails: the others under way end first, then the upload is aborted, then the error is told', async () => {
      const order: string[] = []
      const watched = watchStore(store, {
        before: ({method, args}) => {
          if (method === 'uploadPart' && args[2] === 2) throw new Error('part 2')
        },
        after: ({method}) => void order.push(method),
      })
      expect(await fault(send({}, watched))).to.equal('Error: part 2')
      expect(order.at(-1)).to.equal('abortUpload')
      expect(store.uploads.size).to.equal(0)
    })

    it('a signal aborts the upload', async () => {
      const watched = watchStore(store, {after: ({method, args}) => {
        if (method === 'uploadPart' && args[2] === 2) abort.abort(new Error('stopped'))
      }})
      expect(await fault(send({}, watched))).to.equal('Error: stopped')
      expect(store.uploads.size).to.equal(0)
      expect(store.objects.size).to.equal(0)
    })

    it('an abort that fails too does not hide why', async () => {
      const watched = watchStore(store, {before: ({method, args}) => {
        if (method === 'abortUpload') throw new Error('abort')
        if (method === 'uploadPart' && args[2] === 2) throw new Error('part 2')
      }})
      expect(await fault(send({}, watched))).to.equal('Error: part 2')
    })

    it('never replaces what is there where that is asked', async () => {
      await store.put(KEY, Buffer.from('before'), {kind: 'wal'})
      const uploaded = await send({ifAbsent: true})
      expect(uploaded).to.deep.include({outcome: 'exists', crc32c: crc32c(readFileSync(path()))})
      expect(store.objects.get(KEY)!.body.toString()).to.equal('before')
    })

    it('is asked about before anything is sent, and may be refused', async () => {
      const seen: number[] = []
      const inspect = (head: Buffer, sizeBytes: number) => {
        seen.push(head.length, sizeBytes)
        throw new Error('not final')
      }
      expect(await fault(send({inspect}))).to.equal('Error: not final')
      expect(seen).to.deep.equal([64, 7 * PART])
      expect(store.requestCounts()).to.deep.equal({})
    })
  })

  it('leaves no file open, whatever happens', async () => {
    const open = () => readdirSync('/proc/self/fd').length
    writeFileSync(path(), randomBytes(3 * PART))
    const before = open()
    for (let round = 0; round < 5; round++) {
      await send()
      await fault(send({inspect: () => {
        throw new Error('refused')
      }}))
      await fault(send({}, watchStore(store, {before: ({method}) => {
        if (method === 'uploadPart') throw new Error('no')
      }})))
    }
    expect(open()).to.be.at.most(before)
  })

  it('gives all memory back, whatever happens', async () => {
    writeFileSync(path(), randomBytes(6 * PART))
    const pool = new BodyPool(2 * PART)
    for (const failing of [0, 1, 2, 3]) {
      const through = watchStore(store, {before: ({method, args}) => {
        if (method === 'uploadPart' && args[2] === failing) throw new Error('no')
      }})
      await fault(uploadFile({store: through, pool, hashes, partSizeBytes: PART, signal: abort.signal}, {path: path(), shownPath: 'file', key: KEY, kind: 'base', singlePutBytes: PART}))
    }
    // Only a pool that has everything back hands out all of it at once.
    expect((await pool.take(2 * PART, AbortSignal.timeout(500))).length).to.equal(2 * PART)
  })
})

describe('the size of parts', () => {
  const limits = {minPartBytes: 5 * MIB, maxPartBytes: 5 * GIB, maxParts: 10_000}
  for (const [what, sizeBytes, configured, some, expected] of [
    ['as configured', GIB, 16 * MIB, {}, 16 * MIB],
    ['never below what the store takes', GIB, MIB, {}, 5 * MIB],
    ['C25: 60 GiB and 10,000 parts of 5 MiB', 60 * GIB, 5 * MIB, {}, 7 * MIB],
    ['C25: 12 GiB and 1,000 parts', 12 * GIB, 8 * MIB, {maxParts: 1000}, 13 * MIB],
    ['exactly 10,000 parts', 10_000 * 16 * MIB, 16 * MIB, {}, 16 * MIB],
    ['one byte more than 10,000 parts', 10_000 * 16 * MIB + 1, 16 * MIB, {}, 17 * MIB],
  ] as const) {
    it(what, () => {
      const size = planPartSize(sizeBytes, configured, {...limits, ...some})
      expect(size).to.equal(expected)
      expect(Math.ceil(sizeBytes / size)).to.be.at.most({...limits, ...some}.maxParts)
    })
  }
})

import {randomBytes} from 'node:crypto'
import {mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs'
import {open, type FileHandle} from 'node:fs/promises'
import {expect} from 'chai'
import {LocalStateError} from '../../../src/lib/errors.ts'
import {HashPool} from '../../../src/lib/sync/hash-pool.ts'
import {watchStore} from '../../support/sync-setting.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'
import {FORMS, refused, unreachable, UploadSetting} from './upload-setting.ts'

const hashes = new HashPool(2)
after(() => hashes.close())

/** A file of 10 MiB and a bit in 11 parts, stored as it is. */
const [form] = FORMS
const PARTS = 11
const MIB = 1024 ** 2

describe('the journal of an upload', function () {
  this.timeout(120_000)
  const use = useTemporaryDirectory()
  let setting: UploadSetting
  beforeEach(() => {
    setting = new UploadSetting(use(), form!, hashes)
    setting.partCount = PARTS
    writeFileSync(setting.path, form!.content())
  })

  function expectNothingOpen(): void {
    expect([...setting.store.uploads.keys()], 'open uploads').to.deep.equal([])
    expect(setting.journalNames(), 'journals').to.deep.equal([])
  }

  /** What the disk has after a run whose line was cut behind a part, to be put back again. */
  async function interrupted(last = 3): Promise<{journal: Buffer; restore: (journal: Buffer) => void}> {
    await setting.sendAndLose((number) => number > last)
    const path = setting.journalPath()
    const uploads = [...setting.store.uploads]
    return {
      journal: readFileSync(path),
      restore: (journal) => {
        setting.store.uploads.clear()
        for (const [id, upload] of uploads) setting.store.uploads.set(id, {...upload, parts: new Map(upload.parts)})
        setting.store.objects.clear()
        mkdirSync(setting.journals, {recursive: true})
        writeFileSync(path, journal)
      },
    }
  }

  it('cut at every byte makes no wrong object, throws nothing and leaves nothing open', async () => {
    // One part and a bit: a whole run for each byte.
    writeFileSync(setting.path, randomBytes(MIB + 77))
    setting.partCount = 2
    const {journal, restore} = await interrupted(1)
    const counts = new Set<number>()
    for (let length = 0; length <= journal.length; length++) {
      restore(journal.subarray(0, length))
      const sent = await setting.finish()
      counts.add(sent.length)
      expectNothingOpen()
    }
    expect([...counts].sort()).to.deep.equal([1, 2])
  })

  for (const [what, damage] of [
    ['whose last line is torn', (journal: Buffer) => journal.subarray(0, -10)],
    ['whose end is nothing but zeros, as after a power cut', (journal: Buffer) => Buffer.concat([journal.subarray(0, -10), Buffer.alloc(300)])],
    ['with a line of garbage at its end', (journal: Buffer) => Buffer.concat([journal, Buffer.from('\0\0\0garbage\n')])],
  ] as const) {
    it(`${what} loses nothing of what is added to it afterwards`, async () => {
      const {journal, restore} = await interrupted()
      restore(damage(journal))
      const known = what.includes('garbage') ? 3 : 2
      await setting.sendAndLose((number) => number > 7, known)
      expect(await setting.finish()).to.deep.equal([8, 9, 10, 11])
      expectNothingOpen()
    })
  }

  it('that names a part with another checksum than would be sent now: the upload is aborted and begun anew', async () => {
    const {journal, restore} = await interrupted()
    const [old] = setting.store.uploads.keys()
    restore(Buffer.from(journal.toString().replace(/("partNumber":2,.*"crc32c":")[^"]+/, '$1AAAAAA==')))
    expect(new Set(await setting.finish()).size).to.equal(PARTS)
    expect(setting.store.uploads.has(old!)).to.equal(false)
    expectNothingOpen()
  })

  it('that names a part of another size does not make a wrong object', async () => {
    const {journal, restore} = await interrupted()
    restore(Buffer.from(journal.toString().replace(/("partNumber":2,"sizeBytes":)\d+/, '$17')))
    expect(new Set(await setting.finish()).size).to.equal(PARTS)
    expectNothingOpen()
  })

  it('that is a directory is an error with the way out, not a bug', async () => {
    await setting.sendAndLose((number) => number > 3)
    const path = setting.journalPath()
    rmSync(path)
    mkdirSync(path)
    expect(await setting.send().catch((error: unknown) => error)).to.be.instanceOf(LocalStateError)
  })

  describe('on a full disk', () => {
    let prototype: FileHandle
    let original: FileHandle['appendFile']
    before(async () => {
      const handle = await open('/dev/null')
      prototype = Object.getPrototypeOf(handle) as FileHandle
      await handle.close()
      original = prototype.appendFile
    })
    afterEach(() => {
      prototype.appendFile = original
    })

    /** From the `count`th write of this process on, after half of it. */
    function fillDiskAt(count: number): void {
      let written = 0
      prototype.appendFile = async function appendFile(this: FileHandle, data, options) {
        if (++written < count) return await original.call(this, data, options)
        await original.call(this, String(data).slice(0, String(data).length / 2), options)
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), {code: 'ENOSPC'})
      }
    }

    // The head, the id of the upload, its parts.
    for (const count of [1, 2, 3, 5, 2 + PARTS]) {
      it(`at line ${count}: nothing stays open in the store, and no file in the process`, async () => {
        const openFiles = () => readdirSync('/proc/self/fd').length
        const before = openFiles()
        fillDiskAt(count)
        const error: unknown = await setting.send().catch((thrown: unknown) => thrown)
        expect(error).to.be.instanceOf(LocalStateError)
        expect(String(error)).to.contain('no space left')
        expectNothingOpen()
        expect(openFiles()).to.equal(before)
        prototype.appendFile = original
        expect(await setting.finish()).to.have.length(PARTS)
      })
    }
  })

  for (const [what, fault, isKept] of [
    ['cannot be reached', unreachable, true],
    ['refuses', () => refused('AccessDenied'), false],
  ] as const) {
    it(`of an upload that cannot be begun since the store ${what}: ${isKept ? 'it stays announced' : 'it is removed'}, and no file stays open`, async () => {
      const openFiles = () => readdirSync('/proc/self/fd').length
      const before = openFiles()
      const store = watchStore(setting.store, {before: ({method}) => {
        if (method === 'createUpload') throw fault()
      }})
      for (let round = 0; round < 3; round++) await setting.send({store}).catch(() => undefined)
      expect(openFiles()).to.equal(before)
      expect(setting.journalNames()).to.have.length(isKept ? 1 : 0)
      await setting.finish()
      expectNothingOpen()
    })
  }
})

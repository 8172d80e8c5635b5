import {execFileSync} from 'node:child_process'
import {copyFileSync, linkSync, readFileSync, renameSync, truncateSync, utimesSync, writeFileSync} from 'node:fs'
import {expect} from 'chai'
import {InterruptedError} from '../../../src/lib/errors.ts'
import {HashPool} from '../../../src/lib/sync/hash-pool.ts'
import {watchStore} from '../../support/sync-setting.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'
import {BINDING, FORMS, PLAIN_KEY, refused, unreachable, UploadSetting, ZSTD_KEY} from './upload-setting.ts'

const hashes = new HashPool(2)
after(() => hashes.close())

/** Content of each form, and the parts it takes: found out once. */
const known = new Map<string, {content: Buffer; partCount: number}>()

async function makeSetting(directory: string, form: (typeof FORMS)[number]): Promise<UploadSetting> {
  const setting = new UploadSetting(directory, form, hashes)
  const {content = form.content(), partCount} = known.get(form.name) ?? {}
  writeFileSync(setting.path, content)
  setting.partCount = partCount ?? (await setting.finish()).length
  expect(setting.partCount).to.be.within(9, 14)
  known.set(form.name, {content, partCount: setting.partCount})
  setting.store.objects.clear()
  return setting
}

function range(begin: number, end: number): number[] {
  return Array.from({length: Math.max(0, end - begin + 1)}, (_, index) => begin + index)
}

for (const form of FORMS) {
  describe(`an upload of a large file, ${form.name}`, function () {
    this.timeout(60_000)
    const use = useTemporaryDirectory()
    let setting: UploadSetting
    beforeEach(async () => {
      setting = await makeSetting(use(), form)
    })

    function expectNothingOpen(): void {
      expect([...setting.store.uploads.keys()], 'open uploads').to.deep.equal([])
      expect(setting.journalNames(), 'journals').to.deep.equal([])
    }

    for (const [what, isLost] of [
      ['the last ones', (number: number) => number > 6],
      ['the first ones', (number: number) => number < 4],
      ['every second one', (number: number) => number % 2 === 0],
      ['all', () => true],
      ['one in the middle', (number: number) => number === 5],
    ] as const) {
      it(`whose line is cut before some parts arrived (${what}) is kept open, and the next run sends these and no others`, async () => {
        await setting.sendAndLose(isLost)
        expect(setting.store.uploads.size).to.equal(1)
        expect(setting.store.objects.size).to.equal(0)
        expect(setting.journalNames()).to.have.length(1)
        expect(await setting.finish()).to.deep.equal(range(1, setting.partCount).filter(isLost))
        expectNothingOpen()
      })
    }

    it('that is cut again and again comes to its end, and no part is sent twice', async () => {
      const requests = () => setting.store.requestCounts().UploadPart ?? 0
      const before = requests()
      for (const last of [2, 5, 8]) {
        await setting.sendAndLose((number) => number > last, last === 2 ? 0 : last - 3)
        expect(requests() - before).to.equal(last)
      }
      expect(await setting.finish()).to.deep.equal(range(9, setting.partCount))
      expectNothingOpen()
    })

    it('that a signal stops is kept open, and continued', async () => {
      const abort = new AbortController()
      let arrived = 0
      const store = watchStore(setting.store, {after: ({method}) => {
        if (method === 'uploadPart' && ++arrived === 4) abort.abort(new InterruptedError('SIGTERM'))
      }})
      const error: unknown = await setting.send({store, signal: abort.signal}).catch((thrown: unknown) => thrown)
      expect(error).to.be.instanceOf(InterruptedError)
      const [upload] = [...setting.store.uploads.values()]
      const there = [...upload!.parts.keys()]
      expect(there.length).to.be.at.least(4)
      const sent = await setting.finish()
      // Of a part that arrived as the signal came nothing may be noted.
      expect(sent.length).to.be.at.most(setting.partCount - 4)
      expect(new Set([...sent, ...there]).size).to.equal(setting.partCount)
      expectNothingOpen()
    })

    it('all of whose parts are there when Complete does not answer: the next run sends nothing and completes it', async () => {
      const store = watchStore(setting.store, {before: ({method}) => {
        if (method === 'completeUpload') throw unreachable()
      }})
      await expectRejected(setting.send({store}), 'the line is cut')
      expect(setting.store.objects.size).to.equal(0)
      expect(await setting.finish()).to.deep.equal([])
      expectNothingOpen()
    })

    it('that is complete when the answer to Complete is lost: the next run sends nothing', async () => {
      const store = watchStore(setting.store, {after: ({method}) => {
        if (method === 'completeUpload') throw unreachable()
      }})
      await expectRejected(setting.send({store}), 'the line is cut')
      expect(setting.store.objects.size).to.equal(1)
      expect(await setting.finish()).to.deep.equal([])
      expectNothingOpen()
    })

    it('that the store does not know any more (NoSuchUpload) is begun anew in the same run', async () => {
      await setting.sendAndLose((number) => number > 3)
      setting.store.uploads.clear()
      expect((await setting.finish()).filter((number, index, all) => all.indexOf(number) === index)).to.deep.equal(range(1, setting.partCount))
      expectNothingOpen()
    })

    it('that the store forgets between the last part and Complete is begun anew in the same run', async () => {
      let isForgotten = false
      const store = watchStore(setting.store, {before: ({method}) => {
        if (method !== 'completeUpload' || isForgotten) return
        isForgotten = true
        setting.store.uploads.clear()
      }})
      expect(await setting.finish({store})).to.have.length(2 * setting.partCount)
      expectNothingOpen()
    })

    for (const [what, change] of [
      ['with another size', () => truncateSync(setting.path, readFileSync(setting.path).length - 5)],
      ['with another mtime', () => utimesSync(setting.path, new Date(), new Date(1e12))],
      ['with another inode', () => {
        const {atime, mtime} = {atime: new Date(), mtime: new Date(1e12)}
        utimesSync(setting.path, atime, mtime)
        copyFileSync(setting.path, `${setting.path}.new`)
        utimesSync(`${setting.path}.new`, atime, mtime)
        renameSync(`${setting.path}.new`, setting.path)
      }],
      ['with another content, and the same size and mtime', () => {
        const changed = readFileSync(setting.path)
        changed[100]! ^= 1
        execFileSync('touch', ['-r', setting.path, `${setting.path}.time`])
        writeFileSync(setting.path, changed)
        execFileSync('touch', ['-r', `${setting.path}.time`, setting.path])
      }],
    ] as const) {
      it(`of a file that is found ${what} is aborted, and the file is sent anew`, async () => {
        await setting.sendAndLose((number) => number > 4)
        const [old] = setting.store.uploads.keys()
        change()
        const sent = await setting.finish()
        expect(sent).to.have.length(setting.partCount)
        expect(setting.store.uploads.has(old!)).to.equal(false)
        expectNothingOpen()
      })
    }

    it('of a file that only got another hard link meanwhile is continued', async () => {
      await setting.sendAndLose((number) => number > 4)
      linkSync(setting.path, `${setting.path}.link`)
      expect(await setting.finish()).to.deep.equal(range(5, setting.partCount))
      expectNothingOpen()
    })

    for (const [what, changes] of [
      ['another part size', {partSizeBytes: form.partSizeBytes + 1024}],
      ['another layout', {binding: {...BINDING, layout: 'mirror'}}],
      ['another bucket', {binding: {...BINDING, archiveUri: 's3://other/p'}}],
      ['another installation', {binding: {...BINDING, writer: 'two'}}],
      ...(form.key === ZSTD_KEY ? [['another zstd level', {level: 4}]] as const : []),
    ] as const) {
      it(`with ${what} than before is aborted, and the file is sent anew`, async () => {
        await setting.sendAndLose((number) => number > 4)
        const [old] = setting.store.uploads.keys()
        const sent = await setting.finish(changes)
        expect(sent).to.deep.equal(range(1, sent.length))
        expect(sent.length).to.be.at.least(setting.partCount - 3)
        expect(setting.store.uploads.has(old!)).to.equal(false)
        expectNothingOpen()
      })
    }

    it('begun when the process died before it had the id is found by its exact key; uploads of other keys are left alone', async () => {
      const others = await Promise.all([`${form.key}x`, form.key.slice(0, -1), PLAIN_KEY === form.key ? ZSTD_KEY : PLAIN_KEY]
        .map(async (key) => await setting.store.createUpload(key as typeof PLAIN_KEY, {kind: 'base'})))
      await expectRejected(setting.send({store: watchStore(setting.store, {after: ({method}) => {
        if (method === 'createUpload') throw unreachable()
      }})}), 'the line is cut')
      expect(setting.store.uploads.size).to.equal(4)
      expect(await setting.finish()).to.deep.equal(range(1, setting.partCount))
      expect([...setting.store.uploads.keys()]).to.deep.equal(others)
      expect(setting.journalNames()).to.deep.equal([])
    })

    for (const [method, code] of [
      ['uploadPart', 'AccessDenied'], ['uploadPart', 'BadDigest'], ['completeUpload', 'InvalidPart'], ['completeUpload', 'BadDigest'],
    ] as const) {
      it(`of which ${method} is refused with ${code} is aborted, and nothing is kept`, async () => {
        const store = watchStore(setting.store, {before: (call) => {
          if (call.method === method && (method !== 'uploadPart' || call.args[2] === 3)) throw refused(code)
        }})
        await expectRejected(setting.send({store}), code)
        expect(setting.store.objects.size).to.equal(0)
        expectNothingOpen()
        expect(await setting.finish()).to.deep.equal(range(1, setting.partCount))
      })
    }

    it('that should be aborted while the store cannot be reached stays noted, and the next run aborts it', async () => {
      const store = watchStore(setting.store, {before: ({method, args}) => {
        if (method === 'uploadPart' && args[2] === 3) throw refused('BadDigest')
        if (method === 'abortUpload') throw unreachable()
      }})
      await expectRejected(setting.send({store}), 'BadDigest')
      const [old] = setting.store.uploads.keys()
      expect(await setting.finish()).to.deep.equal(range(1, setting.partCount))
      expect(setting.store.uploads.has(old!)).to.equal(false)
      expectNothingOpen()
    })
  })
}

async function expectRejected(work: Promise<unknown>, message: string): Promise<void> {
  const error: unknown = await work.then(() => undefined, (thrown: unknown) => thrown)
  expect(String(error instanceof Error ? error.message : error)).to.contain(message)
}

/** Base backups through the real S3 client: on real servers, and on one whose answers are lost, wrong or no answers. */
import {createHash} from 'node:crypto'
import {linkSync, mkdirSync, rmSync, utimesSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import type {BackupLayout} from '../../src/lib/archive/manifest.ts'
import {crc32c, formatCrc32c} from '../../src/lib/store/checksum.ts'
import type {ObjectKey, ObjectStore} from '../../src/lib/store/object-store.ts'
import type {S3Store} from '../../src/lib/store/s3/object-store.ts'
import {openBucket} from '../support/bucket.ts'
import {answer, errorAnswer, type FaultServerOptions, type Hook, type SeenRequest} from '../support/fault-server.ts'
import {useFaultStore} from '../support/fault-store.ts'
import {SERVER_KINDS, startServerOrSkip, withBucket, type TestServer} from '../support/s3-servers.ts'
import {useSyncSetting, type SyncSetting} from '../support/sync-setting.ts'
import {ID, record, sync} from '../unit/sync/base-setting.ts'
import {content, expectFaithful} from '../unit/sync/faithful.ts'

const MIB = 1024 ** 2
const SECOND = '20261102T020000'
const framed = 'data/base/1/framed'
const noisy = 'data/base/1/noisy'

/** A backup with two files that go up in parts, one of them in zstd frames, and small ones with odd names. */
function fill(setting: SyncSetting, bodies: Readonly<Record<string, Buffer>>): void {
  const at = (path: string) => join(setting.tree.baseDirectory, ID, path)
  rmSync(at('data/backup_manifest'))
  for (const [path, body] of Object.entries(bodies)) {
    writeFileSync(at(path), body)
    utimesSync(at(path), 1_700_000_000, 1_700_000_000)
  }
  mkdirSync(at('data/odd'))
  for (const name of ['a b', 'a+b', '100%', 'x#y?z&=', 'tab\t', 'new\nline', '\x08', 'b\\s', 'end.', 'ü', '<&">\'']) {
    writeFileSync(at(`data/odd/${name}`), name)
    writeFileSync(at(`data/odd/large ${name}`), content(140 * 1024, name))
  }
}

/** The next rsync backup: hard links, and one file that changed. */
function addSecond(setting: SyncSetting, changed: Buffer): void {
  const at = (id: string, path: string) => join(setting.tree.baseDirectory, id, path)
  setting.tree.addBackup({id: SECOND, linkTo: ID})
  rmSync(at(SECOND, 'data/backup_manifest'), {force: true})
  linkSync(at(ID, framed), at(SECOND, framed))
  writeFileSync(at(SECOND, noisy), changed)
}

async function run(setting: SyncSetting, store: ObjectStore, layout: BackupLayout) {
  const result = await sync(setting, {}, {store, base: {...setting.context().base, layout}})
  return {...result, reason: result.backups.at(-1)?.reason ?? result.stoppedBy?.message ?? ''}
}

describe('base backups on real S3 servers', () => {
  for (const kind of SERVER_KINDS) {
    describe(`with ${kind}`, () => {
      const use = useSyncSetting({tree: {segmentSizeBytes: MIB}})
      let server: TestServer
      let store: S3Store
      let bodies: Record<string, Buffer>
      before(async function () {
        server = await startServerOrSkip(this, kind)
        bodies = {[framed]: content(17 * MIB, 'framed'), [noisy]: noise(6 * MIB)}
      })
      after(() => server?.stop())
      beforeEach(async () => {
        store = await withBucket(server, async (bucket) => openBucket(server, bucket))
      })
      afterEach(() => store?.close())

      /** What lies in the bucket comes into the setting's own store, where it can be looked at. */
      async function fetchAll(setting: SyncSetting): Promise<void> {
        for await (const {key} of store.list('')) {
          setting.store.objects.delete(key)
          await setting.store.put(key, (await store.get(key, {maxBytes: 64 * MIB}))!, {kind: 'base'})
        }
      }

      for (const [first, second] of [['compact', 'compact'], ['mirror', 'mirror'], ['compact', 'mirror'], ['mirror', 'compact']] as const) {
        it(`${first}, then ${second}: packs, frames, references and copies come back as they lie on Barman's disk`, async function () {
          this.timeout(60_000)
          const setting = use()
          fill(setting, bodies)
          expect(await run(setting, store, first)).to.deep.include({exitCode: 0, reason: 'it is not in S3'})
          addSecond(setting, noise(6 * MIB, 'changed'))
          const puts = {...store.requestCounts()}
          expect(await run(setting, store, second)).to.deep.include({exitCode: 0, reason: 'it is not in S3'})
          await fetchAll(setting)
          expectFaithful(setting)
          expectFaithful(setting, SECOND)
          expect(record(setting, SECOND)).to.deep.include({layout: second, owners: second === 'compact' ? [ID] : []})
          const counts = store.requestCounts()
          if (first === second) expect((counts.UploadPart ?? 0) - (puts.UploadPart ?? 0)).to.equal(2)
          if (second === 'compact') expect(counts.CopyObject).to.equal(undefined)
          else if (first === 'mirror') expect(counts.CopyObject).to.be.greaterThan(20)
          expect((await run(setting, store, second)).backups).to.deep.equal([])
        })
      }
    })
  }
})

/** Bytes that do not compress. */
function noise(sizeBytes: number, salt = 'noise'): Buffer {
  const blocks: Buffer[] = []
  for (let index = 0; index < sizeBytes / 64; index++) blocks.push(createHash('sha512').update(`${salt}${index}`).digest())
  return Buffer.concat(blocks)
}

describe('base backups on a store that misbehaves', () => {
  const faults = useFaultStore()
  const use = useSyncSetting({tree: {segmentSizeBytes: MIB}})
  let bodies: Record<string, Buffer>
  before(() => {
    bodies = {[framed]: content(17 * MIB, 'framed'), [noisy]: noise(6 * MIB)}
  })

  async function start(hook: Hook | undefined, options: FaultServerOptions = {}): Promise<SyncSetting> {
    await faults.start(options, {idleTimeoutMs: 10_000})
    faults.server.hook = hook
    const setting = use()
    fill(setting, bodies)
    return setting
  }

  async function fetchAll(setting: SyncSetting): Promise<void> {
    setting.store.objects.clear()
    for (const [key, {body}] of faults.server.objects) await setting.store.put(key as ObjectKey, body, {kind: 'base'})
  }

  const isRecorded = (id = ID) => faults.server.objects.has(use().keys.record(id))
  const inside = (code: string) => answer(200, {}, Buffer.from(`<?xml version="1.0"?>\n\n  <Error><Code>${code}</Code><Message>again</Message></Error>`))
  const on = (operation: string, fault: ReturnType<Hook>, isMet: (request: SeenRequest) => boolean = () => true): Hook => (request) =>
    request.operation === operation && isMet(request) ? fault : undefined
  const once = ({number}: SeenRequest) => number === 1

  /** What a store says that has put the parts together, and has not. */
  const falsely = answer(200, {}, Buffer.from('<CompleteMultipartUploadResult><Key>k</Key><ETag>"0-2"</ETag></CompleteMultipartUploadResult>'))

  for (const [what, hook, options] of [
    ['loses the answer to one CompleteMultipartUpload', on('CompleteMultipartUpload', {reset: 'served'}, once)],
    ['loses every answer to it', on('CompleteMultipartUpload', {reset: 'served'})],
    ['loses one before it is carried out', on('CompleteMultipartUpload', {reset: 'unserved'}, once)],
    ['C29: answers one with an error inside a 200', on('CompleteMultipartUpload', {answer: inside('InternalError')}, once)],
    ['C29: carries one out and answers with an error inside a 200', (request) =>
      request.operation === 'CompleteMultipartUpload' && request.number === 1 ? {change: () => inside('InternalError')} : undefined],
    ['loses the answers to packs, parts and the record', (request) =>
      (request.operation === 'UploadPart' && request.number % 2 === 1) || (request.operation === 'PutObject' && /0001\.tar$|\/\d+T\d+\.json$/.test(request.key) && !hasSeen(request))
        ? {reset: 'served'} : undefined],
    ['does not know full-object checksums', undefined, {keepsChecksums: false}],
    ['does not know them, and loses answers', on('CompleteMultipartUpload', {reset: 'served'}, once), {keepsChecksums: false}],
    ['ignores conditions', undefined, {honoursConditions: false}],
    ['refuses parts below 5 MiB', (request) => (request.operation === 'CompleteMultipartUpload' && smallestPart(request) < 5 * MIB ? {answer: errorAnswer(400, 'EntityTooSmall')} : undefined)],
    ['wants parts of equal size, as one that keeps them in a grid does', (request) =>
      request.operation === 'CompleteMultipartUpload' && partSizes(request).slice(0, -1).some((size, _, all) => size !== all[0]) ? {answer: errorAnswer(400, 'InvalidPart')} : undefined],
  ] as readonly (readonly [string, Hook | undefined, FaultServerOptions?])[]) {
    it(`that ${what}: the backup ends right`, async () => {
      const setting = await start(hook, options)
      expect(await run(setting, faults.store, 'compact')).to.deep.include({exitCode: 0, reason: 'it is not in S3'})
      await fetchAll(setting)
      expect(record(setting)).not.to.equal(undefined)
      expectFaithful(setting)
      expect(faults.server.uploads.size).to.equal(0)
    })
  }

  function hasSeen({key, number}: SeenRequest): boolean {
    return faults.server.requests.some((request) => request.operation === 'PutObject' && request.key === key && request.number < number)
  }

  function partSizes({query}: SeenRequest): number[] {
    const {parts} = faults.server.uploads.get(query.get('uploadId') ?? '') ?? {parts: new Map<number, {body: Buffer}>()}
    return [...parts].sort(([left], [right]) => left - right).map(([, {body}]) => body.length)
  }

  function smallestPart(request: SeenRequest): number {
    return Math.min(...partSizes(request).slice(0, -1))
  }

  for (const [what, hook, exitCode, reason] of [
    ['C29: answers every CompleteMultipartUpload with an error inside a 200', on('CompleteMultipartUpload', {answer: inside('InternalError')}), 1, /2 of \d+ files failed.*InternalError/],
    ['says that parts were put together, and has nothing', on('CompleteMultipartUpload', {answer: falsely}), 1, /2 of \d+ files failed.*no object is there/],
    ['puts them together and cuts the object', (request) => cut(request), 1, /2 of \d+ files failed.*instead of/],
    ['puts them together and spoils a byte', (request) => spoil(request), 1, /2 of \d+ files failed.*another content/],
    ['wants larger parts than it was sent', on('CompleteMultipartUpload', {answer: errorAnswer(400, 'EntityTooSmall')}), 1, /2 of \d+ files failed.*EntityTooSmall/],
    ['has lost the upload each time', on('UploadPart', {answer: errorAnswer(404, 'NoSuchUpload')}), 1, /2 of \d+ files failed.*is not open any more/],
    ['takes a pack and has lost it when it is listed', (request) => lose(request, /0001\.tar$/), 10, /1 objects that were sent are not listed/],
    ['cuts a pack', (request) => shorten(request), 10, /1 objects that were sent are not listed/],
    ['refuses the packs', on('PutObject', {answer: errorAnswer(403, 'AccessDenied')}, ({key}) => key.endsWith('.tar')), 1, /AccessDenied|denied/],
  ] as readonly (readonly [string, Hook, number, RegExp])[]) {
    it(`that ${what}: the backup is failed loudly, exit ${exitCode}, never recorded; once the store is mended the next run ends right`, async function () {
      this.timeout(60_000)
      const setting = await start(hook)
      const failed = await run(setting, faults.store, 'compact')
      expect([failed.exitCode, isRecorded()]).to.deep.equal([exitCode, false])
      expect(failed.reason).to.match(reason)
      faults.server.hook = undefined
      expect((await run(setting, faults.connect({idleTimeoutMs: 10_000}), 'compact')).exitCode).to.equal(0)
      await fetchAll(setting)
      expectFaithful(setting)
      expect(faults.server.uploads.size).to.equal(0)
    })
  }

  /** Serves, then changes the object that came of it. */
  function meddle(key: string, change: (body: Buffer) => Buffer | undefined): ReturnType<Hook> {
    return {change: (honest) => {
      const object = faults.server.objects.get(key)!
      const body = change(object.body)
      if (body) faults.server.objects.set(key, {...object, body, headers: {...object.headers, 'x-amz-checksum-crc32c': checksumOf(body)}})
      else faults.server.objects.delete(key)
      return honest
    }}
  }

  function checksumOf(body: Buffer): string {
    return formatCrc32c(crc32c(body))
  }

  function cut({operation, key}: SeenRequest): ReturnType<Hook> {
    return operation === 'CompleteMultipartUpload' ? meddle(key, (body) => body.subarray(0, 5 * MIB)) : undefined
  }

  function spoil({operation, key}: SeenRequest): ReturnType<Hook> {
    return operation === 'CompleteMultipartUpload' ? meddle(key, (body) => Buffer.concat([body.subarray(0, -1), Buffer.from([body.at(-1)! ^ 1])])) : undefined
  }

  function lose({operation, key}: SeenRequest, which: RegExp): ReturnType<Hook> {
    return operation === 'PutObject' && which.test(key) ? meddle(key, () => undefined) : undefined
  }

  function shorten({operation, key}: SeenRequest): ReturnType<Hook> {
    return operation === 'PutObject' && key.endsWith('.tar') ? meddle(key, (body) => body.subarray(0, -512)) : undefined
  }

  describe('in layout mirror, where CopyObject brings over what is unchanged', () => {
    async function prepare(hook: Hook): Promise<SyncSetting> {
      const setting = await start(undefined)
      expect((await run(setting, faults.store, 'mirror')).exitCode).to.equal(0)
      addSecond(setting, bodies[noisy]!.subarray(1))
      faults.server.hook = hook
      return setting
    }

    for (const [what, hook] of [
      ['C29: answers one with an error inside a 200', on('CopyObject', {answer: inside('SlowDown')}, once)],
      ['C29: carries it out and answers with an error inside a 200', (request) => (request.operation === 'CopyObject' && request.number === 1 ? {change: () => inside('InternalError')} : undefined)],
      ['loses answers', on('CopyObject', {reset: 'served'}, ({number}) => number % 3 === 1)],
      ['knows no source any more', on('CopyObject', {answer: errorAnswer(404, 'NoSuchKey')})],
      ['has archived the sources', on('CopyObject', {answer: errorAnswer(403, 'InvalidObjectState')})],
      ['has no CopyObject', on('CopyObject', {answer: errorAnswer(501, 'NotImplemented')})],
      ['does not allow it', on('CopyObject', {answer: errorAnswer(405, 'MethodNotAllowed')})],
    ] as readonly (readonly [string, Hook])[]) {
      it(`${what}: the backup ends right`, async () => {
        const setting = await prepare(hook)
        expect((await run(setting, faults.store, 'mirror')).exitCode).to.equal(0)
        await fetchAll(setting)
        expectFaithful(setting, SECOND)
      })
    }

    for (const [what, answered, exitCode] of [
      ['C29: an error inside a 200, each time', inside('InternalError'), 1], ['a refusal', errorAnswer(403, 'AccessDenied'), 1],
    ] as const) {
      it(`${what}: failed loudly, never recorded`, async function () {
        this.timeout(60_000)
        const setting = await prepare(on('CopyObject', {answer: answered}))
        const {exitCode: actual, reason} = await run(setting, faults.store, 'mirror')
        expect(reason).to.match(/^cannot copy to s3:\/\/bucket\/barman\/pg\/base\//)
        expect([actual, isRecorded(SECOND)]).to.deep.equal([exitCode, false])
      })
    }
  })
})

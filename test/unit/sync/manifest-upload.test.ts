import {createHash} from 'node:crypto'
import {setTimeout as delay} from 'node:timers/promises'
import {gunzipSync} from 'node:zlib'
import {expect} from 'chai'
import {formatManifestEntry, parseManifestLine} from '../../../src/lib/archive/manifest-line.ts'
import {StoreRefusedError} from '../../../src/lib/errors.ts'
import type {ObjectStore} from '../../../src/lib/store/object-store.ts'
import {CopySummary} from '../../../src/lib/sync/copy-summary.ts'
import {objectOfLine, type JournalLine} from '../../../src/lib/sync/journal-line.ts'
import {uploadManifest, type CopiedBackup} from '../../../src/lib/sync/manifest-upload.ts'
import {useSyncSetting} from '../../support/sync-setting.ts'
import {ID} from './base-setting.ts'

const FILES = 5000
const local = {device: 1n, inode: 1n, sizeBytes: 3, mtimeNs: 0n, ctimeNs: 0n, linkCount: 1}

describe('the manifest on its way to S3', () => {
  const use = useSyncSetting({tree: {withBackup: false}})
  let open = 0
  beforeEach(() => {
    open = 0
  })

  /** A journal of many files that counts how often it is being read. */
  async function* copied(failAt?: number): AsyncGenerator<JournalLine> {
    open++
    try {
      for (let index = 0; index < FILES; index++) {
        if (index === failAt) throw new Error('the journal cannot be read')
        const sha256 = createHash('sha256').update(String(index)).digest('hex')
        yield {entry: {type: 'file', path: `data/${index}` as never, mode: 0o600, mtimeNs: 0n, sizeBytes: 3, sha256, crc32c: index, object: `base/${ID}/data/${index}`}, local}
      }
    } finally {
      open--
    }
  }

  async function backup(failAt?: number): Promise<CopiedBackup> {
    const summary = new CopySummary(ID, 'mirror')
    for await (const line of copied()) summary.addLine(line)
    return {
      layout: 'mirror', summary,
      async* entryLines() { for await (const {entry} of copied(failAt)) yield formatManifestEntry(entry) },
      async* objects() { for await (const line of copied(failAt)) yield objectOfLine(line)! },
    }
  }

  it('holds header, entries, objects and end, and its size and digest are those of what is stored', async () => {
    const setting = use()
    const manifest = await uploadManifest(setting.context(), ID, await backup())
    const {body} = setting.store.objects.get(setting.keys.manifest(ID))!
    expect(manifest).to.deep.include({sizeBytes: body.length, sha256: createHash('sha256').update(body).digest('hex')})
    const lines = gunzipSync(body).toString().trimEnd().split('\n').map(parseManifestLine)
    expect(lines.map(({line}) => line)).to.deep.equal(['header', ...Array.from({length: FILES}, () => 'entry'), ...Array.from({length: FILES}, () => 'object'), 'end'])
    expect((await backup()).summary.features).to.deep.equal(['mirror'])
    expect(lines.at(-1)).to.deep.include({files: FILES, objects: FILES, sourceBytes: 3 * FILES, storedBytes: 3 * FILES})
    expect(open).to.equal(0)
  })

  it('a store that breaks off in the middle leaves no journal open', async () => {
    const setting = use()
    const store = {...setting.store, async putStream(_key: string, body: AsyncIterable<Uint8Array>) {
      for await (const chunk of body) if (chunk.length > 0) throw new StoreRefusedError('broken off', {storeCode: 'x', scope: 'request'})
    }} as unknown as ObjectStore
    const error = await uploadManifest(setting.context({store}), ID, await backup()).then(() => undefined, (thrown: unknown) => thrown)
    expect((error as Error).message).to.equal('broken off')
    await delay(20)
    expect(open).to.equal(0)
  })

  it('a journal that cannot be read to its end is an error, never a shorter manifest', async () => {
    const setting = use()
    for (const failAt of [0, FILES - 1]) {
      const error = await uploadManifest(setting.context(), ID, await backup(failAt)).then(() => undefined, (thrown: unknown) => thrown)
      expect((error as Error).message).to.equal('the journal cannot be read')
      expect(setting.store.objects.has(setting.keys.manifest(ID))).to.equal(false)
      expect(open).to.equal(0)
    }
  })

  it('a store that holds another size is an error', async () => {
    const setting = use()
    const {store} = setting
    const lying = new Proxy(store, {get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (name !== 'head') return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value
      return async (...args: Parameters<ObjectStore['head']>) => ({...(await target.head(...args))!, sizeBytes: 1})
    }})
    const error = await uploadManifest(setting.context({store: lying}), ID, await backup()).then(() => undefined, (thrown: unknown) => thrown)
    expect(error).to.be.instanceOf(StoreRefusedError).and.include({storeCode: 'SizeMismatch'})
  })
})

import {randomBytes} from 'node:crypto'
import {readdirSync, readFileSync} from 'node:fs'
import {join} from 'node:path'
import {zstdDecompressSync} from 'node:zlib'
import {StoreRefusedError, StoreUnreachableError} from '../../../src/lib/errors.ts'
import {createMemoryStore, type MemoryStore} from '../../../src/lib/store/memory.ts'
import type {ObjectKey, ObjectStore} from '../../../src/lib/store/object-store.ts'
import {BodyPool} from '../../../src/lib/sync/body-pool.ts'
import type {SentData} from '../../../src/lib/sync/data-request.ts'
import {sendData} from '../../../src/lib/sync/data-upload.ts'
import {HashPool} from '../../../src/lib/sync/hash-pool.ts'
import {UploadAccess} from '../../../src/lib/sync/upload-access.ts'
import {watchStore} from '../../support/sync-setting.ts'

const MIB = 1024 ** 2
export const PLAIN_KEY = 'p/pg/base/x' as ObjectKey
export const ZSTD_KEY = 'p/pg/base/x.zst' as ObjectKey
/** Whose journal it is, as a backup's copy binds it. */
export const BINDING = {server: 'pg', backupId: '20261101T020000', archiveUri: 's3://bucket/p', writer: 'one', layout: 'compact'}

/** How a large file is stored: as it is, or as zstd frames; each with ten to twelve parts and the last one short. */
export interface UploadForm {
  readonly name: string
  readonly fileName: string
  readonly compressed: {readonly key: ObjectKey; readonly level: number} | undefined
  readonly key: ObjectKey
  readonly partSizeBytes: number
  readonly content: () => Buffer
}

export const FORMS: readonly UploadForm[] = [
  {
    name: 'stored as it is, for its name', fileName: 'file.gz', compressed: {key: ZSTD_KEY, level: 1}, key: PLAIN_KEY,
    partSizeBytes: MIB, content: () => randomBytes(10 * MIB + 77),
  },
  {
    name: 'stored as it is, with compression none', fileName: 'file', compressed: undefined, key: PLAIN_KEY,
    partSizeBytes: MIB, content: () => randomBytes(10 * MIB + 77),
  },
  {name: 'in two zstd frames', fileName: 'file', compressed: {key: ZSTD_KEY, level: 1}, key: ZSTD_KEY, partSizeBytes: MIB, content: halfRandom},
]

/** 20 MiB that shrink to half. */
function halfRandom(): Buffer {
  const content = Buffer.alloc(20 * MIB, 'the same text again ')
  for (let position = 0; position < content.length; position += 64 * 1024) randomBytes(32 * 1024).copy(content, position)
  return content
}

export interface SendChanges {
  readonly store?: ObjectStore
  readonly partSizeBytes?: number
  readonly level?: number
  readonly binding?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

/** One large file, a store in memory and the journals of its uploads. */
export class UploadSetting {
  readonly store: MemoryStore = createMemoryStore({limits: {minPartBytes: 1}})
  readonly form: UploadForm
  readonly path: string
  readonly journals: string
  readonly #hashes: HashPool

  constructor(directory: string, form: UploadForm, hashes: HashPool) {
    this.form = form
    this.path = join(directory, form.fileName)
    this.journals = join(directory, 'uploads')
    this.#hashes = hashes
  }

  async send(changes: SendChanges = {}): Promise<SentData> {
    const {form} = this
    const {store = this.store, partSizeBytes = form.partSizeBytes, level, binding = BINDING, signal = new AbortController().signal} = changes
    return await sendData({store, pool: new BodyPool(64 * MIB), frames: new BodyPool(40 * MIB), hashes: this.#hashes, partSizeBytes, signal}, {
      path: this.path, shownPath: form.fileName, plainKey: PLAIN_KEY,
      compressed: form.compressed && {...form.compressed, level: level ?? form.compressed.level},
      uploads: new UploadAccess(store, this.journals, binding),
    })
  }

  /**
   * A run that cannot reach the store for the parts that `isLost` names, once all others have arrived.
   * @param already parts that an earlier run has sent
   */
  async sendAndLose(isLost: (partNumber: number) => boolean, already = 0): Promise<void> {
    const others = Array.from({length: this.partCount}, (_, index) => index + 1).filter((number) => !isLost(number)).length - already
    let arrived = 0
    let allArrived: () => void = () => undefined
    const arrival = new Promise<void>((resolve) => {
      allArrived = resolve
    })
    if (others === 0) allArrived()
    const store = watchStore(this.store, {
      before: async ({method, args}) => {
        if (method !== 'uploadPart' || !isLost(args[2] as number)) return
        await arrival
        throw unreachable()
      },
      after: ({method}) => {
        if (method === 'uploadPart' && ++arrived === others) setImmediate(allArrived)
      },
    })
    await this.send({store}).then(() => Promise.reject(new Error('it was sent')), (error: unknown) => {
      if (!(error instanceof StoreUnreachableError)) throw error
    })
  }

  /** Parts the file has in full: of what `send` without faults has stored before. */
  partCount = 0

  /** The object's content, unpacked. */
  content(): Buffer | undefined {
    const body = this.store.objects.get(this.form.key)?.body
    if (!body || this.form.key === PLAIN_KEY) return body
    const frames: Buffer[] = []
    for (const [index, begin] of this.offsets.entries()) frames.push(zstdDecompressSync(body.subarray(begin, this.offsets[index + 1])))
    return Buffer.concat(frames)
  }

  /** Of the frames, as the last `send` said. */
  offsets: readonly number[] = []

  /** Sends what is missing and checks the object; returns the numbers of the parts that were sent. */
  async finish(changes: SendChanges = {}): Promise<number[]> {
    const parts: number[] = []
    const store = watchStore(changes.store ?? this.store, {before: ({method, args}) => {
      if (method === 'uploadPart') parts.push(args[2] as number)
    }})
    const {object, content} = await this.send({...changes, store})
    if (object?.key !== this.form.key) throw new Error(`${String(object?.key)} was made`)
    this.offsets = object.zstd?.offsets ?? []
    const expected = readFileSync(this.path)
    if (!this.content()?.equals(expected)) throw new Error('the object holds something else')
    if (content.sizeBytes !== expected.length || object.sizeBytes !== this.store.objects.get(object.key)?.body.length) throw new Error('sizes are wrong')
    return parts.sort((left, right) => left - right)
  }

  journalNames(): string[] {
    try {
      return readdirSync(this.journals)
    } catch {
      return []
    }
  }

  journalPath(): string {
    const [name = 'none'] = this.journalNames()
    return join(this.journals, name)
  }
}

export function unreachable(): StoreUnreachableError {
  return new StoreUnreachableError('the line is cut')
}

export function refused(storeCode: string): StoreRefusedError {
  return new StoreRefusedError(storeCode, {storeCode, scope: 'request'})
}

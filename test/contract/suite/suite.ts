import type {ListedObject, ObjectKey, ObjectStore, PutOutcome} from '../../../src/lib/store/object-store.ts'

/** What a server does differently; each with the observation that the suite makes of it. */
export interface Deviations {
  /** A wrong CRC32C is accepted and the object stored (moto). */
  readonly acceptsWrongChecksum?: boolean
  /** The CRC32C of a multipart object is another value than that of the whole object (moto). */
  readonly wrongMultipartSum?: boolean
  /** A key cannot be below another key: `x` and `x/y` (versitygw). */
  readonly refusesKeyBelowKey?: boolean
  /** Characters of a key that do not come back in a list, or cannot be stored. */
  readonly spoiltCharacters?: readonly string[]
  /** The CRC32C of a copy is not that of its content (moto). */
  readonly wrongCopySum?: boolean
  /** After an abort UploadPart answers 500 instead of NoSuchUpload (moto). */
  readonly failsAfterAbort?: boolean
  /** A deleted folder stays a CommonPrefix for a while (SeaweedFS). */
  readonly keepsEmptyFolders?: boolean
}

export interface Subject {
  /** A store on an empty bucket. Called before each test. */
  open(): Promise<ObjectStore>
  /** Bytes of a part that is not the last; small where the store allows it. */
  readonly partBytes: number
  readonly deviations?: Deviations
}

/** What the parts of the suite work with. */
export interface Suite {
  /** On an empty bucket, new for each test. */
  readonly store: ObjectStore
  readonly partBytes: number
  readonly deviations: Deviations
  put(at: string, body: string | Buffer, more?: {ifAbsent?: boolean; metadata?: Record<string, string>}): Promise<PutOutcome>
}

export const key = (text: string) => text as ObjectKey

export async function listAll(store: ObjectStore, prefix: string, startAfter?: string): Promise<ListedObject[]> {
  const objects: ListedObject[] = []
  for await (const object of store.list(prefix, startAfter === undefined ? {} : {startAfter})) objects.push(object)
  return objects
}

export async function listKeys(store: ObjectStore, prefix: string, startAfter?: string): Promise<string[]> {
  return (await listAll(store, prefix, startAfter)).map((object) => object.key)
}

export async function readAll(stream: AsyncIterable<Uint8Array> | undefined): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream ?? []) chunks.push(chunk)
  return Buffer.concat(chunks)
}

export async function errorOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work
  } catch (error) {
    return error
  }

  return undefined
}

export async function listFirst(store: ObjectStore, signal: AbortSignal): Promise<void> {
  for await (const _ of store.list('', {signal})) return
}

export async function* inChunks(body: Buffer, chunkBytes: number): AsyncIterable<Uint8Array> {
  for (let begin = 0; begin < body.length; begin += chunkBytes) yield body.subarray(begin, begin + chunkBytes)
}

export async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const queue = [...items]
  await Promise.all(
    Array.from({length: 16}, async () => {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item)
    }),
  )
}

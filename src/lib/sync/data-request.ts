import type {ZstdFrames} from '../archive/manifest.ts'
import type {ObjectKey, ObjectStore} from '../store/object-store.ts'
import type {BodyPool} from './body-pool.ts'
import type {LocalStat} from './local-stat.ts'
import type {FileContent, FileRequest, ReadDeps} from './open-file.ts'
import {mtimeMetadata, PartSender, type PartTarget} from './part-sender.ts'
import type {UploadAccess} from './upload-access.ts'

export interface DataUploadDeps extends ReadDeps {
  readonly store: ObjectStore
  /** Memory for content that is compressed: apart, so that who fills a body never waits for another body. */
  readonly frames: BodyPool
  /** Told the bytes of content that are in the store. */
  readonly onBytes?: (bytes: number) => void
}

export interface DataRequest extends FileRequest {
  readonly plainKey: ObjectKey
  /** With a key for the compressed form, compression is tried. */
  readonly compressed?: {readonly key: ObjectKey; readonly level: number} | undefined
  /** Journals of uploads in parts; without, they are not resumable. */
  readonly uploads?: UploadAccess | undefined
  /** Asked once the content is known and before anything is sent, of files that are read whole: true ends it there. */
  readonly isKnown?: (content: FileContent) => boolean
}

/** An object as it is stored, its key in full. */
export interface StoredObject {
  readonly key: ObjectKey
  readonly sizeBytes: number
  readonly crc32c: number
  readonly sha256: string
  readonly zstd?: ZstdFrames
}

export interface SentData {
  readonly content: FileContent
  /** Undefined when `isKnown` said so: nothing was sent. */
  readonly object: StoredObject | undefined
  readonly local: LocalStat
}

/** Begins or goes on with an upload in parts, bound to the file and to what decides its stored bytes. */
export async function openSender(
  deps: DataUploadDeps, request: DataRequest, key: ObjectKey, local: LocalStat, form: Readonly<Record<string, string | number>>,
): Promise<PartSender> {
  const {store, pool, signal, onBytes} = deps
  const journal = await request.uploads?.open(key, local, form)
  const target: PartTarget = {key, kind: 'base', metadata: mtimeMetadata(local.mtimeNs), journal}
  // Compressed bytes say nothing of how much of the file is done: those are counted frame by frame.
  return await PartSender.open({store, pool, signal, ...(onBytes && !('level' in form) ? {onBytes} : {})}, target)
}

import {crc32c} from './checksum.ts'
import type {ObjectKey, ObjectKind, ObjectStat, ObjectStore, UploadOptions} from './object-store.ts'

/** A write that a dry run did not do. `sizeBytes` is missing where there is no body (delete, copy). */
export interface WouldBeWrite {
  readonly action: 'put' | 'copy' | 'upload' | 'delete'
  readonly key: ObjectKey
  readonly kind?: ObjectKind
  readonly sizeBytes?: number
}

/** A store that changes nothing: reads go through to the store inside, writes are only noted. */
export interface DryRunStore extends ObjectStore {
  /** What would have been written, in the order of the calls; `upload` is noted when it would have been completed. */
  readonly writes: readonly WouldBeWrite[]
}

/** Bodies up to this size are compared whole by `put` with `ifAbsent`; larger ones by size and CRC32C. */
const COMPARED_BYTES = 1024 * 1024

/**
 * Wraps `inner` so that nothing is written. A noted write does not change later reads: whoever reads back what it wrote
 * sees the store as it is. `put` with `ifAbsent` looks (one HEAD) and answers what the store would have answered.
 */
export function createDryRunStore(inner: ObjectStore): DryRunStore {
  const writes: WouldBeWrite[] = []
  const uploads = new Map<string, {readonly key: ObjectKey; readonly options: UploadOptions}>()
  return {
    writes,
    limits: inner.limits,
    list: (prefix, options) => inner.list(prefix, options),
    listDirectories: (prefix, options) => inner.listDirectories(prefix, options),
    head: (key, options) => inner.head(key, options),
    get: (key, options) => inner.get(key, options),
    getStream: (key, options) => inner.getStream(key, options),
    listUploads: (key, options) => inner.listUploads(key, options),
    requestCounts: () => inner.requestCounts(),
    close: () => inner.close(),

    async put(key, body, options) {
      options.signal?.throwIfAborted()
      if (options.ifAbsent) {
        const stat = await inner.head(key, {signal: options.signal})
        if (stat) return (await hasBody(inner, stat, body, options.signal)) ? 'stored' : 'exists'
      }

      writes.push({action: 'put', key, kind: options.kind, sizeBytes: body.length})
      return 'stored'
    },

    async putStream(key, body, options) {
      let sizeBytes = 0
      for await (const chunk of body) {
        options.signal?.throwIfAborted()
        sizeBytes += chunk.length
      }

      writes.push({action: 'put', key, kind: options.kind, sizeBytes})
    },

    async copy(source, key, options) {
      const stat = await inner.head(source, {signal: options.signal})
      if (!stat) return false
      writes.push({action: 'copy', key, kind: options.kind, sizeBytes: stat.sizeBytes})
      return true
    },

    async createUpload(key, options) {
      options.signal?.throwIfAborted()
      const uploadId = `dry-run-${uploads.size + 1}`
      uploads.set(uploadId, {key, options})
      return uploadId
    },

    async uploadPart(_key, _uploadId, partNumber, body, options) {
      options?.signal?.throwIfAborted()
      return {partNumber, sizeBytes: body.length, etag: '"dry-run"', crc32c: options?.crc32c ?? crc32c(body)}
    },

    async completeUpload(key, uploadId, _parts, whole) {
      writes.push({action: 'upload', key, kind: uploads.get(uploadId)?.options.kind, sizeBytes: whole.sizeBytes})
    },

    async abortUpload() {},

    async delete(keys, options) {
      options?.signal?.throwIfAborted()
      for (const key of keys) writes.push({action: 'delete', key})
      return []
    },
  }
}

async function hasBody(inner: ObjectStore, stat: ObjectStat, body: Uint8Array, signal?: AbortSignal): Promise<boolean> {
  if (stat.sizeBytes !== body.length) return false
  if (stat.crc32c !== undefined && stat.crc32c !== crc32c(body)) return false
  if (stat.crc32c !== undefined && body.length > COMPARED_BYTES) return true
  const stored = await inner.get(stat.key, {maxBytes: body.length, signal})
  return stored !== undefined && stored.equals(body)
}

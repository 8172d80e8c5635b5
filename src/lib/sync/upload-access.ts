import {readdir, rm, stat} from 'node:fs/promises'
import {join} from 'node:path'
import {errnoOf} from '../errors.ts'
import {localStateErrorOf} from '../local/durable-file.ts'
import type {ObjectKey, ObjectStore} from '../store/object-store.ts'
import type {LocalStat} from './local-stat.ts'
import {readUploadJournal, UploadJournal, type AbandonedUpload, type JournaledUpload, type UploadBinding} from './upload-journal.ts'

/** Directory of the journals of one backup's uploads. */
export function uploadsDirectory(journals: string, backupId: string): string {
  return join(journals, `${backupId}.uploads`)
}

/** The uploads in parts of one backup, by this and earlier runs. */
export class UploadAccess {
  readonly #store: ObjectStore
  readonly #directory: string
  readonly #binding: UploadBinding

  /** @param binding of the backup: bucket, server, identity, writer */
  constructor(store: ObjectStore, directory: string, binding: UploadBinding) {
    this.#store = store
    this.#directory = directory
    this.#binding = binding
  }

  /**
   * The journal for the upload of a file to `key`; one that an earlier run left open for other bytes is aborted.
   * @param form what decides the stored bytes: sizes of part and frame, version and level of zstd
   */
  async open(key: ObjectKey, local: LocalStat, form: UploadBinding): Promise<UploadJournal> {
    const {journal, stale} = await UploadJournal.open(this.#directory, key, {binding: {...this.#binding, ...form}, local})
    if (stale) await giveUp(this.#store, stale)
    return journal
  }

  /** Gives up what is still noted when the backup is complete: nothing of it is needed any more. */
  async close(): Promise<void> {
    await giveUpUploads(this.#store, this.#directory)
  }
}

export interface GiveUpOptions {
  /** Only those nothing was added to since; all when left out. */
  readonly onlyBefore?: Date | undefined
  /**
   * Of an upload that was announced and has no id: whether those that are open for its key are ours. Left out where nobody
   * else can have any.
   */
  readonly isOurs?: (upload: JournaledUpload) => Promise<boolean>
}

/**
 * Aborts the journaled uploads below `directory`, and forgets them.
 * @returns the keys of those that were given up
 */
export async function giveUpUploads(store: ObjectStore, directory: string, {onlyBefore, isOurs}: GiveUpOptions = {}): Promise<ObjectKey[]> {
  const keys: ObjectKey[] = []
  for (const name of await listNames(directory)) {
    const path = join(directory, name)
    if (onlyBefore && (await lastChange(path)) >= onlyBefore.getTime()) continue
    const upload = await readUploadJournal(path)
    if (!upload || (upload.uploadId === undefined && isOurs && !(await isOurs(upload)))) {
      await forget(path)
      continue
    }
    await giveUp(store, upload)
    keys.push(upload.key)
  }
  if (!onlyBefore) await forget(directory)
  return keys
}

/** Aborts one upload in the store, then forgets it. An upload that was begun and never noted is found by its exact key. */
async function giveUp(store: ObjectStore, {path, key, uploadId}: AbandonedUpload): Promise<void> {
  const ids = uploadId === undefined ? await store.listUploads(key) : [uploadId]
  for (const id of ids) await store.abortUpload(key, id)
  await forget(path)
}

async function listNames(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw localStateErrorOf(error, `cannot read the journals of uploads in ${directory}`)
  }
}

async function lastChange(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs
  } catch (error) {
    throw localStateErrorOf(error, `cannot read ${path}`)
  }
}

async function forget(path: string): Promise<void> {
  try {
    await rm(path, {force: true, recursive: true})
  } catch (error) {
    throw localStateErrorOf(error, `cannot remove ${path}`)
  }
}

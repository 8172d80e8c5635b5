import type {BodyPool} from './body-pool.ts'
import type {ContentHash} from './hash-pool.ts'
import {checkUnchanged, readExactly, type OpenFile} from './open-file.ts'
import type {PartSender} from './part-sender.ts'

export interface FilePartsOptions {
  readonly pool: BodyPool
  readonly partSizeBytes: number
  /** Told the content on its way. */
  readonly hash?: ContentHash
}

/**
 * Sends a file as it is, part by part, and puts the parts together if it is still what it was when it was opened.
 * @throws LocalFileError, errors of the store; the caller then ends the upload with `sender.fail`
 */
export async function sendFileParts(
  sender: PartSender, file: OpenFile, {pool, partSizeBytes, hash}: FilePartsOptions,
): Promise<{sizeBytes: number; crc32c: number}> {
  for (let position = 0; position < file.sizeBytes; position += partSizeBytes) {
    sender.signal.throwIfAborted()
    const body = await pool.take(Math.min(partSizeBytes, file.sizeBytes - position), sender.signal)
    try {
      await readExactly(file, body, position)
    } catch (error) {
      pool.give(body)
      throw error
    }
    sender.add(body, hash?.update(body))
  }
  await sender.settle()
  await checkUnchanged(file)
  return await sender.complete()
}

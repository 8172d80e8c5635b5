import {constants} from 'node:fs'
import {open} from 'node:fs/promises'
import {errnoOf} from '../errors.ts'

/** Small files of ours are far below this; more is not ours. */
const MAX_BYTES = 1024 * 1024

/** What stands at a path where a small JSON file of ours is expected. */
export type JsonFile =
  | {readonly type: 'absent'}
  | {readonly type: 'broken'; readonly reason: string}
  | {readonly type: 'read'; readonly value: unknown; readonly mtimeMs: number}

/**
 * Reads the JSON file `path`. A symbolic link, anything but a regular file, more than 1 MiB, text that is not UTF-8 or
 * not JSON is `broken`, with the reason.
 * @throws Node's own error if the file is there but cannot be read (`EACCES`, `EIO`)
 */
export async function readJsonFile(path: string): Promise<JsonFile> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const stats = await file.stat()
      if (!stats.isFile()) return {type: 'broken', reason: 'not a regular file'}
      if (stats.size > MAX_BYTES) return {type: 'broken', reason: `${stats.size} bytes, too large to be one of ours`}
      const bytes = await file.readFile()
      if (bytes.length === 0) return {type: 'broken', reason: 'empty, 0 bytes'}
      return parseJson(bytes, stats.mtimeMs)
    } finally {
      await file.close()
    }
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOENT') return {type: 'absent'}
    if (errno === 'ELOOP') return {type: 'broken', reason: 'a symbolic link'}
    if (errno === 'ENXIO') return {type: 'broken', reason: 'not a regular file'}
    throw error
  }
}

function parseJson(bytes: Uint8Array, mtimeMs: number): JsonFile {
  try {
    return {type: 'read', value: JSON.parse(new TextDecoder('utf-8', {fatal: true}).decode(bytes)), mtimeMs}
  } catch (error) {
    // JSON.parse puts the text itself into its message; the file may be foreign, so it is not repeated.
    return {type: 'broken', reason: error instanceof SyntaxError ? 'not whole JSON (cut or foreign)' : 'not UTF-8 text'}
  }
}

/** `true` for a JSON object (not an array, not null). */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

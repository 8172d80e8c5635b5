import {randomUUID} from 'node:crypto'
import {hostname} from 'node:os'
import {join} from 'node:path'
import {LocalStateError} from '../errors.ts'
import {createDurably, ensureDirectory, localStateErrorOf} from './durable-file.ts'
import {isJsonObject, readJsonFile, type JsonFile} from './json-file.ts'

/** Who writes to the bucket: this installation, not this host (the host's name may change, the id stays). */
export interface WriterIdentity {
  /** UUID, made once per installation. */
  readonly id: string
  /** Name of the host at the time the id was made; for people. */
  readonly hostName: string
}

const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/

/**
 * The identity of this installation from `<state>/writer.json`; the first run makes it. Of two first runs at once both
 * get the same one.
 * @throws {LocalStateError} the file is damaged or cannot be read or made. A damaged one is never replaced by itself:
 *   a new identity would no longer own the backups that this installation has sent.
 */
export async function readOrCreateWriterId(stateDirectory: string): Promise<WriterIdentity> {
  const path = join(stateDirectory, 'writer.json')
  const found = await readWriterFile(path)
  if (found) return found
  const made: WriterIdentity = {id: randomUUID(), hostName: hostname()}
  await ensureDirectory(stateDirectory)
  if (await createDurably(path, `${JSON.stringify({version: 1, ...made}, undefined, 2)}\n`)) return made
  const other = await readWriterFile(path)
  if (other) return other
  throw new LocalStateError(`${path} came and went while it was read`, {hint: 'run the same command again'})
}

/**
 * The identity of this installation as far as it has one: for runs that write nothing.
 * @throws {LocalStateError} the file is damaged or cannot be read
 */
export async function readWriterId(stateDirectory: string): Promise<WriterIdentity | undefined> {
  return await readWriterFile(join(stateDirectory, 'writer.json'))
}

async function readWriterFile(path: string): Promise<WriterIdentity | undefined> {
  let file: JsonFile
  try {
    file = await readJsonFile(path)
  } catch (error) {
    throw localStateErrorOf(error, `cannot read ${path}`)
  }
  if (file.type === 'absent') return undefined
  if (file.type === 'broken') throw damaged(path, file.reason)
  const {value} = file
  if (!isJsonObject(value)) throw damaged(path, 'not a JSON object')
  if (value['version'] !== 1) throw damaged(path, 'not version 1 of this file')
  const {id, hostName} = value
  if (typeof id !== 'string' || !UUID.test(id)) throw damaged(path, 'its id is not a UUID')
  return {id, hostName: typeof hostName === 'string' ? hostName : ''}
}

function damaged(path: string, reason: string): LocalStateError {
  return new LocalStateError(`the identity of this installation in ${path} is damaged: ${reason}; nothing was sent`, {
    hint: `restore the file from a backup, or write {"version": 1, "id": "…", "hostName": "…"} with the writer's id that `
      + 'barmans3/<backup id>.json in the bucket shows; only if this host has never sent a backup, move it away',
  })
}

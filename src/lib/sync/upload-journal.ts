/**
 * The journal of one multipart upload: JSON lines in the state directory, so that a run after a kill or a reboot sends
 * only the parts that are missing. The key is written before the upload is begun: one that was begun and never noted is
 * then found in the store by its exact key, and does not stay behind.
 */
import {createHash} from 'node:crypto'
import {readFile, rm} from 'node:fs/promises'
import {join} from 'node:path'
import {errnoOf} from '../errors.ts'
import {AppendFile} from '../local/append-file.ts'
import {ensureDirectory, localStateErrorOf} from '../local/durable-file.ts'
import {parseCrc32c, formatCrc32c} from '../archive/manifest-line.ts'
import type {ObjectKey, UploadedPart} from '../store/object-store.ts'
import {exists} from './journal-line.ts'
import {compareLocalStat, type LocalStat} from './local-stat.ts'

const FORMAT = {format: 'barmans3-upload', version: 1}

/** What an upload is bound to: the file as it was, and everything that decides its stored bytes. Compared as a whole. */
export type UploadBinding = Readonly<Record<string, string | number>>

/** Where the bytes of an upload come from. */
export interface UploadSource {
  readonly binding: UploadBinding
  readonly local: LocalStat
}

/** What a journal on disk says, whoever reads it. */
export interface JournaledUpload {
  readonly path: string
  readonly key: ObjectKey
  readonly binding: UploadBinding
  /** The file as it was when the upload was begun. */
  readonly local: LocalStat
  /** Undefined when the process ended between announcing and beginning it. */
  readonly uploadId: string | undefined
  readonly parts: ReadonlyMap<number, UploadedPart>
  /** It failed for good and could not be aborted: nobody may go on with it. */
  readonly isGivenUp: boolean
  /** Bytes of the file that could be understood. */
  readonly readBytes: number
}

/** What is needed to give an upload up. */
export type AbandonedUpload = Pick<JournaledUpload, 'path' | 'key' | 'uploadId'>

/** The journal file of the upload to `key`. */
function journalFile(directory: string, key: ObjectKey): string {
  return join(directory, `${createHash('sha256').update(key).digest('hex').slice(0, 40)}.jsonl`)
}

export class UploadJournal {
  readonly key: ObjectKey
  readonly #path: string
  readonly #binding: UploadBinding
  readonly #local: LocalStat
  readonly #parts: Map<number, UploadedPart>
  #uploadId: string | undefined
  /** Bytes of the file that are whole lines. */
  #keepBytes: number
  #file: AppendFile | undefined
  #turn: Promise<void> = Promise.resolve()

  private constructor(path: string, key: ObjectKey, {binding, local}: UploadSource, earlier: JournaledUpload | undefined) {
    this.key = key
    this.#path = path
    this.#binding = binding
    this.#local = local
    this.#uploadId = earlier?.uploadId
    this.#parts = new Map(earlier?.parts)
    this.#keepBytes = earlier?.readBytes ?? 0
  }

  /**
   * The journal for an upload.
   * @returns with `stale` what an earlier run left for this key and this one cannot go on with: it must be given up
   * @throws LocalStateError
   */
  static async open(directory: string, key: ObjectKey, source: UploadSource): Promise<{journal: UploadJournal; stale: AbandonedUpload | undefined}> {
    const path = journalFile(directory, key)
    await ensureDirectory(directory)
    const earlier = await readUploadJournal(path)
    const isUsable = earlier?.uploadId !== undefined && !earlier.isGivenUp && earlier.key === key && isOfSource(earlier, source)
    if (isUsable) return {journal: new UploadJournal(path, key, source, earlier), stale: undefined}
    // One that cannot be understood has its name from the key: an upload of that key may be open.
    const stale = earlier ?? ((await exists(path)) ? {path, key, uploadId: undefined} : undefined)
    return {journal: new UploadJournal(path, key, source, undefined), stale}
  }

  get uploadId(): string | undefined {
    return this.#uploadId
  }

  /** A part that is in the store already. */
  part(partNumber: number): UploadedPart | undefined {
    return this.#parts.get(partNumber)
  }

  /** Announces an upload that is about to be begun. */
  async begin(): Promise<void> {
    this.#parts.clear()
    await this.#guard(async () => {
      await this.#file?.close()
      this.#keepBytes = 0
      this.#file = await AppendFile.open(this.#path, {keepBytes: 0})
      await this.#append({...FORMAT, key: this.key, binding: this.#binding, local: formatLocal(this.#local)})
    })
  }

  async noteUpload(uploadId: string): Promise<void> {
    this.#uploadId = uploadId
    await this.#guard(async () => await this.#append({uploadId}))
  }

  /** Notes a part that the store has. */
  async notePart(part: UploadedPart): Promise<void> {
    this.#parts.set(part.partNumber, part)
    const {partNumber, sizeBytes, etag, crc32c} = part
    await this.#guard(async () => await this.#append({partNumber, sizeBytes, etag, crc32c: formatCrc32c(crc32c)}))
  }

  /** Notes that the next run must abort the upload, since this one could not. */
  async noteGivenUp(): Promise<void> {
    await this.#guard(async () => await this.#append({isGivenUp: true}))
  }

  /** Forgets the upload: it is complete, or given up. */
  async remove(): Promise<void> {
    this.#uploadId = undefined
    this.#parts.clear()
    try {
      await this.close()
    } catch {
      // A disk that is full: what is not in the file is not wanted any more.
    }
    await this.#guard(async () => await rm(this.#path, {force: true}))
  }

  async close(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    await this.#guard(async () => await file?.close())
  }

  async #append(line: Record<string, unknown>): Promise<void> {
    this.#file ??= await AppendFile.open(this.#path, {keepBytes: this.#keepBytes})
    const text = `${JSON.stringify(line)}\n`
    await this.#file.append(text)
    this.#keepBytes += Buffer.byteLength(text)
  }

  async #guard(work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(work)
    this.#turn = turn.catch(() => undefined)
    try {
      await turn
    } catch (error) {
      throw localStateErrorOf(error, `cannot write the journal of an upload, ${this.#path}`)
    }
  }
}

/**
 * The journal at `path`, undefined when there is none or its first line cannot be understood. A torn last line is left out.
 * @throws LocalStateError when it cannot be read
 */
export async function readUploadJournal(path: string): Promise<JournaledUpload | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw localStateErrorOf(error, `cannot read the journal of an upload, ${path}`)
  }
  const texts = text.split('\n').slice(0, -1)
  const [head, ...lines] = texts.map(parseLine)
  const local = parseLocal(head?.local)
  if (head?.format !== FORMAT.format || head.version !== FORMAT.version || typeof head.key !== 'string' || !local) return undefined
  let uploadId: string | undefined
  let isGivenUp = false
  const parts = new Map<number, UploadedPart>()
  let readLines = 1
  for (const line of lines) {
    if (!line) break
    readLines++
    if (line.isGivenUp === true) isGivenUp = true
    if (typeof line.uploadId === 'string') uploadId = line.uploadId
    const crc32c = parseCrc32c(line.crc32c)
    const {partNumber, sizeBytes, etag} = line
    if (typeof partNumber === 'number' && typeof sizeBytes === 'number' && typeof etag === 'string' && crc32c !== undefined) {
      parts.set(partNumber, {partNumber, sizeBytes, etag, crc32c})
    }
  }
  const readBytes = Buffer.byteLength(texts.slice(0, readLines).join('\n')) + 1
  return {path, key: head.key as ObjectKey, binding: (head.binding ?? {}) as UploadBinding, local, uploadId, parts, isGivenUp, readBytes}
}

function parseLine(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

/**
 * Only of a file whose looks leave no doubt: no digest of what was sent is known yet that could settle one. Device numbers
 * may change with a reboot.
 */
function isOfSource(earlier: JournaledUpload, {binding, local}: UploadSource): boolean {
  return formatBinding(earlier.binding) === formatBinding(binding) && compareLocalStat(earlier.local, local, {ignoreDevice: true}) === 'same'
}

function formatLocal({inode, sizeBytes, mtimeNs, ctimeNs, linkCount}: LocalStat): string {
  return [inode, sizeBytes, mtimeNs, ctimeNs, linkCount].join(',')
}

function parseLocal(text: unknown): LocalStat | undefined {
  const numbers = typeof text === 'string' && /^\d+,\d+,-?\d+,-?\d+,\d+$/.test(text) ? text.split(',') : undefined
  if (!numbers) return undefined
  const [inode = '0', sizeBytes = '0', mtimeNs = '0', ctimeNs = '0', linkCount = '0'] = numbers
  return {
    device: 0n, inode: BigInt(inode), sizeBytes: Number(sizeBytes), mtimeNs: BigInt(mtimeNs), ctimeNs: BigInt(ctimeNs), linkCount: Number(linkCount),
  }
}

function formatBinding(binding: UploadBinding): string {
  return JSON.stringify(Object.entries(binding).sort(([left], [right]) => (left < right ? -1 : 1)))
}

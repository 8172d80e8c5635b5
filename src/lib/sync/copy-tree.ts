import {formatBackupPath} from '../archive/backup-path.ts'
import type {FileEntry, ManifestEntry} from '../archive/manifest.ts'
import {BarmanFilesError, StoreRefusedError, messageOf} from '../errors.ts'
import {mapInOrder} from './concurrency.ts'
import {LocalFileError} from './file-errors.ts'
import type {JournalWriter} from './journal.ts'
import type {JournalLine} from './journal-line.ts'
import {compareLocalStat} from './local-stat.ts'
import type {ItemProblem, ServerContext} from './server-context.ts'
import {localPath, walkBackupTree, type WalkedEntry} from './tree-walk.ts'
import {digestFile, uploadFile} from './upload.ts'

/** Results that may wait behind a slow file: more than one window of small files, few enough to hold in memory. */
const WINDOW = 1024

export interface CopiedTree {
  readonly files: number
  readonly bytes: number
  /** Of them sent in this run; the others were sent by an earlier one. */
  readonly sentFiles: number
  readonly sentBytes: number
  readonly failures: readonly ItemProblem[]
  readonly failureCount: number
  /** Set when the store refused every file that failed: then nothing is wrong with Barman's files. */
  readonly refusal: StoreRefusedError | undefined
}

const MAX_NAMED_FAILURES = 20

/**
 * Sends every file of a backup's tree that an earlier run has not sent, and writes what is there into the journal. A file
 * that cannot be read, or that the store refuses, does not stop the others.
 * @throws LocalFileError (`vanished`, `changed`) at once: a finished backup must not change while it is copied
 */
export async function copyTree(context: ServerContext, backupId: string, root: string, journal: JournalWriter): Promise<CopiedTree> {
  const copy = new TreeCopy(context, backupId, root, journal)
  let isWhole = false
  try {
    await copy.run()
    isWhole = copy.failureCount === 0
  } finally {
    await journal.finish({isWhole})
  }
  return copy
}

/** What one walk found, beside what an earlier run knew of it. */
interface Candidate {
  readonly found: WalkedEntry
  readonly earlier: JournalLine | undefined
}

class TreeCopy implements CopiedTree {
  files = 0
  bytes = 0
  sentFiles = 0
  sentBytes = 0
  failureCount = 0
  readonly failures: ItemProblem[] = []
  refusal: StoreRefusedError | undefined
  readonly #context: ServerContext
  readonly #backupId: string
  readonly #root: string
  readonly #journal: JournalWriter

  constructor(context: ServerContext, backupId: string, root: string, journal: JournalWriter) {
    this.#context = context
    this.#backupId = backupId
    this.#root = root
    this.#journal = journal
  }

  async run(): Promise<void> {
    const limit = this.#context.concurrency
    const lines = mapInOrder(this.#candidates(), {limit, window: WINDOW}, async (candidate) => await this.#copy(candidate))
    for await (const line of lines) if (line) await this.#journal.append(line)
  }

  async* #candidates(): AsyncGenerator<Candidate, void, undefined> {
    for await (const found of walkBackupTree(this.#root, this.#context.signal)) {
      yield {found, earlier: await this.#journal.earlierLine(found.path)}
    }
  }

  async #copy({found, earlier}: Candidate): Promise<JournalLine | undefined> {
    if (found.type === 'unreadable') return this.#fail(formatBackupPath(found.path), found.error)
    if (found.type !== 'file') {
      if (found.type === 'special') this.#context.progress.warn(`${formatBackupPath(found.path)} is a ${found.kind}: noted, not copied`)
      const {local, ...entry} = found
      return {entry: entry as ManifestEntry, local}
    }
    this.files++
    this.bytes += found.sizeBytes
    try {
      return (await this.#reuse(found, earlier)) ?? (await this.#send(found))
    } catch (error) {
      const isOneFile = (error instanceof LocalFileError && error.fault === 'unreadable')
        || (error instanceof StoreRefusedError && error.scope === 'request')
      if (!isOneFile) throw error
      return this.#fail(formatBackupPath(found.path), error)
    } finally {
      this.#context.progress.advance({items: 1})
    }
  }

  #fail(name: string, error: Error): undefined {
    const isRefusal = error instanceof StoreRefusedError
    this.refusal = isRefusal && (this.failureCount === 0 || this.refusal) ? error : undefined
    this.failureCount++
    if (this.failures.length < MAX_NAMED_FAILURES) this.failures.push({name, message: messageOf(error)})
    this.#context.progress.fail(messageOf(error).includes(name) ? messageOf(error) : `${name}: ${messageOf(error)}`)
  }

  /** What an earlier run sent is sent for good, if the file is still the same. Device numbers may change with a reboot. */
  async #reuse(found: Extract<WalkedEntry, {type: 'file'}>, earlier: JournalLine | undefined): Promise<JournalLine | undefined> {
    if (earlier?.entry.type !== 'file' || earlier.entry.object !== this.#objectOf(found)) return undefined
    const verdict = compareLocalStat(earlier.local, found.local, {ignoreDevice: true})
    if (verdict === 'changed') return undefined
    if (verdict === 'unclear') {
      const {pool, partSizeBytes, signal} = this.#context
      const shownPath = formatBackupPath(found.path)
      const {sha256} = await digestFile({pool, partSizeBytes, signal}, {path: localPath(this.#root, found.path), shownPath, expected: found.local})
      if (sha256 !== earlier.entry.sha256) return undefined
    }
    this.#context.progress.advance({bytes: found.sizeBytes})
    return {entry: this.#entry(found, earlier.entry), local: found.local}
  }

  async #send(found: Extract<WalkedEntry, {type: 'file'}>): Promise<JournalLine> {
    const {store, keys, pool, partSizeBytes, signal, progress} = this.#context
    const uploaded = await uploadFile(
      {store, pool, partSizeBytes, signal, onBytes: (bytes) => progress.advance({bytes})},
      {
        path: localPath(this.#root, found.path), shownPath: formatBackupPath(found.path), key: keys.data(this.#backupId, found.path),
        kind: 'base', singlePutBytes: partSizeBytes, digest: true, expected: found.local,
      },
    )
    this.sentFiles++
    this.sentBytes += uploaded.sizeBytes
    const line = {entry: this.#entry(found, uploaded), local: uploaded.local}
    await this.#journal.noteSent(line)
    return line
  }

  #entry(found: Extract<WalkedEntry, {type: 'file'}>, content: {sha256: string; crc32c: number}): FileEntry {
    const {path, mode, mtimeNs, sizeBytes} = found
    return {type: 'file', path, mode, mtimeNs, sizeBytes, sha256: content.sha256, crc32c: content.crc32c, object: this.#objectOf(found)}
  }

  #objectOf(found: WalkedEntry): string {
    const {keys} = this.#context
    return keys.relative(keys.data(this.#backupId, found.path))
  }
}

/** The error of a backup some of whose files could not be copied, saying how many and which, and whose fault it is. */
export function failedFilesError(backupId: string, tree: CopiedTree): BarmanFilesError | StoreRefusedError {
  const names = tree.failures.slice(0, 3).map(({name}) => name).join(', ')
  const more = tree.failureCount > 3 ? ', …' : ''
  const text = `backup ${backupId}: ${tree.failureCount} of ${tree.files} files failed: ${names}${more}`
  const {refusal} = tree
  if (!refusal) {
    return new BarmanFilesError(text, {
      hint: 'the backup is not recorded as complete; mend the files named and run again, only these will be sent',
    })
  }
  return new StoreRefusedError(`${text}: ${messageOf(refusal)}`, {
    storeCode: refusal.storeCode, scope: 'request', cause: refusal,
    hint: `the backup is not recorded as complete; run again, only these will be sent${refusal.hint === undefined ? '' : `; ${refusal.hint}`}`,
  })
}

import {formatBackupPath} from '../archive/backup-path.ts'
import {StoreRefusedError, messageOf} from '../errors.ts'
import {mapInOrder, type Later} from './concurrency.ts'
import {CopySummary} from './copy-summary.ts'
import type {CopySources} from './copy-sources.ts'
import {FileCopier, type WalkedFile} from './file-copier.ts'
import {LocalFileError} from './file-errors.ts'
import {planFile, type EarlierFile, type FilePlan} from './file-plan.ts'
import type {JournalLine} from './journal-line.ts'
import type {ItemProblem, ServerContext} from './server-context.ts'
import {walkBackupTree, type WalkedEntry} from './tree-walk.ts'

/** Results that may wait behind a slow file: more than two packs full of small ones, few enough to hold in memory. */
const WINDOW = 10_000
const MAX_NAMED_FAILURES = 20

export interface CopiedTree {
  readonly files: number
  readonly bytes: number
  /** Taken over from an earlier run that was broken off. */
  readonly reusedFiles: number
  readonly failures: readonly ItemProblem[]
  readonly failureCount: number
  /** Files that are not what PostgreSQL's backup_manifest says: damaged before they were copied. */
  readonly damagedCount: number
  /** Set when the store refused every file that failed: then nothing is wrong with Barman's files. */
  readonly refusal: StoreRefusedError | undefined
  /** Packs with members that the tree no longer has; they must go. */
  readonly impurePacks: readonly number[]
  readonly summary: CopySummary
}

/**
 * Brings every file of a backup's tree to S3 that is not there yet, and writes what is there into the journal. A file that
 * cannot be read, or that the store refuses, does not stop the others.
 * @throws LocalFileError (`vanished`, `changed`) at once: a finished backup must not change while it is copied
 */
export async function copyTree(context: ServerContext, sources: CopySources): Promise<CopiedTree> {
  const copy = new TreeCopy(context, sources)
  let isWhole = false
  try {
    await copy.run()
    isWhole = copy.failureCount === 0
  } finally {
    await sources.journal.finish({isWhole})
  }
  return copy
}

/** What one walk found, beside what an earlier run knew of it and what is to be done. */
interface Candidate {
  readonly found: WalkedEntry
  readonly known: JournalLine | undefined
  readonly earlier: readonly EarlierFile[]
}

class TreeCopy implements CopiedTree {
  files = 0
  bytes = 0
  reusedFiles = 0
  failureCount = 0
  damagedCount = 0
  readonly failures: ItemProblem[] = []
  refusal: StoreRefusedError | undefined
  impurePacks: number[] = []
  readonly summary: CopySummary
  readonly #context: ServerContext
  readonly #sources: CopySources
  readonly #copier: FileCopier
  readonly #packMembers = new Map<number, number>()

  constructor(context: ServerContext, sources: CopySources) {
    this.#context = context
    this.#sources = sources
    this.#copier = new FileCopier(context, sources)
    this.summary = new CopySummary(sources.backupId, context.base.layout)
  }

  async run(): Promise<void> {
    const {journal, earlier} = this.#sources
    earlier.rewind()
    const copier = this.#copier
    try {
      const lines = mapInOrder(this.#candidates(), {
        limit: this.#context.concurrency, window: WINDOW, onStall: ({found}) => copier.hurry(found.path),
      }, async (candidate) => await this.#copy(candidate))
      for await (const line of lines) if (line) await this.#note(line)
    } finally {
      await copier.close()
    }
    for (const {number, members, object} of journal.packs.list()) {
      this.summary.addPack(object)
      if (this.#packMembers.get(number) !== members) this.impurePacks.push(number)
    }
    this.#checkMissing()
  }

  async* #candidates(): AsyncGenerator<Candidate, void, undefined> {
    const {root, journal, earlier} = this.#sources
    const {signal} = this.#context
    for await (const found of walkBackupTree(root, signal)) {
      const known = await journal.earlierLine(found.path)
      yield {found, known, earlier: found.type === 'file' ? await earlier.find(found.path, found.local) : []}
    }
    await this.#copier.finishPacks()
  }

  async #note(line: JournalLine): Promise<void> {
    const {pack} = line.stored ?? {}
    if (pack !== undefined) this.#packMembers.set(pack, (this.#packMembers.get(pack) ?? 0) + 1)
    if (this.#isDamaged(line)) return
    this.summary.addLine(line)
    await this.#sources.journal.append(line)
  }

  async #copy({found, known, earlier}: Candidate): Promise<JournalLine | undefined | Later<JournalLine | undefined>> {
    if (found.type === 'unreadable') return this.#fail(formatBackupPath(found.path), found.error)
    if (found.type !== 'file') return await this.#copier.copyOther(found, known)
    this.files++
    this.bytes += found.sizeBytes
    try {
      const reused = await this.#copier.reuse(found, known)
      if (reused) {
        this.reusedFiles++
        return reused
      }
      const copied = await this.#copier.copy(found, this.#plan(found, earlier))
      return 'later' in copied ? {later: copied.later.catch((error: unknown) => this.#failOne(found, error))} : copied
    } catch (error) {
      return this.#failOne(found, error)
    } finally {
      this.#context.progress.advance({items: 1})
    }
  }

  #plan(found: WalkedFile, earlier: readonly EarlierFile[]): FilePlan {
    const {witness, areTimesKept} = this.#sources
    const knownCrc32c = earlier.length > 0 ? witness?.crc32cOf(found.path) : undefined
    return planFile({...found, knownCrc32c, areTimesKept}, earlier, this.#context.base.layout)
  }

  /** @throws what does not concern this file alone */
  #failOne(found: WalkedFile, error: unknown): undefined {
    const isOneFile = (error instanceof LocalFileError && error.fault === 'unreadable')
      || (error instanceof StoreRefusedError && error.scope === 'request')
    if (!isOneFile) throw error
    return this.#fail(formatBackupPath(found.path), error)
  }

  #fail(name: string, error: Error): undefined {
    const isRefusal = error instanceof StoreRefusedError
    this.refusal = isRefusal && (this.failureCount === 0 || this.refusal) ? error : undefined
    this.failureCount++
    if (this.failures.length < MAX_NAMED_FAILURES) this.failures.push({name, message: messageOf(error)})
    this.#context.progress.fail(messageOf(error).includes(name) ? messageOf(error) : `${name}: ${messageOf(error)}`)
  }

  /** Every file whose content is known, read now or not, is held against PostgreSQL's own list. */
  #isDamaged({entry}: JournalLine): boolean {
    const {witness} = this.#sources
    if (!witness || entry.type !== 'file') return false
    const verdict = witness.check(entry.path, entry)
    if (verdict.verdict !== 'differs') return false
    this.#failDamaged(formatBackupPath(entry.path), verdict.detail)
    return true
  }

  /** What PostgreSQL has listed and Barman's disk does not have. A backup in tar form has its files inside. */
  #checkMissing(): void {
    const {witness} = this.#sources
    // What could not be read or sent was not held against it.
    if (!witness || witness.seenCount === 0 || this.failureCount > 0) return
    const {count, paths} = witness.missing(MAX_NAMED_FAILURES)
    for (const path of paths) this.#failDamaged(formatBackupPath(path), 'it is missing, and backup_manifest names it')
    this.failureCount += count - paths.length
    this.damagedCount += count - paths.length
  }

  #failDamaged(name: string, detail: string): void {
    this.damagedCount++
    this.#fail(name, new Error(`${name} is damaged on Barman's disk: ${detail}`))
  }
}

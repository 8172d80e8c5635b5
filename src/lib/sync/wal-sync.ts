import {readCatalog, type BarmanCatalog} from '../barman/catalog.ts'
import {inspectWalHead, WAL_HEAD_BYTES, type WalContent} from '../barman/wal-content.ts'
import {parseWalName} from '../barman/wal-name.ts'
import {BarmanFilesError, BarmansError, ConflictError, StoreRefusedError, messageOf} from '../errors.ts'
import {acquireServerLock} from '../local/server-lock.ts'
import type {ListedObject} from '../store/object-store.ts'
import {forEachConcurrently} from './concurrency.ts'
import {LocalFileError} from './file-errors.ts'
import {guardSystemId, type GuardedIdentity} from './remote-identity.ts'
import type {ServerContext} from './server-context.ts'
import {digestFile} from './open-file.ts'
import {uploadFile} from './upload.ts'
import {checkSameContent, readHead} from './wal-compare.ts'
import {NeededWal} from './wal-needed.ts'
import {WalNotes} from './wal-notes.ts'
import {WalListing} from './wal-listing.ts'
import {compareUploadOrder, decideWal, whyNotFinal} from './wal-plan.ts'
import {WalTally, type PlannedWal, type WalSyncResult} from './wal-result.ts'
import {readHashDirectory, readWal, readWalDirectory, type LocalWal, type WalDirectoryListing} from './wal-sources.ts'
import {MissingDirectories, findXlogDbNames} from './wal-xlog-db.ts'

/** WAL files up to this size are one PUT (design: section 6). */
const SINGLE_PUT_BYTES = 64 * 1024 * 1024
const DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024

export interface WalSyncOptions {
  /** Compare and plan, change nothing. */
  readonly isDryRun: boolean
  /** Compare xlog.db with the disk too, and warn of WAL that is neither there nor in S3: `full-sync` does. */
  readonly checksXlogDb?: boolean
}

/**
 * Copies every WAL file of a server that the bucket does not have. What is there with the same content stays, what is
 * there with other content is a conflict and stays too. One item's failure does not stop the others; a refused
 * credential, a missing bucket or another cluster's bucket stops at once.
 * @throws LockedError, ConflictError (another cluster), BarmanFilesError (no WAL directory): nothing was begun
 */
export async function syncWal(context: ServerContext, options: WalSyncOptions): Promise<WalSyncResult> {
  if (options.isDryRun) return await new WalSync(context, options).run()
  const {clock, signal, walLockWaitMs = 0} = context
  const lock = await acquireServerLock(context.stateDirectory, context.server.name, 'wal', {clock, signal, waitMs: walLockWaitMs})
  try {
    return await new WalSync(context, options).run()
  } finally {
    await lock.release()
  }
}

/** One run. */
class WalSync {
  readonly #context: ServerContext
  readonly #options: WalSyncOptions
  readonly #tally = new WalTally()
  #identity: GuardedIdentity = {systemId: undefined, hasIdentityFile: false}
  #segmentSizeBytes = DEFAULT_SEGMENT_BYTES
  #notes: WalNotes | undefined
  readonly #needed: NeededWal
  #xlogDbNames: Set<string> = new Set()

  constructor(context: ServerContext, options: WalSyncOptions) {
    this.#context = context
    this.#options = options
    this.#needed = new NeededWal(context)
  }

  async run(): Promise<WalSyncResult> {
    const {server, progress} = this.#context
    progress.phase(`WAL of ${server.name}: compare`)
    const listing = await readWalDirectory(server)
    const catalog = await this.#readCatalogIfAny()
    this.#identity = await guardSystemId(this.#context, catalog)
    this.#notes = await WalNotes.load(this.#context, this.#identity.systemId)
    this.#segmentSizeBytes = newestSegmentSize(catalog) ?? DEFAULT_SEGMENT_BYTES
    const planned = await this.#plan(listing)
    planned.sort((left, right) => compareUploadOrder(left.name, right.name))
    if (this.#options.isDryRun) return this.#result(planned, undefined)
    if (this.#isPassive()) this.#xlogDbNames = await findXlogDbNames(this.#context, new Set(planned.map(({name}) => name)))
    if (planned.length > 0) {
      progress.phase(`WAL of ${server.name}: upload`)
      progress.total({items: planned.length, bytes: planned.reduce((sum, item) => sum + item.sizeBytes, 0)})
    }
    const failure = await this.#execute(planned)
    if (!failure) await this.#notes.save()
    return this.#result(planned, failure)
  }

  /** A broken catalogue must not stop WAL: it only tells segment size and system identifier. */
  async #readCatalogIfAny(): Promise<BarmanCatalog | undefined> {
    try {
      return await readCatalog(this.#context.server, {signal: this.#context.signal})
    } catch (error) {
      if (!(error instanceof BarmanFilesError)) throw error
      this.#context.progress.warn(`the catalogue of "${this.#context.server.name}" cannot be read: ${messageOf(error)}`)
      return undefined
    }
  }

  async #plan({historyFiles, hashDirectories}: WalDirectoryListing): Promise<PlannedWal[]> {
    const {store, keys, signal} = this.#context
    const missing = this.#options.checksXlogDb ? await MissingDirectories.find(this.#context, hashDirectories) : undefined
    const names = [...historyFiles, ...hashDirectories, ...(missing?.names() ?? [])].sort()
    const [firstName] = names
    if (firstName === undefined) return []
    const listing = new WalListing(store, keys, firstName, signal)
    const planned: PlannedWal[] = []
    try {
      for (const name of names) {
        signal.throwIfAborted()
        const remote = await listing.under(name)
        if (missing?.has(name)) missing.compare(name, remote)
        else for (const wal of await this.#readLocal(name)) this.#decide(wal, remote.get(wal.relativePath), planned)
      }
    } finally {
      await listing.close()
    }
    missing?.warn()
    return planned
  }

  async #readLocal(name: string): Promise<LocalWal[]> {
    const {server, progress} = this.#context
    try {
      const history = parseWalName(name)
      if (history) {
        const wal = readWal(server, history)
        return wal ? [wal] : []
      }
      const found = await readHashDirectory(server, name)
      if (!found) progress.warn(`the hash directory ${name} vanished: Barman's retention removes old WAL`)
      return found ?? []
    } catch (error) {
      if (!(error instanceof LocalFileError)) throw error
      this.#fail(name, error)
      return []
    }
  }

  #decide(wal: LocalWal, remote: ListedObject | undefined, planned: PlannedWal[]): void {
    const decision = decideWal(wal.local, remote, this.#notes?.comparedNs(wal.relativePath))
    if (decision === 'skip') this.#tally.alreadyThere++
    else planned.push({name: wal.file.name, decision: decision === 'upload' ? 'upload' : 'compare', sizeBytes: wal.local.sizeBytes})
  }

  async #execute(planned: readonly PlannedWal[]): Promise<BarmansError | undefined> {
    const firstOther = planned.findIndex(({name}) => !name.endsWith('.history'))
    const historyCount = firstOther < 0 ? planned.length : firstOther
    try {
      // A restore that finds WAL of a timeline must find where that timeline began.
      for (const items of [planned.slice(0, historyCount), planned.slice(historyCount)]) {
        await forEachConcurrently(items, this.#context.concurrency, async (item) => await this.#handle(item))
      }
      return undefined
    } catch (error) {
      if (error instanceof BarmansError) return error
      throw error
    }
  }

  async #handle({name, decision}: PlannedWal): Promise<void> {
    try {
      // Looked at again: hours may lie between plan and upload.
      const file = parseWalName(name)
      const wal = file && readWal(this.#context.server, file)
      if (!wal) throw new LocalFileError('vanished', name)
      await (decision === 'upload' ? this.#upload(wal) : this.#compare(wal))
    } catch (error) {
      if (error instanceof NotFinalError) {
        this.#tally.left.add(name, error.message)
      } else if (error instanceof ConflictError) {
        this.#tally.conflicts.add(name, error.message, error.hint)
        this.#context.progress.fail(error.message)
      } else if (error instanceof LocalFileError) {
        await this.#handleLocalFault(name, error)
      } else if (error instanceof StoreRefusedError && error.scope === 'request') {
        this.#fail(name, error)
      } else {
        throw error
      }
    }
    this.#tally.settled++
    this.#context.progress.advance({items: 1})
  }

  #fail(name: string, error: Error): void {
    this.#tally.addFailed(name, error)
    this.#context.progress.fail(`${name}: ${messageOf(error)}`)
  }

  async #upload(wal: LocalWal): Promise<void> {
    const {store, keys, pool, hashes, partSizeBytes, signal, progress} = this.#context
    const key = keys.wal(wal.relativePath)
    const uploaded = await uploadFile(
      {store, pool, hashes, partSizeBytes, signal, onBytes: (bytes) => progress.advance({bytes})},
      {
        path: wal.path, shownPath: wal.path, key, kind: 'wal', singlePutBytes: SINGLE_PUT_BYTES, ifAbsent: true, expected: wal.local,
        inspect: (head, sizeBytes) => this.#inspect(wal, head, sizeBytes),
      },
    )
    if (uploaded.outcome === 'exists') {
      await this.#compareWith(wal, uploaded)
      return
    }
    this.#tally.addUploaded(wal.file.name, uploaded.sizeBytes)
  }

  /** Refuses what is not final and what belongs to another cluster, before a byte of it is sent. */
  #inspect(wal: LocalWal, head: Buffer, sizeBytes: number): void {
    const content: WalContent = inspectWalHead(head.subarray(0, WAL_HEAD_BYTES))
    const reason = whyNotFinal({
      file: wal.file, sizeBytes, content, segmentSizeBytes: this.#segmentSizeBytes,
      isPassive: this.#isPassive(), hasXlogDbLine: this.#xlogDbNames.has(wal.file.name),
    })
    if (reason === 'growing') {
      throw new NotFinalError(`${sizeBytes} bytes are not a whole segment: it is still being written, or its copy was broken off`)
    }
    if (reason === 'waiting-for-xlog.db') throw new NotFinalError('on a passive node it is final once xlog.db names it')
    const {systemId} = this.#identity
    if (wal.file.kind === 'segment' && content.type === 'plain' && content.systemId && systemId && content.systemId !== systemId) {
      throw new ConflictError(`"${wal.path}" was written by the cluster with system identifier ${content.systemId}, this server is ${systemId}; it was not uploaded`, {
        hint: 'find out how it came into this archive, and move it away',
      })
    }
  }

  /** The listed object has another size, or the file was touched after it was stored: its content decides. */
  async #compare(wal: LocalWal): Promise<void> {
    const {pool, hashes, partSizeBytes, signal} = this.#context
    let isEqual = false
    try {
      this.#inspect(wal, await readHead(wal), wal.local.sizeBytes)
      await this.#compareWith(wal, await digestFile({pool, hashes, partSizeBytes, signal}, {path: wal.path, shownPath: wal.path, expected: wal.local}))
      isEqual = true
    } finally {
      this.#notes?.add(wal.relativePath, wal.local.ctimeNs, isEqual)
    }
  }

  async #compareWith(wal: LocalWal, content: {sizeBytes: number; crc32c: number}): Promise<void> {
    await checkSameContent(this.#context, wal, content)
    this.#tally.alreadyThere++
  }

  async #handleLocalFault(name: string, error: LocalFileError): Promise<void> {
    if (error.fault === 'changed') {
      this.#tally.left.add(name, messageOf(error))
    } else if (error.fault === 'unreadable') {
      this.#fail(name, error)
    } else if (await this.#needed.isNeeded(name)) {
      this.#tally.lost.add(name, 'removed by Barman before it was copied, but a backup in S3 needs it to go on from its end',
        'nothing can be restored beyond this gap: take a new base backup')
      this.#context.progress.fail(`${name}: removed before it was copied, and a backup in S3 needs it`)
    } else {
      this.#tally.vanished.add(name, "removed by Barman's retention")
    }
  }

  #isPassive(): boolean {
    return this.#context.server.isPassive ?? !this.#identity.hasIdentityFile
  }

  #result(planned: readonly PlannedWal[], failure: BarmansError | undefined): WalSyncResult {
    return this.#tally.result(this.#context.server.name, planned, failure, this.#options.isDryRun)
  }
}

/** Left for a later run. */
class NotFinalError extends Error {}

/** The segment size as the newest backup that says it has it. */
function newestSegmentSize(catalog: BarmanCatalog | undefined): number | undefined {
  return catalog?.backups.findLast((backup) => backup.info?.beginTime && backup.info.xlogSegmentSizeBytes)?.info?.xlogSegmentSizeBytes
}

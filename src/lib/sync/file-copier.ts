import {hash} from 'node:crypto'
import {crc32c} from '@node-rs/crc32'
import {formatBackupPath, type BackupPath} from '../archive/backup-path.ts'
import type {FileEntry, ManifestEntry, ManifestObject} from '../archive/manifest.ts'
import {PACKED_FILE_BYTES} from '../archive/pack.ts'
import {ConflictError} from '../errors.ts'
import type {Later} from './concurrency.ts'
import type {CopySources} from './copy-sources.ts'
import type {SentData} from './data-request.ts'
import {sendData} from './data-upload.ts'
import type {EarlierFile, FilePlan} from './file-plan.ts'
import type {JournalLine, StoredIn} from './journal-line.ts'
import {compareLocalStat} from './local-stat.ts'
import {digestFile, type FileContent} from './open-file.ts'
import {PackWriter} from './pack-writer.ts'
import {mtimeMetadata} from './part-sender.ts'
import type {ServerContext} from './server-context.ts'
import {SmallFileReader} from './small-files.ts'
import {localPath, type WalkedEntry} from './tree-walk.ts'
import {FRAME_BYTES} from './zstd.ts'

export type WalkedFile = Extract<WalkedEntry, {type: 'file'}>
type WalkedOther = Extract<WalkedEntry, {type: 'directory' | 'symlink' | 'special'}>

/** Carries out the plan for one entry after the other: packs, sends, refers, copies inside S3. */
export class FileCopier {
  readonly #context: ServerContext
  readonly #sources: CopySources
  readonly #packs: PackWriter
  readonly #small = new SmallFileReader()
  readonly #packing = new Set<Promise<void>>()
  readonly #later = new Set<Promise<unknown>>()

  constructor(context: ServerContext, sources: CopySources) {
    this.#context = context
    this.#sources = sources
    const {store, keys, pool, hashes, signal} = context
    const {journal, backupId, guarded} = sources
    this.#packs = new PackWriter({
      store, keys, pool, hashes, signal, onStored: async (pack) => await journal.packs.add(pack),
    }, backupId, (number) => journal.packs.get(number) !== undefined || guarded.find(keys.relative(keys.pack(backupId, number))) !== undefined)
  }

  /** Sends the pack that holds this entry, should it still be waiting for more. */
  hurry(path: BackupPath): void {
    this.#packs.flushIfHolds(path)
  }

  /** Sends the last pack, when the walk has ended and everything that belongs into packs is in one. */
  async finishPacks(): Promise<void> {
    while (this.#packing.size > 0) await Promise.allSettled(this.#packing)
    this.#packs.flush()
  }

  /** Ends what is under way; nothing is noted any more afterwards. */
  async close(): Promise<void> {
    await this.#packs.close()
    await Promise.allSettled(this.#later)
  }

  /** A directory, link or special file. */
  async copyOther(found: WalkedOther, known: JournalLine | undefined): Promise<JournalLine | Later<JournalLine>> {
    const {local, ...entry} = found
    if (entry.type === 'special') {
      this.#context.progress.warn(`${formatBackupPath(entry.path)} is a ${entry.kind}: noted, not copied`)
      return {entry, local}
    }
    if (this.#context.base.layout === 'mirror') return {entry, local}
    if (known && isSameOther(known.entry, entry) && this.#isStored(known.stored)) return {entry, local, stored: known.stored!}
    const {stored} = await this.#pack(this.#packs.add({...entry, sizeBytes: 0}))
    return this.#comesLater(stored.then(async ({number}) => {
      const line: JournalLine = {entry, local, stored: {pack: number}}
      await this.#sources.journal.noteSent(line)
      return line
    }))
  }

  /** What an earlier run sent is sent for good, if the file is still the same. Device numbers may change with a reboot. */
  async reuse(found: WalkedFile, known: JournalLine | undefined): Promise<JournalLine | undefined> {
    if (known?.entry.type !== 'file' || !this.#isUsable(found, known)) return undefined
    const verdict = compareLocalStat(known.local, found.local, {ignoreDevice: true})
    if (verdict === 'changed') return undefined
    // The mode stands in the pack, too.
    if (known.stored?.pack !== undefined && known.entry.mode !== found.mode) return undefined
    if (verdict === 'unclear' && (await this.#digest(found)).sha256 !== known.entry.sha256) return undefined
    this.#sources.totals.skip(found.sizeBytes)
    const {path, mode, mtimeNs} = found
    return {entry: {...known.entry, path, mode, mtimeNs}, local: found.local, ...(known.stored ? {stored: known.stored} : {})}
  }

  #isUsable(found: WalkedFile, {entry, stored}: JournalLine): boolean {
    if (entry.type !== 'file') return false
    if (stored?.voucher !== undefined) return stored.object !== undefined && this.#sources.earlier.isUsable(stored.object, stored.voucher)
    if (stored?.pack !== undefined) return this.#isStored(stored)
    const {plain, compressed} = this.#ownKeys(found)
    return entry.object === plain || entry.object === compressed
  }

  #isStored(stored: StoredIn | undefined): boolean {
    return stored?.pack !== undefined && this.#sources.journal.packs.isEarlier(stored.pack)
  }

  async copy(found: WalkedFile, plan: FilePlan): Promise<JournalLine | Later<JournalLine>> {
    if (plan.action === 'pack') return await this.#packFile(found)
    const kept = await this.#keepProtected(found)
    if (kept) return kept
    if (plan.action === 'use') return (await this.#use(found, plan.earlier)) ?? (await this.#send(found))
    if (plan.action === 'compare') return await this.#compare(found, plan.earlier)
    return await this.#send(found)
  }

  async #packFile(found: WalkedFile): Promise<Later<JournalLine>> {
    const {root, journal} = this.#sources
    const {path, mode, mtimeNs, sizeBytes} = found
    let facts = {crc32c: 0, sha256: ''}
    const packing = this.#small.prepare(localPath(root, path), formatBackupPath(path), found.local).then(async (fill) =>
      await this.#packs.add({type: 'file', path, mode, mtimeNs, sizeBytes}, (target) => {
        fill(target)
        facts = {crc32c: crc32c(target), sha256: hash('sha256', target, 'hex')}
      }))
    const {stored} = await this.#pack(packing)
    return this.#comesLater(stored.then(async ({number, object, offset}) => {
      const line: JournalLine = {entry: this.#entry(found, facts, object, offset), local: found.local, stored: {pack: number}}
      this.#context.progress.advance({bytes: sizeBytes})
      await journal.noteSent(line)
      return line
    }))
  }

  #comesLater(later: Promise<JournalLine>): Later<JournalLine> {
    const ended: Promise<unknown> = later.then(() => undefined, () => undefined).finally(() => this.#later.delete(ended))
    this.#later.add(ended)
    return {later}
  }

  /** Remembers who is still on the way into a pack, so that the last one is not sent without them. */
  async #pack<Result>(packing: Promise<Result>): Promise<Result> {
    const settled: Promise<void> = packing.then(() => undefined, () => undefined).finally(() => this.#packing.delete(settled))
    this.#packing.add(settled)
    return await packing
  }

  /** The earlier object in the place of one of its own; undefined when that cannot be. */
  async #use(found: WalkedFile, {entry, object, backupId}: EarlierFile & {readonly object: ManifestObject}): Promise<JournalLine | undefined> {
    const {store, keys, signal, base: {layout}} = this.#context
    const {journal, totals} = this.#sources
    let line: JournalLine
    if (layout === 'compact') {
      line = {entry: this.#entry(found, entry, object.key), local: found.local, stored: {object, voucher: backupId}}
    } else {
      const {plain} = this.#ownKeys(found)
      const isThere = await store.copy(keys.absolute(object.key), keys.absolute(plain), {
        kind: 'base', metadata: mtimeMetadata(found.mtimeNs), signal,
      })
      if (!isThere) return undefined
      line = {entry: this.#entry(found, entry, plain), local: found.local}
    }
    totals.skip(found.sizeBytes)
    await journal.noteSent(line)
    return line
  }

  /** Reads the file: with the content of the earlier one it need not be sent. */
  async #compare(found: WalkedFile, earlier: EarlierFile & {readonly object: ManifestObject}): Promise<JournalLine> {
    const isEqual = ({sha256}: FileContent) => sha256 === earlier.entry.sha256
    if (found.sizeBytes > Math.min(FRAME_BYTES, this.#context.partSizeBytes)) {
      const used = isEqual(await this.#digest(found)) ? await this.#use(found, earlier) : undefined
      return used ?? (await this.#send(found))
    }
    const sent = await this.#sendFile(found, isEqual)
    if (sent.object) return await this.#noteSent(found, sent)
    return (await this.#use(found, earlier)) ?? (await this.#send(found))
  }

  async #send(found: WalkedFile): Promise<JournalLine> {
    return await this.#noteSent(found, await this.#sendFile(found))
  }

  async #sendFile(found: WalkedFile, isKnown?: (content: FileContent) => boolean): Promise<SentData> {
    const {store, keys, pool, frames, hashes, partSizeBytes, signal, progress, base} = this.#context
    const {plain, compressed} = this.#ownKeys(found)
    return await sendData(
      {store, pool, frames, hashes, partSizeBytes, signal, onBytes: (bytes) => progress.advance({bytes})},
      {
        path: localPath(this.#sources.root, found.path), shownPath: formatBackupPath(found.path), expected: found.local,
        plainKey: keys.absolute(plain), uploads: this.#sources.uploads,
        ...(compressed === undefined || base.compression === 'none' ? {} : {compressed: {key: keys.absolute(compressed), level: base.compressionLevel}}),
        ...(isKnown ? {isKnown} : {}),
      },
    )
  }

  async #noteSent(found: WalkedFile, {content, object, local}: SentData): Promise<JournalLine> {
    const {keys, base: {layout}} = this.#context
    if (!object) throw new Error('nothing was sent')
    const stored = {...object, key: keys.relative(object.key)}
    const line = {entry: this.#entry(found, content, stored.key), local, ...(layout === 'compact' ? {stored: {object: stored}} : {})}
    await this.#sources.journal.noteSent(line, {isDear: found.sizeBytes >= PACKED_FILE_BYTES})
    return line
  }

  /** @throws ConflictError when other backups refer to what lies there, and it is something else */
  async #keepProtected(found: WalkedFile): Promise<JournalLine | undefined> {
    const {plain, compressed} = this.#ownKeys(found)
    const kept = this.#sources.guarded.find(plain, ...(compressed === undefined ? [] : [compressed]))
    if (!kept) return undefined
    const content = await this.#digest(found)
    if (content.sha256 !== kept.sha256) {
      throw new ConflictError(`"${kept.object.key}" holds another content than ${formatBackupPath(found.path)}, and other backups refer to it; it was not replaced`, {
        hint: 'the backup on Barman\'s disk is not what it was when it was first copied: look at that file, and keep the backups that refer to it',
      })
    }
    this.#sources.totals.skip(found.sizeBytes)
    const line = {entry: this.#entry(found, content, kept.object.key), local: found.local, stored: {object: kept.object}}
    await this.#sources.journal.noteSent(line)
    return line
  }

  async #digest(found: WalkedFile): Promise<FileContent> {
    const {pool, hashes, partSizeBytes, signal} = this.#context
    return await digestFile({pool, hashes, partSizeBytes, signal}, {
      path: localPath(this.#sources.root, found.path), shownPath: formatBackupPath(found.path), expected: found.local,
    })
  }

  #entry(found: WalkedFile, content: {sha256: string; crc32c: number}, object: string, offset?: number): FileEntry {
    const {path, mode, mtimeNs, sizeBytes} = found
    return {
      type: 'file', path, mode, mtimeNs, sizeBytes, sha256: content.sha256, crc32c: content.crc32c, object, ...(offset === undefined ? {} : {offset}),
    }
  }

  /** Keys of the file's own object, relative to the server's prefix; `compressed` only in layout compact. */
  #ownKeys({path}: WalkedFile): {plain: string; compressed: string | undefined} {
    const {keys, base: {layout}} = this.#context
    const {backupId} = this.#sources
    if (layout === 'mirror') return {plain: keys.relative(keys.data(backupId, path)), compressed: undefined}
    return {
      plain: keys.relative(keys.compactData(backupId, path, {isCompressed: false})),
      compressed: keys.relative(keys.compactData(backupId, path, {isCompressed: true})),
    }
  }
}

function isSameOther(known: ManifestEntry, entry: Exclude<ManifestEntry, FileEntry>): boolean {
  if (known.type !== entry.type || known.mode !== entry.mode || known.mtimeNs !== entry.mtimeNs) return false
  return known.type !== 'symlink' || (entry.type === 'symlink' && known.target === entry.target)
}

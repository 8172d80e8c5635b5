import {createHash} from 'node:crypto'
import type {ManifestEntry} from '../archive/manifest.ts'
import type {JournalLine} from './journal-line.ts'
import type {ServerContext} from './server-context.ts'

/** How many keys are held in memory at a time when a difference has to be found. */
const KEYS_IN_MEMORY = 100_000
const MAX_NAMED = 20

export interface ListingDifference {
  /** Objects of the manifest that are missing or of another size; the first of them named. */
  readonly missing: {readonly count: number; readonly keys: readonly string[]}
  /** Objects below `base/<id>/` that the manifest does not know. */
  readonly foreign: {readonly count: number; readonly keys: readonly string[]}
}

/**
 * Compares what the bucket lists below `base/<id>/` with what was copied, by key and size. The store may list in any
 * order and both sides may be millions, so both are folded into one number that does not depend on the order; only when
 * these differ are keys compared one by one, a bounded share at a time.
 * @param copied the journal, read as often as needed
 * @returns undefined when both agree
 */
export async function compareListing(
  context: ServerContext, backupId: string, copied: () => AsyncIterable<JournalLine>, keysInMemory = KEYS_IN_MEMORY,
): Promise<ListingDifference | undefined> {
  const expected = await foldCopied(copied())
  const listed = await foldListed(context, backupId)
  if (expected.count === listed.count && expected.sum === listed.sum) return undefined
  const shares = Math.max(1, Math.ceil(Math.max(expected.count, listed.count) / keysInMemory))
  const missing = new Counted()
  const foreign = new Counted()
  for (let share = 0; share < shares; share++) {
    const sizes = new Map<string, number>()
    for await (const {key, sizeBytes} of objectsOf(copied())) if (shareOf(key, shares) === share) sizes.set(key, sizeBytes)
    for await (const {key, sizeBytes} of listData(context, backupId)) {
      if (shareOf(key, shares) !== share) continue
      const wanted = sizes.get(key)
      if (wanted === undefined) foreign.add(key)
      else if (wanted === sizeBytes) sizes.delete(key)
    }
    for (const key of sizes.keys()) missing.add(key)
  }
  return {missing, foreign}
}

class Counted {
  count = 0
  readonly keys: string[] = []

  add(key: string): void {
    this.count++
    if (this.keys.length < MAX_NAMED) this.keys.push(key)
  }
}

interface Fold {
  readonly count: number
  readonly sum: bigint
}

async function foldCopied(copied: AsyncIterable<JournalLine>): Promise<Fold> {
  return await fold(objectsOf(copied))
}

async function foldListed(context: ServerContext, backupId: string): Promise<Fold> {
  return await fold(listData(context, backupId))
}

async function fold(objects: AsyncIterable<{key: string; sizeBytes: number}>): Promise<Fold> {
  let count = 0
  let sum = 0n
  for await (const {key, sizeBytes} of objects) {
    count++
    sum = (sum + digest(key, sizeBytes)) & 0xffff_ffff_ffff_ffff_ffff_ffff_ffff_ffffn
  }
  return {count, sum}
}

/** A number that another key or size does not have, except by a chance of 2^-128. */
function digest(key: string, sizeBytes: number): bigint {
  const bytes = createHash('sha256').update(`${key}\0${sizeBytes}`).digest()
  return (bytes.readBigUInt64BE(0) << 64n) | bytes.readBigUInt64BE(8)
}

function shareOf(key: string, shares: number): number {
  return shares === 1 ? 0 : createHash('sha256').update(key).digest().readUInt32BE() % shares
}

async function* objectsOf(copied: AsyncIterable<JournalLine>): AsyncGenerator<{key: string; sizeBytes: number}> {
  for await (const {entry} of copied) if (isFile(entry)) yield {key: entry.object, sizeBytes: entry.sizeBytes}
}

function isFile(entry: ManifestEntry): entry is Extract<ManifestEntry, {type: 'file'}> {
  return entry.type === 'file'
}

/** The data objects of a backup, keys relative to the server's prefix; Barman's metadata in `base/<id>/` is no data. */
async function* listData({store, keys, signal}: ServerContext, backupId: string): AsyncGenerator<{key: string; sizeBytes: number}> {
  for await (const {key, sizeBytes} of store.list(keys.dataPrefix(backupId), {signal})) {
    if (keys.classify(key).type === 'data') yield {key: keys.relative(key), sizeBytes}
  }
}

import {createHash} from 'node:crypto'
import {ownerOfObject, type ManifestObject} from '../archive/manifest.ts'
import {ObjectFold} from './copy-summary.ts'
import type {ServerContext} from './server-context.ts'

/** How many keys are held in memory at a time when a difference has to be found. */
const KEYS_IN_MEMORY = 100_000
const MAX_NAMED = 20
/** So many lost references are remembered one by one; more cost the whole backup that owns them. */
const MAX_GONE = 10_000

export interface ListingDifference {
  /** Objects of the backup that are missing or of another size; the first of them named. */
  readonly missing: {readonly count: number; readonly keys: readonly string[]}
  /** Objects below `base/<id>/` that the manifest does not know. */
  readonly foreign: {readonly count: number; readonly keys: readonly string[]}
}

export interface ExpectedObjects {
  /** The backup's own objects. */
  readonly expected: ObjectFold
  /** All objects of the manifest, those of earlier backups too, read as often as needed. */
  readonly objects: () => AsyncIterable<ManifestObject>
}

/**
 * Compares what the bucket lists below `base/<id>/` with what was copied, by key and size. The store may list in any
 * order and both sides may be millions, so both are folded into one number that does not depend on the order; only when
 * these differ are keys compared one by one, a bounded share at a time.
 * @returns undefined when both agree
 */
export async function compareListing(
  context: ServerContext, backupId: string, {expected, objects}: ExpectedObjects, keysInMemory = KEYS_IN_MEMORY,
): Promise<ListingDifference | undefined> {
  const listed = new ObjectFold()
  for await (const object of listData(context, backupId)) listed.add(object)
  if (expected.equals(listed)) return undefined
  const own = () => filter(objects(), ({key}) => ownerOfObject(key) === backupId)
  const shares = Math.max(1, Math.ceil(Math.max(expected.count, listed.count) / keysInMemory))
  const missing = new Counted()
  const foreign = new Counted()
  for (let share = 0; share < shares; share++) {
    const sizes = new Map<string, number>()
    for await (const {key, sizeBytes} of own()) if (shareOf(key, shares) === share) sizes.set(key, sizeBytes)
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

/** Objects of earlier backups that are gone, or of another size. */
export interface GoneReferences {
  readonly count: number
  /** The first of them; when there are more, `owners` has all backups concerned. */
  readonly keys: readonly string[]
  readonly owners: readonly string[]
}

/** Compares the objects of earlier backups that a backup refers to with what the bucket lists of those backups. */
export async function findGoneReferences(
  context: ServerContext, backupId: string, objects: () => AsyncIterable<ManifestObject>, keysInMemory = KEYS_IN_MEMORY,
): Promise<GoneReferences> {
  const referenced = () => filter(objects(), ({key}) => ownerOfObject(key) !== backupId)
  let total = 0
  const owners = new Set<string>()
  for await (const {key} of referenced()) {
    total++
    owners.add(ownerOfObject(key) ?? '')
  }
  const shares = Math.max(1, Math.ceil(total / keysInMemory))
  const gone = new Counted(MAX_GONE)
  const goneOwners = new Set<string>()
  for (let share = 0; total > 0 && share < shares; share++) {
    const sizes = new Map<string, number>()
    for await (const {key, sizeBytes} of referenced()) if (shareOf(key, shares) === share) sizes.set(key, sizeBytes)
    for (const owner of owners) {
      for await (const {key, sizeBytes} of listData(context, owner)) if (sizes.get(key) === sizeBytes) sizes.delete(key)
    }
    for (const key of sizes.keys()) {
      gone.add(key)
      goneOwners.add(ownerOfObject(key) ?? '')
    }
  }
  return {count: gone.count, keys: gone.keys, owners: gone.count > MAX_GONE ? [...goneOwners] : []}
}

class Counted {
  count = 0
  readonly keys: string[] = []
  readonly #most: number

  constructor(most = MAX_NAMED) {
    this.#most = most
  }

  add(key: string): void {
    this.count++
    if (this.keys.length < this.#most) this.keys.push(key)
  }
}

function shareOf(key: string, shares: number): number {
  return shares === 1 ? 0 : createHash('sha256').update(key).digest().readUInt32BE() % shares
}

async function* filter<Item>(items: AsyncIterable<Item>, isWanted: (item: Item) => boolean): AsyncGenerator<Item, void, undefined> {
  for await (const item of items) if (isWanted(item)) yield item
}

/** The data objects of a backup, keys relative to the server's prefix; Barman's metadata in `base/<id>/` is no data. */
async function* listData({store, keys, signal}: ServerContext, backupId: string): AsyncGenerator<{key: string; sizeBytes: number}> {
  for await (const {key, sizeBytes} of store.list(keys.dataPrefix(backupId), {signal})) {
    if (keys.classify(key).type === 'data') yield {key: keys.relative(key), sizeBytes}
  }
}

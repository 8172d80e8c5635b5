import {StoreRefusedError} from '../errors.ts'
import {isHashDirectoryName, parseWalName} from '../barman/wal-name.ts'
import type {ArchiveKeys} from '../archive/keys.ts'
import type {ListedObject, ObjectStore} from '../store/object-store.ts'

/** Everything the bucket holds directly under one name of `wals/`: a hash directory, or one history file. */
interface ListedGroup {
  readonly name: string
  /** By path below `wals/`. */
  readonly objects: ReadonlyMap<string, ListedObject>
}

/**
 * Answers, for names of `wals/` asked in ascending order, what the bucket holds under them, with one LIST and the memory
 * of one hash directory. Names of WAL files sort alike in byte order and in folder order, so every store known serves.
 */
export class WalListing {
  readonly #groups: AsyncGenerator<ListedGroup, void, undefined>
  #current: ListedGroup | undefined
  #isDone = false

  /** @param firstName the smallest name that will be asked; what sorts before it is not listed */
  constructor(store: ObjectStore, keys: ArchiveKeys, firstName: string, signal: AbortSignal) {
    // The key of a history file is the name itself: begin just before it, and before everything inside a directory.
    const startAfter = `${keys.walsPrefix}${firstName.slice(0, -1)}`
    this.#groups = groupByName(store.list(keys.walsPrefix, {startAfter, signal}), keys.walsPrefix)
  }

  /** What is under `name`: objects by their path below `wals/`. */
  async under(name: string): Promise<ReadonlyMap<string, ListedObject>> {
    while (!this.#isDone && (!this.#current || this.#current.name < name)) {
      const next = await this.#groups.next()
      if (next.done) this.#isDone = true
      else this.#current = next.value
    }
    return !this.#isDone && this.#current?.name === name ? this.#current.objects : new Map()
  }

  /** Ends the listing early. */
  async close(): Promise<void> {
    await this.#groups.return()
  }
}

async function* groupByName(listed: AsyncIterable<ListedObject>, walsPrefix: string): AsyncGenerator<ListedGroup, void, undefined> {
  let name: string | undefined
  let objects = new Map<string, ListedObject>()
  for await (const object of listed) {
    const relativePath = object.key.slice(walsPrefix.length)
    const slash = relativePath.indexOf('/')
    const nextName = slash < 0 ? relativePath : relativePath.slice(0, slash)
    // Foreign names (`<hash dir>.old/`) sort between ours in ways that differ from store to store.
    if (!isHashDirectoryName(nextName) && parseWalName(nextName)?.kind !== 'history') continue
    if (nextName !== name) {
      if (name !== undefined) {
        if (nextName < name) {
          throw new StoreRefusedError(`the store lists "${walsPrefix}" out of order ("${nextName}" after "${name}")`, {
            storeCode: 'UnsortedListing', scope: 'run', hint: 'report this store and its version to the barmans3 project',
          })
        }
        yield {name, objects}
      }
      name = nextName
      objects = new Map()
    }
    objects.set(relativePath, object)
  }
  if (name !== undefined) yield {name, objects}
}

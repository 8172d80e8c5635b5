import {readdir} from 'node:fs/promises'
import type {BarmanCatalog} from '../barman/catalog.ts'
import {errnoOf} from '../errors.ts'
import {localStateErrorOf} from '../local/durable-file.ts'
import {journalDirectory, removeJournal} from './journal.ts'
import type {ServerContext} from './server-context.ts'

/**
 * Removes journals of backups that Barman no longer has: nobody will go on with them.
 * @throws LocalStateError
 */
export async function removeVanishedJournals(
  {stateDirectory, server}: Pick<ServerContext, 'stateDirectory' | 'server'>, catalog: BarmanCatalog,
): Promise<void> {
  const directory = journalDirectory(stateDirectory, server.name)
  let names: string[]
  try {
    names = await readdir(directory)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    throw localStateErrorOf(error, `cannot read the journals in ${directory}`)
  }
  const present = new Set<string>(catalog.backups.map(({id}) => id))
  for (const name of names) {
    const id = /^(\d{8}T\d{6})\.jsonl/.exec(name)?.[1]
    if (id !== undefined && !present.has(id)) await removeJournal(directory, id)
  }
}

import {UsageError} from '../errors.ts'
import {listTasks} from '../queue/task-list.ts'
import type {Wiring} from './wiring.ts'

/** @throws UsageError when backups are named without the server they are of */
export function checkBaseSyncFlags(server: string | undefined, backups: readonly string[] | undefined): void {
  if (backups && server === undefined) throw new UsageError('--backup needs the server the backup is of', {hint: 'barmans3 base sync SERVER --backup ID'})
}

/**
 * The servers of a base sync: the one named, else those with tasks in the queue and, unless only the queue is wanted,
 * every server that Barman or the configuration knows.
 */
export async function baseServerNames(wiring: Wiring, server: string | undefined, {queueOnly}: {queueOnly: boolean}): Promise<string[]> {
  if (server !== undefined) return [server]
  const {tasks, broken} = await listTasks(wiring.queueDirectory, wiring.clock.now())
  const names = new Set([...tasks.filter(({state}) => state === 'run' || state === 'running'), ...broken].flatMap((entry) => entry.server ?? []))
  if (!queueOnly) for (const name of await wiring.servers.names()) names.add(name)
  return [...names].sort()
}

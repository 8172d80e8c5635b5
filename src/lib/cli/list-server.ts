import {serverFromDirectories} from '../barman/server-directories.ts'
import {BarmanFilesError, UsageError, messageOf} from '../errors.ts'
import {listBase, type BaseListResult} from '../sync/base-list.ts'
import type {Wiring} from './wiring.ts'

/**
 * The backups of one server, also on a host where Barman does not know it: after a disaster the bucket is all there is.
 * @throws the reason why Barman does not know it, when the bucket does not either
 */
export async function listServer(wiring: Wiring, name: string): Promise<BaseListResult> {
  let unknown: UsageError | undefined
  const context = await wiring.open(name, {
    isReadOnly: true,
    unknownServer(error) {
      unknown = error
      return serverFromDirectories(name, {directory: '/nonexistent'})
    },
  })
  const result = await listBase(context)
  if (result.backups.length === 0 && !result.isCatalogRead) {
    throw unknown ?? new UsageError(`server "${name}" is known neither here nor in ${context.archiveUri}`, {
      cause: new BarmanFilesError(result.problems[0] ?? 'no catalogue'), hint: result.problems.map((problem) => messageOf(problem)).join('; '),
    })
  }
  return result
}

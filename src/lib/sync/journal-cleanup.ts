import {readdir} from 'node:fs/promises'
import {parseBackupId} from '../barman/backup-id.ts'
import {readBackup, type BarmanCatalog} from '../barman/catalog.ts'
import {errnoOf} from '../errors.ts'
import {localStateErrorOf} from '../local/durable-file.ts'
import {readStartedMarker} from './claim.ts'
import {journalDirectory, removeJournal} from './journal.ts'
import type {ServerContext} from './server-context.ts'
import {giveUpUploads, uploadsDirectory} from './upload-access.ts'

/**
 * Removes what nobody will go on with: journals and open uploads of backups that Barman no longer has, and uploads that
 * nothing was added to for `transfer.abandonAfter`. Only what this installation has noted; uploads of others are theirs.
 * @throws LocalStateError, errors of the store as they are
 */
export async function removeStaleJournals(context: ServerContext, catalog: BarmanCatalog): Promise<void> {
  const {stateDirectory, server, store, clock, abandonAfterMs, progress, archiveUri, writer} = context
  const directory = journalDirectory(stateDirectory, server.name)
  const present = new Set<string>(catalog.backups.map(({id}) => id))
  const onlyBefore = new Date(clock.now().getTime() - abandonAfterMs)
  for (const id of await listBackupIds(directory)) {
    // One that came after the catalogue was read is not gone.
    const isGone = !present.has(id) && !(await isThere(context, id))
    const keys = await giveUpUploads(store, uploadsDirectory(directory, id), {
      onlyBefore: isGone ? undefined : onlyBefore,
      // Another installation may have taken the backup over meanwhile, and be sending this very key.
      isOurs: async ({binding}) => binding.archiveUri === archiveUri && (await readStartedMarker(context, id))?.writer.id === writer.id,
    })
    if (keys.length > 0) {
      progress.event('uploads given up', {
        backup: id, count: keys.length, reason: isGone ? 'Barman has deleted the backup' : 'nothing was added for transfer.abandonAfter',
      })
    }
    if (isGone) await removeJournal(directory, id)
  }
}

async function isThere({server}: ServerContext, text: string): Promise<boolean> {
  const id = parseBackupId(text)
  return id !== undefined && (await readBackup(server, id)) !== undefined
}

/** Backups of which anything is noted here. */
async function listBackupIds(directory: string): Promise<Set<string>> {
  try {
    const names = await readdir(directory)
    return new Set(names.flatMap((name) => /^(\d{8}T\d{6})\./.exec(name)?.[1] ?? []))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return new Set()
    throw localStateErrorOf(error, `cannot read the journals in ${directory}`)
  }
}

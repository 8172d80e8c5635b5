import {randomUUID} from 'node:crypto'
import {formatStartedMarker, parseStartedMarker, type StartedMarker} from '../archive/markers.ts'
import {sameIdentity, type BackupIdentity} from '../barman/backup-info.ts'
import {ConflictError, LockedError} from '../errors.ts'
import {MAX_DOCUMENT_BYTES, inconsistent} from './remote-identity.ts'
import type {ServerContext} from './server-context.ts'

export interface ClaimRequest {
  readonly backupId: string
  readonly identity: BackupIdentity
  /** Data and `backup.info` that no barmans3 had announced lie there already. */
  readonly hadLegacyData: boolean
  /** Take over what another installation began, because it is known to have stopped. */
  readonly adopt: boolean
  /** Whether a marker was listed: what was not is written on condition, and only then asked for. */
  readonly isListed: boolean
}

export interface Claim {
  readonly marker: StartedMarker
  /** Nobody has begun to copy this backup before. */
  readonly isFirst: boolean
}

/**
 * Announces in S3 that this run copies a backup, before its first byte. From then on the backup's data and manifest are
 * ours to write, until a record exists.
 * @throws ConflictError when the marker is of another backup under the same id
 * @throws LockedError when another installation has announced it, naming host and time
 */
export async function claimBackup(context: ServerContext, request: ClaimRequest): Promise<Claim> {
  const {store, keys, signal, clock, writer, server} = context
  const key = keys.started(request.backupId)
  const present = request.isListed ? await readStartedMarker(context, request.backupId) : undefined
  const marker: StartedMarker = {
    server: server.name,
    backupId: request.backupId,
    identity: request.identity,
    writer,
    attempt: randomUUID(),
    startedAt: clock.now().toISOString(),
    hadLegacyData: present?.hadLegacyData ?? request.hadLegacyData,
  }
  if (!present) {
    const outcome = await store.put(key, formatStartedMarker(marker), {kind: 'meta', contentType: 'application/json', ifAbsent: true, signal})
    if (outcome === 'stored') return {marker, isFirst: true}
    // Another host announced it at this very moment: judge its marker instead.
    if (!(await readStartedMarker(context, request.backupId))) throw inconsistent(key)
    return await claimBackup(context, {...request, isListed: true})
  }
  if (!sameIdentity(present.identity, request.identity)) {
    throw new ConflictError(
      `backup ${request.backupId} is being copied to ${context.archiveUri} from another Barman: same id, other backup `
      + `(begun ${present.identity.beginTime ?? '?'} there, ${request.identity.beginTime ?? '?'} here)`, {
        hint: 'give one of the two servers another place: set servers.<name>.uri',
      })
  }
  if (present.writer.id !== writer.id && !request.adopt) {
    throw new LockedError(`backup ${request.backupId} is being copied by ${present.writer.host} since ${present.startedAt}`, {
      hint: `if that host has stopped for good: barmans3 base sync ${server.name} --backup ${request.backupId} --adopt`,
    })
  }
  await store.put(key, formatStartedMarker(marker), {kind: 'meta', contentType: 'application/json', signal})
  return {marker, isFirst: false}
}

/** The started marker of a backup, undefined if there is none. */
export async function readStartedMarker(
  {store, keys, signal}: Pick<ServerContext, 'store' | 'keys' | 'signal'>, backupId: string,
): Promise<StartedMarker | undefined> {
  const key = keys.started(backupId)
  const bytes = await store.get(key, {maxBytes: MAX_DOCUMENT_BYTES, signal})
  return bytes && parseStartedMarker(bytes, key)
}

/**
 * Makes sure that the backup is still ours to finish.
 * @throws LockedError when another run or installation has taken it over
 */
export async function checkClaim(context: ServerContext, marker: StartedMarker): Promise<void> {
  const present = await readStartedMarker(context, marker.backupId)
  if (present?.writer.id === marker.writer.id && present.attempt === marker.attempt) return
  throw new LockedError(
    present
      ? `backup ${marker.backupId} was taken over by ${present.writer.host} at ${present.startedAt}`
      : `the started marker of backup ${marker.backupId} was removed by somebody`, {
      hint: 'nothing was recorded; see `barmans3 base ls`, then run again',
    })
}

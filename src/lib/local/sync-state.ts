import {join} from 'node:path'
import {messageOf} from '../errors.ts'
import {ensureDirectory, writeDurably} from './durable-file.ts'
import {isJsonObject, readJsonFile, type JsonFile} from './json-file.ts'
import {fileNameForServer} from './server-file-name.ts'

/** How a bucket treats `If-None-Match: *`: by itself (`native`), or it must be asked by HEAD first. */
export type ConditionalPut = 'native' | 'head-first'

/**
 * What was learnt about one server's archive. A cache: losing it costs time and nothing else.
 * Fields that this version does not know stay in the document when it is written again.
 */
export interface SyncState {
  readonly version: 1
  /** By `<endpoint>/<bucket>`. */
  readonly conditionalPut: Readonly<Record<string, ConditionalPut>>
  readonly [unknownField: string]: unknown
}

export interface ReadSyncState {
  readonly state: SyncState
  /** Why a document that is there was not used. */
  readonly warning: string | undefined
}

/** The state of a server about which nothing is known yet. */
export const EMPTY_SYNC_STATE: SyncState = {version: 1, conditionalPut: {}}

/** Reads `<state>/<server>.state.json`. Never throws: what cannot be used counts as absent and is named in `warning`. */
export async function readSyncState(stateDirectory: string, server: string): Promise<ReadSyncState> {
  const path = pathOf(stateDirectory, server)
  let file: JsonFile
  try {
    file = await readJsonFile(path)
  } catch (error) {
    file = {type: 'broken', reason: messageOf(error)}
  }
  if (file.type === 'absent') return {state: EMPTY_SYNC_STATE, warning: undefined}
  if (file.type === 'broken') return unusable(path, file.reason)
  const {value} = file
  if (!isJsonObject(value)) return unusable(path, 'not a JSON object')
  if (value['version'] !== 1) return unusable(path, 'not version 1 of this document')
  return {state: {...value, version: 1, conditionalPut: parseConditionalPut(value['conditionalPut'])}, warning: undefined}
}

/**
 * Replaces `<state>/<server>.state.json` durably.
 * @throws {LocalStateError} it cannot be written; the old document is untouched
 */
export async function writeSyncState(stateDirectory: string, server: string, state: SyncState): Promise<void> {
  await ensureDirectory(stateDirectory)
  await writeDurably(pathOf(stateDirectory, server), `${JSON.stringify(state, undefined, 2)}\n`)
}

function pathOf(stateDirectory: string, server: string): string {
  return join(stateDirectory, `${fileNameForServer(server)}.state.json`)
}

function unusable(path: string, reason: string): ReadSyncState {
  return {state: EMPTY_SYNC_STATE, warning: `${path} is not used and will be written anew: ${reason}`}
}

function parseConditionalPut(value: unknown): Readonly<Record<string, ConditionalPut>> {
  const known: Record<string, ConditionalPut> = {}
  if (!isJsonObject(value)) return known
  for (const [bucket, answer] of Object.entries(value)) {
    if (answer === 'native' || answer === 'head-first') known[bucket] = answer
  }
  return known
}

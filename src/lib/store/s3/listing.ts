import {ListMultipartUploadsCommand, ListObjectsV2Command, type ListObjectsV2CommandOutput} from '@aws-sdk/client-s3'
import {StoreRefusedError} from '../../errors.ts'
import {compareKeys} from '../key-order.ts'
import type {ListedObject, ObjectKey} from '../object-store.ts'
import type {Connection} from './client.ts'

/** Pages without anything new in them that are followed before a listing is given up. */
const MAX_EMPTY_PAGES = 1000

/**
 * All objects below `prefix`, page by page, each page checked and sorted by bytes. See ObjectStore.list.
 */
export async function* listObjects(
  connection: Connection,
  prefix: string,
  {startAfter, signal}: {startAfter?: string; signal?: AbortSignal},
): AsyncIterable<ListedObject> {
  // Every key with the prefix sorts before it: nothing can follow.
  if (startAfter !== undefined && compareKeys(startAfter, prefix) > 0 && !startAfter.startsWith(prefix)) return
  const from = startAfter !== undefined && compareKeys(startAfter, prefix) >= 0 ? startAfter : undefined
  for await (const page of listPages(connection, {prefix, startAfter: from && safeStartAfter(prefix, from), signal})) {
    const objects = (page.Contents ?? []).map((entry) => readEntry(connection, prefix, page, entry))
    yield* objects.filter(({key}) => from === undefined || compareKeys(key, from) > 0).sort((a, b) => compareKeys(a.key, b.key))
  }
}

/**
 * What can be sent as StartAfter so that no store leaves out a key that sorts after `startAfter`; undefined for nothing.
 * What comes too early is filtered here. Seen on SeaweedFS: it lists in folder order, where `/` is the lowest character,
 * so after `a-b` it does not name `a/x`; and after `a` it passes over the whole folder `a`. Up to the first character
 * below `/` both orders agree, and one character less keeps the folder. Nothing before the prefix is sent: garage
 * answers that with an empty list.
 */
export function safeStartAfter(prefix: string, startAfter: string): string | undefined {
  const rest = startAfter.slice(prefix.length)
  const end = rest.search(/[\u0000-.]/)
  // The last character goes as a whole: half of a surrogate pair is no character.
  const safe = prefix + (end < 0 ? rest : rest.slice(0, end)).replace(/[^/]$/u, '')
  return safe === prefix ? undefined : safe
}

/** Names directly below `prefix`. See ObjectStore.listDirectories. */
export async function listDirectoryNames(
  connection: Connection,
  prefix: string,
  {signal}: {signal?: AbortSignal},
): Promise<string[]> {
  const names = new Set<string>()
  for await (const page of listPages(connection, {prefix, delimiter: '/', signal})) {
    for (const entry of page.CommonPrefixes ?? []) {
      const path = decode(connection, page, entry.Prefix)
      if (!path.startsWith(prefix) || !path.endsWith('/'))
        throw malformed(connection, `it names ${JSON.stringify(path)}, which is not below ${prefix}`)
      const name = path.slice(prefix.length, -1)
      if (name !== '') names.add(name)
    }
  }

  return [...names].sort(compareKeys)
}

/** Ids of the multipart uploads open for exactly `key`. See ObjectStore.listUploads. */
export async function listUploadIds(
  connection: Connection,
  key: ObjectKey,
  {signal}: {signal?: AbortSignal},
): Promise<string[]> {
  const ids = new Set<string>()
  let marker: {KeyMarker?: string; UploadIdMarker?: string} = {}
  for (;;) {
    const page = await connection.sdk.send(
      new ListMultipartUploadsCommand({Bucket: connection.bucket, Prefix: key, EncodingType: 'url', ...marker}),
      {abortSignal: signal},
    )
    const before = ids.size
    for (const upload of page.Uploads ?? []) {
      if (upload.UploadId && decode(connection, page, upload.Key) === key) ids.add(upload.UploadId)
    }

    // Keys that only begin with ours come after ours, so a page with nothing of it is the end.
    if (!page.IsTruncated || ids.size === before || !page.NextKeyMarker) return [...ids]
    marker = {KeyMarker: decode(connection, page, page.NextKeyMarker), UploadIdMarker: page.NextUploadIdMarker || undefined}
  }
}

async function* listPages(
  connection: Connection,
  {prefix, startAfter, delimiter, signal}: {prefix: string; startAfter?: string; delimiter?: string; signal?: AbortSignal},
): AsyncIterable<ListObjectsV2CommandOutput> {
  const seen = new Set<string>()
  let token: string | undefined
  let emptyPages = 0
  for (;;) {
    const page = await connection.sdk.send(
      new ListObjectsV2Command({
        Bucket: connection.bucket,
        Prefix: prefix,
        EncodingType: 'url',
        ...(delimiter === undefined ? {} : {Delimiter: delimiter}),
        ...(startAfter === undefined ? {} : {StartAfter: startAfter}),
        ...(token === undefined ? {} : {ContinuationToken: token}),
      }),
      {abortSignal: signal},
    )
    assertPage(connection, prefix, page)
    yield page
    if (!page.IsTruncated) return
    token = page.NextContinuationToken
    if (!token) throw malformed(connection, 'it is cut (IsTruncated) and has no token to go on with')
    if (seen.has(token)) throw malformed(connection, 'it gives the same token to go on with twice')
    seen.add(token)
    // Remembers few tokens: a loop of a store is short, and a million keys have a thousand tokens.
    if (seen.size > 10_000) seen.clear()
    emptyPages = page.Contents?.length || page.CommonPrefixes?.length ? 0 : emptyPages + 1
    if (emptyPages > MAX_EMPTY_PAGES) throw malformed(connection, `it goes on after ${MAX_EMPTY_PAGES} empty pages`)
  }
}

function assertPage(connection: Connection, prefix: string, page: ListObjectsV2CommandOutput): void {
  if (page.Name !== undefined && page.Name !== connection.bucket) {
    throw malformed(connection, `it is of bucket ${JSON.stringify(page.Name)}`)
  }

  // Some stores encode the prefix they name, some do not.
  if (page.Prefix && page.Prefix !== prefix && decode(connection, page, page.Prefix) !== prefix) {
    throw malformed(connection, `it is of prefix ${JSON.stringify(page.Prefix)}`)
  }
}

function readEntry(
  connection: Connection,
  prefix: string,
  page: ListObjectsV2CommandOutput,
  entry: {Key?: string; Size?: number; LastModified?: Date},
): ListedObject {
  const key = decode(connection, page, entry.Key)
  if (!key.startsWith(prefix)) throw malformed(connection, `it holds ${JSON.stringify(key)}, which is not below ${prefix}`)
  if (entry.Size === undefined || !entry.LastModified)
    throw malformed(connection, `it gives no size or time for ${JSON.stringify(key)}`)
  return {key: key as ObjectKey, sizeBytes: entry.Size, lastModified: entry.LastModified}
}

function decode(connection: Connection, page: {EncodingType?: string}, text: string | undefined): string {
  if (text === undefined) throw malformed(connection, 'it has an entry without a name')
  if (page.EncodingType !== 'url') return text
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    throw malformed(connection, `it has a name that is not URL-encoded: ${JSON.stringify(text)}`)
  }
}

function malformed({place}: Connection, what: string): StoreRefusedError {
  return new StoreRefusedError(`the list of bucket ${place.bucket} cannot be believed: ${what}`, {
    storeCode: 'InvalidAnswer',
    scope: 'run',
    hint: 'check s3.endpoint; nothing was taken to be missing because of this list',
  })
}

/** What the contract asks of its callers. A breach is a bug of barmans3, so these throw TypeError and not a BarmansError. */

/** S3 takes 2 KiB of user metadata: the bytes of all keys and values (`x-amz-meta-` not counted). */
const MAX_METADATA_BYTES = 2048

/** Refuses metadata that some store would change or lose: keys outside `[a-z0-9-]`, values empty or not printable ASCII. */
export function assertMetadata(metadata: Readonly<Record<string, string>> | undefined): void {
  let sizeBytes = 0
  for (const [key, value] of Object.entries(metadata ?? {})) {
    if (!/^[a-z0-9-]+$/.test(key)) throw new TypeError(`metadata key not of [a-z0-9-]: ${JSON.stringify(key)}`)
    // Blanks at either end would be cut off on the wire.
    if (!/^[!-~](?:[ -~]*[!-~])?$/.test(value))
      throw new TypeError(`metadata value not printable ASCII: ${key}=${JSON.stringify(value)}`)
    sizeBytes += key.length + value.length
  }

  if (sizeBytes > MAX_METADATA_BYTES) throw new TypeError(`metadata of ${sizeBytes} bytes; S3 takes ${MAX_METADATA_BYTES}`)
}

/** Refuses an empty key and one with a leading `/`, which some stores cut off. */
export function assertKey(key: string): void {
  if (key === '' || key.startsWith('/')) throw new TypeError(`not an object key: ${JSON.stringify(key)}`)
}

/** The bytes of a range request, undefined for the whole object. Both ends are inclusive; `end` may be left out. */
export function rangeOf(options: {begin?: number; end?: number}): {begin: number; end: number | undefined} | undefined {
  const begin = options.begin ?? 0
  const {end} = options
  if (!Number.isSafeInteger(begin) || begin < 0 || (end !== undefined && (!Number.isSafeInteger(end) || end < begin))) {
    throw new TypeError(`not a range: ${begin} to ${end}`)
  }

  return begin === 0 && end === undefined ? undefined : {begin, end}
}

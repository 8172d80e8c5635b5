/**
 * What the first bytes of a WAL file tell. Barman gives no extension to compressed or encrypted WAL, so content decides.
 */

/** Bytes of a file that `inspectWalHead` wants to see. */
export const WAL_HEAD_BYTES = 40

export type WalContent =
  /** PostgreSQL's own pages; segment size and system identifier when the first page says them. */
  | {readonly type: 'plain'; readonly segmentSizeBytes: number | undefined; readonly systemId: string | undefined}
  /** Compressed, encrypted, or of a custom filter: Barman renames those into place whole. */
  | {readonly type: 'encoded'}
  /** Nothing, or zeros: the beginning of a file that is still being written. */
  | {readonly type: 'empty'}

/**
 * What a segment's file holds, from its first bytes (at least 2; `WAL_HEAD_BYTES` to learn everything). pg:
 * `XLogPageHeaderData`, `XLogLongPageHeaderData`: magic (0xD05E for 8.0 to 0xD118 for 18, little-endian here), then
 * system identifier at byte 24 and segment size at byte 32 of the segment's first page.
 */
export function inspectWalHead(head: Buffer): WalContent {
  if (head.every((byte) => byte === 0)) return {type: 'empty'}
  const high = head[1]
  // The page's flags are five bits so far: other bits mean that the magic is a coincidence.
  if ((high !== 0xd0 && high !== 0xd1) || (head.length >= 4 && (head.readUInt16LE(2) & 0xffe0) !== 0)) return {type: 'encoded'}
  if (head.length < WAL_HEAD_BYTES || (head.readUInt16LE(2) & 0x0002) === 0) return {type: 'plain', segmentSizeBytes: undefined, systemId: undefined}
  const segmentSizeBytes = head.readUInt32LE(32)
  return {
    type: 'plain',
    segmentSizeBytes: isPowerOfTwo(segmentSizeBytes) ? segmentSizeBytes : undefined,
    systemId: head.readBigUInt64LE(24).toString(),
  }
}

function isPowerOfTwo(value: number): boolean {
  return value >= 1024 * 1024 && value <= 1024 * 1024 * 1024 && (value & (value - 1)) === 0
}

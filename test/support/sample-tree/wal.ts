/** Names and contents of synthetic WAL files (pg: xlog_internal.h). */

import {fillBytes} from './bytes.ts'

/** Magic number of a WAL page by PostgreSQL major version (pg: XLOG_PAGE_MAGIC). */
const PAGE_MAGIC: Readonly<Record<number, number>> = {14: 0xd10d, 15: 0xd110, 16: 0xd113, 17: 0xd116, 18: 0xd118}
const PAGE_BYTES = 8192
const LONG_HEADER_FLAG = 2

/** Place of a WAL segment: timeline and number of the segment counted from LSN 0/0. */
export interface WalPosition {
  readonly timeline: number
  readonly segment: number
}

/** Takes timeline, segment number and segment size in bytes; returns the 24-digit name (pg: XLogFileName). */
export function formatWalName(position: WalPosition, segmentSizeBytes: number): string {
  const perLogId = 0x1_0000_0000 / segmentSizeBytes
  const parts = [position.timeline, Math.floor(position.segment / perLogId), position.segment % perLogId]
  return parts.map(hexadecimal).join('')
}

/** Takes a WAL file name that starts with a segment name; returns its place. */
export function parseWalName(name: string, segmentSizeBytes: number): WalPosition {
  const perLogId = 0x1_0000_0000 / segmentSizeBytes
  const parts = [name.slice(0, 8), name.slice(8, 16), name.slice(16, 24)]
  const [timeline, log, segment] = parts.map(part => Number.parseInt(part, 16))
  return {timeline: timeline ?? 0, segment: (log ?? 0) * perLogId + (segment ?? 0)}
}

/** Takes a WAL segment name; returns the LSN of its first byte plus `offsetBytes`, in PostgreSQL's form `0/5000028`. */
export function formatLsnIn(name: string, segmentSizeBytes: number, offsetBytes: number): string {
  const address = BigInt(parseWalName(name, segmentSizeBytes).segment) * BigInt(segmentSizeBytes) + BigInt(offsetBytes)
  return `${(address >> 32n).toString(16).toUpperCase()}/${(address & 0xffff_ffffn).toString(16).toUpperCase()}`
}

/** Returns the directory of a WAL file below `wals/`: the first 16 digits, nothing for a history file (barman: xlog.hash_dir). */
export function hashDirectoryOf(name: string): string {
  return /^[\dA-F]{24}/.test(name) ? name.slice(0, 16) : ''
}

/**
 * Returns the first `bytes` bytes of a segment: a real long page header (so that `file` and PostgreSQL know it), then bytes
 * that depend on name and system id only: the same segment of another cluster differs.
 */
export function walContent(name: string, options: {
  readonly bytes: number, readonly segmentSizeBytes: number, readonly systemId: string, readonly postgresMajor: number,
}): Buffer {
  const content = Buffer.alloc(options.bytes)
  fillBytes(content, `wal ${name} ${options.systemId}`)
  const {timeline, segment} = parseWalName(name, options.segmentSizeBytes)
  const header = Buffer.alloc(40)
  header.writeUInt16LE(PAGE_MAGIC[options.postgresMajor] ?? 0xd113, 0)
  header.writeUInt16LE(LONG_HEADER_FLAG, 2)
  header.writeUInt32LE(timeline, 4)
  header.writeBigUInt64LE(BigInt(segment) * BigInt(options.segmentSizeBytes), 8)
  header.writeBigUInt64LE(BigInt(options.systemId), 24)
  header.writeUInt32LE(options.segmentSizeBytes, 32)
  header.writeUInt32LE(PAGE_BYTES, 36)
  header.copy(content)
  return content
}

function hexadecimal(part: number): string {
  return part.toString(16).toUpperCase().padStart(8, '0')
}

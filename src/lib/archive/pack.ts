/**
 * Packs of layout compact: plain tar files in GNU format, which every `tar x` reads. Written here because the libraries
 * take names as text and spoil those that are not UTF-8. Owners are not stored, as in the manifest.
 */
import {backupPathBytes, type BackupPath} from './backup-path.ts'

/** Files below this size go into packs. */
export const PACKED_FILE_BYTES = 128 * 1024
/** A pack is at most so large: one PUT. */
export const PACK_BYTES = 16 * 1024 * 1024
/** The two empty blocks at the end of a tar file. */
export const PACK_END_BYTES = 1024

const BLOCK_BYTES = 512
const NAME_BYTES = 100
const MAX_OCTAL_TIME = 0o77777777777n

/** What a pack holds of one entry of the tree; a directory's and a link's size is 0. */
export interface PackMember {
  readonly type: 'directory' | 'symlink' | 'file'
  readonly path: BackupPath
  readonly mode: number
  readonly mtimeNs: bigint
  readonly sizeBytes: number
  readonly target?: BackupPath
}

/** Bytes a member takes in a pack, headers and padding included. */
export function packMemberBytes(member: PackMember): number {
  return packHeaderBytes(member) + roundUp(member.sizeBytes)
}

/** Bytes of the headers before a member's content. */
export function packHeaderBytes(member: PackMember): number {
  const name = memberName(member)
  const long = (bytes: number) => (bytes > NAME_BYTES ? BLOCK_BYTES + roundUp(bytes + 1) : 0)
  return BLOCK_BYTES + long(name.length) + long(member.target?.length ?? 0)
}

/**
 * Writes a member's headers into `pack` at `position`; the content goes behind them, and the caller makes sure that the
 * bytes up to the next block are zero.
 * @returns where the content begins
 */
export function writePackHeader(pack: Buffer, position: number, member: PackMember): number {
  const name = memberName(member)
  let end = position
  if (member.target && member.target.length > NAME_BYTES) end = writeLongName(pack, end, 'K', backupPathBytes(member.target))
  if (name.length > NAME_BYTES) end = writeLongName(pack, end, 'L', name)
  writeHeader(pack, end, {
    name: name.subarray(0, NAME_BYTES), mode: member.mode, sizeBytes: member.sizeBytes, mtimeNs: member.mtimeNs,
    type: member.type === 'directory' ? '5' : member.type === 'symlink' ? '2' : '0',
    target: member.target === undefined ? undefined : backupPathBytes(member.target).subarray(0, NAME_BYTES),
  })
  return end + BLOCK_BYTES
}

/** The name in the pack: the path below the backup; a directory's ends in a slash, and the backup itself is `./`. */
function memberName({type, path}: PackMember): Buffer {
  if (path === '') return Buffer.from('./')
  return backupPathBytes(type === 'directory' ? (`${path}/` as BackupPath) : path)
}

/** GNU: the text of a name or link that is too long stands in a member of its own before it, closed by a zero byte. */
function writeLongName(pack: Buffer, position: number, type: 'K' | 'L', text: Buffer): number {
  const sizeBytes = text.length + 1
  writeHeader(pack, position, {name: Buffer.from('././@LongLink'), mode: 0o644, sizeBytes, mtimeNs: 0n, type, target: undefined})
  const begin = position + BLOCK_BYTES
  pack.fill(0, begin, begin + roundUp(sizeBytes))
  text.copy(pack, begin)
  return begin + roundUp(sizeBytes)
}

interface Header {
  readonly name: Buffer
  readonly mode: number
  readonly sizeBytes: number
  readonly mtimeNs: bigint
  readonly type: string
  readonly target: Buffer | undefined
}

/** One header block (GNU tar: `struct oldgnu_header`). */
function writeHeader(pack: Buffer, position: number, header: Header): void {
  const block = pack.subarray(position, position + BLOCK_BYTES)
  block.fill(0)
  header.name.copy(block, 0)
  const seconds = header.mtimeNs < 0n ? 0n : header.mtimeNs / 1_000_000_000n
  block.write(octal(header.mode & 0o7777, 7), 100, 'latin1')
  block.write(octal(0, 7), 108, 'latin1')
  block.write(octal(0, 7), 116, 'latin1')
  block.write(octal(header.sizeBytes, 11), 124, 'latin1')
  block.write((seconds > MAX_OCTAL_TIME ? MAX_OCTAL_TIME : seconds).toString(8).padStart(11, '0'), 136, 'latin1')
  block.write('        ', 148, 'latin1')
  block.write(header.type, 156, 'latin1')
  header.target?.copy(block, 157)
  block.write('ustar  ', 257, 'latin1')
  let sum = 0
  for (let index = 0; index < BLOCK_BYTES; index++) sum += block[index]!
  block.write(`${octal(sum, 6)}\0 `, 148, 'latin1')
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0')
}

function roundUp(sizeBytes: number): number {
  return Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES
}

import {createHash} from 'node:crypto'
import {crc32c} from '@node-rs/crc32'

/** Fills a buffer with bytes that depend on the seed only and do not compress (AES would do too; xorshift is quick enough). */
export function fillBytes(buffer: Buffer, seed: string): void {
  let state = createHash('sha256').update(seed).digest().readUInt32LE(0) | 1
  const words = Math.floor(buffer.length / 4)
  for (let index = 0; index < words; index++) {
    state = nextState(state)
    buffer.writeInt32LE(state, index * 4)
  }
  for (let index = words * 4; index < buffer.length; index++) {
    state = nextState(state)
    buffer[index] = state & 0xff
  }
}

/** Returns `bytes` bytes that depend on the seed only. */
export function seededBytes(seed: string, bytes: number): Buffer {
  const buffer = Buffer.allocUnsafe(bytes)
  fillBytes(buffer, seed)
  return buffer
}

/**
 * Returns a file of `bytes` bytes whose first `coveredBytes` are followed by their own CRC32C, then zeros, as `pg_control` and
 * `pg_filenode.map` are: every such file of one size has the same CRC32C over the whole, whatever is in it.
 */
export function selfChecksummedBytes(covered: Buffer, bytes: number): Buffer {
  const file = Buffer.alloc(bytes)
  covered.copy(file)
  file.writeUInt32LE(crc32c(covered), covered.length)
  return file
}

function nextState(state: number): number {
  let next = state
  next ^= next << 13
  next ^= next >>> 17
  next ^= next << 5
  return next
}

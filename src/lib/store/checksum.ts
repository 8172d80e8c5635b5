import {crc32c as nativeCrc32c} from '@node-rs/crc32'

/** The reflected Castagnoli polynomial (RFC 3720, appendix B.4). */
const POLYNOMIAL = 0x82f63b78

/** CRC32C of `bytes` as an unsigned 32-bit number; with `previous`, of everything before followed by `bytes`. */
export function crc32c(bytes: Uint8Array, previous = 0): number {
  return nativeCrc32c(bytes, previous)
}

/** The value as S3 writes it in `x-amz-checksum-crc32c`: base64 of the four bytes, big end first. */
export function formatCrc32c(value: number): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes.toString('base64')
}

/** The number behind S3's text, undefined for a composite value (`…-3`) and for anything else that is not four bytes. */
export function parseCrc32c(text: string | undefined): number | undefined {
  if (text === undefined || !/^[A-Za-z0-9+/]{6}==$/.test(text)) return undefined
  return Buffer.from(text, 'base64').readUInt32BE(0)
}

/**
 * CRC32C of A followed by B, from the values of A and of B and the length of B in bytes, without reading either (zlib:
 * crc32_combine). So the value of a whole object comes from the sums of its parts, whatever order they were sent in.
 */
export function combineCrc32c(first: number, second: number, secondBytes: number): number {
  if (secondBytes === 0) return first
  // `power` is the operator "append 2^k zero bytes", squared for each binary digit of the length.
  let power = squareOf(squareOf(squareOf(oneZeroBit())))
  let value = first
  for (let rest = secondBytes; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) value = multiply(power, value)
    power = squareOf(power)
  }

  return (value ^ second) >>> 0
}

function oneZeroBit(): Uint32Array {
  const matrix = new Uint32Array(32)
  matrix[0] = POLYNOMIAL
  for (let bit = 1; bit < 32; bit++) matrix[bit] = 1 << (bit - 1)
  return matrix
}

function multiply(matrix: Uint32Array, vector: number): number {
  let sum = 0
  for (let bit = 0, rest = vector >>> 0; rest !== 0; bit++, rest >>>= 1) {
    if (rest & 1) sum ^= matrix[bit] ?? 0
  }

  return sum >>> 0
}

function squareOf(matrix: Uint32Array): Uint32Array {
  return matrix.map((column) => multiply(matrix, column))
}

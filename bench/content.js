// What is in the files of a tree: pseudo-random, the same for the same seed, and compressible as asked.

import {createCipheriv, createHash} from 'node:crypto'

const MIB = 1024 ** 2
const PAGE_BYTES = 8192

/** Kinds of content by name. `blocks` is the one of the figures of the budget (make-tree). */
export const CONTENTS = {
  blocks: 'half a MiB random, half a MiB zeros, in turn; files below that size all random',
  pages: 'half of each page of 8 KiB random, half of it zeros',
  random: 'random',
}

/** An endless source of content of one kind. */
export class Content {
  /** Bytes given out so far that no compression can make fewer. */
  randomBytes = 0
  #kind
  #keystream

  constructor(kind, seed = 1) {
    this.#kind = kind
    const key = createHash('sha256').update(`barmans3 bench ${seed}`).digest().subarray(0, 16)
    this.#keystream = createCipheriv('aes-128-ctr', key, Buffer.alloc(16))
  }

  /** Yields the content of one file in pieces of at most 1 MiB. */
  *pieces(sizeBytes) {
    const isSmall = sizeBytes < MIB / 2
    for (let left = sizeBytes; left > 0; left -= MIB) {
      const length = Math.min(left, MIB)
      if (this.#kind === 'random' || (this.#kind === 'blocks' && isSmall)) yield this.#random(length)
      else yield this.#half(length, this.#kind === 'pages' ? PAGE_BYTES : MIB)
    }
  }

  #random(length) {
    this.randomBytes += length
    return this.#keystream.update(Buffer.alloc(length))
  }

  #half(length, stepBytes) {
    const piece = Buffer.alloc(length)
    for (let at = 0; at < length; at += stepBytes) this.#random(Math.min(stepBytes / 2, length - at)).copy(piece, at)
    return piece
  }
}

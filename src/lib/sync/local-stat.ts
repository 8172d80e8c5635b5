import type {BigIntStats} from 'node:fs'

/** What the file system says of a file, as far as it tells one content from another. Times in nanoseconds. */
export interface LocalStat {
  readonly device: bigint
  readonly inode: bigint
  readonly sizeBytes: number
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
  readonly linkCount: number
}

/** From `lstat`/`fstat` with `bigint: true`. */
export function localStatOf(stats: BigIntStats): LocalStat {
  return {
    device: stats.dev,
    inode: stats.ino,
    sizeBytes: Number(stats.size),
    mtimeNs: stats.mtimeNs,
    ctimeNs: stats.ctimeNs,
    linkCount: Number(stats.nlink),
  }
}

/**
 * What two looks at a file say about its content.
 *
 * | device, inode, size, mtime | ctime | links | answer |
 * |---|---|---|---|
 * | any differs | – | – | `changed` |
 * | equal | equal | – | `same` |
 * | equal | moved | moved | `same`: a hard link came or went (the next rsync backup with reuse_backup = link) |
 * | equal | moved | equal | `unclear`: read it and compare SHA-256 |
 *
 * `ignoreDevice`: across a reboot the device number may change, so a journal does not rely on it.
 */
export function compareLocalStat(earlier: LocalStat, later: LocalStat, {ignoreDevice = false} = {}): 'same' | 'unclear' | 'changed' {
  if (!ignoreDevice && earlier.device !== later.device) return 'changed'
  if (earlier.inode !== later.inode || earlier.sizeBytes !== later.sizeBytes || earlier.mtimeNs !== later.mtimeNs) return 'changed'
  if (earlier.ctimeNs === later.ctimeNs) return 'same'
  return earlier.linkCount === later.linkCount ? 'unclear' : 'same'
}

import {PEAK_LIMIT} from '../budget.js'
import {formatCount, formatFileSize} from '../format.js'
import {copyOfBackup} from './backup-step.js'

/** One file in so many is new in the second backup, of the small and of the large ones: 5 % of the files and of the bytes. */
const CHANGED_EVERY = 20

/**
 * Small files are read and packed anew each time. A fresh cluster has a thousand of them, 15 MB together, and a database of any
 * size few more; nearly all bytes lie in large files.
 */
const SMALL_FILES = 1000

/** The second of two backups, 95 % hard links to the first, which is in the bucket already. */
export const baseLinked = {
  number: 5,
  size: ({isQuick}) => ({
    small: {count: isQuick ? 200 : SMALL_FILES, sizeBytes: 16 * 1024},
    large: {count: isQuick ? 20 : 60, sizeBytes: (isQuick ? 1 : 32) * 1024 ** 2},
  }),
  name: ({small, large}) =>
    `second backup, 95 % hard links (${formatCount(small.count)} files of 16 KiB, ${large.count} of ${formatFileSize(large.sizeBytes)})`,
  prepare(tree, size) {
    const first = tree.addBackup(size)
    const second = tree.addBackup({...size, changedEvery: CHANGED_EVERY})
    return {first: copyOfBackup(first), measured: copyOfBackup(second)}
  },
  budget: () => [{kind: 'readShare', limit: 0.06}, {kind: 'sentShare', limit: 0.06}, PEAK_LIMIT],
}

import {PEAK_LIMIT} from '../budget.js'
import {formatCount} from '../format.js'
import {copyOfBackup} from './backup-step.js'

/** Many small files, the first copy. */
export const baseSmall = {
  number: 1,
  size: ({isQuick}) => ({count: isQuick ? 200 : 5000, sizeBytes: 16 * 1024}),
  name: (size) => `${formatCount(size.count)} files of 16 KiB, first copy`,
  prepare(tree, size) {
    return {measured: copyOfBackup(tree.addBackup({small: size}))}
  },
  budget: ({latencyMs}) => [{kind: 'wallRatio', limit: latencyMs > 0 ? 0.2 : 0.5}, PEAK_LIMIT],
}

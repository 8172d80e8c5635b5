import {formatFileSize} from '../format.js'
import {PEAK_LIMIT} from '../budget.js'
import {copyOfBackup} from './backup-step.js'

/** Few large files, the first copy. */
export const baseLarge = {
  number: 3,
  size: ({isQuick}) => ({count: 2, sizeBytes: isQuick ? 32 * 1024 ** 2 : 1024 ** 3}),
  name: ({count, sizeBytes}) => `${count} files of ${formatFileSize(sizeBytes)}, first copy`,
  prepare(tree, size) {
    return {measured: copyOfBackup(tree.addBackup({large: size}))}
  },
  budget: ({isTls, latencyMs}) => [...(isTls && latencyMs === 0 ? [{kind: 'wallRatio', limit: 0.65}] : []), PEAK_LIMIT],
}

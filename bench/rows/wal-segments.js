import {assertWalsSynced} from '../barmans3.js'
import {PEAK_LIMIT} from '../budget.js'
import {SERVER} from '../tree.js'

/** WAL segments as Barman archives them, the first copy. */
export const walSegments = {
  number: 2,
  size: ({isQuick}) => ({count: isQuick ? 8 : 128}),
  name: ({count}) => `${count} WAL segments of 16 MiB, first copy`,
  prepare(tree, {count}) {
    const wals = tree.addWals(count)
    return {
      measured: {
        barmans3: ['wal', 'sync', SERVER],
        assertDone: (run) => assertWalsSynced(run, {uploaded: count, alreadyThere: 0}),
        leastSentBytes: wals.bytes,
        leastReadBytes: wals.bytes,
        directory: wals.directory,
        prefix: 'wals/',
        objects: wals.files,
        bytes: wals.bytes,
        totalBytes: wals.bytes,
      },
    }
  },
  budget: ({isTls, latencyMs}) =>
    [...(isTls && latencyMs === 0 ? [{kind: 'wallRatio', limit: 0.65}, {kind: 'cpuRatio', limit: 0.5}] : []), PEAK_LIMIT],
}

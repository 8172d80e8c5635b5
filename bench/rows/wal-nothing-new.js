import {assertWalsSynced, SERVER_PREFIX} from '../barmans3.js'
import {PEAK_LIMIT} from '../budget.js'
import {formatCount} from '../format.js'
import {SERVER} from '../tree.js'

/** A WAL archive that is in the bucket already. The segments have no data on disk: nobody has a reason to read them. */
export const walNothingNew = {
  number: 4,
  size: ({isQuick}) => ({count: isQuick ? 2000 : 100_000}),
  name: ({count}) => `nothing new in ${formatCount(count)} WAL segments`,
  prepare(tree, {count}) {
    const wals = tree.addWals(count, {isSparse: true})
    const step = {
      barmans3: ['wal', 'sync', SERVER],
      assertDone: (run) => assertWalsSynced(run, {uploaded: 0, alreadyThere: count}),
      leastSentBytes: 0,
      leastReadBytes: 0,
      directory: wals.directory,
      prefix: 'wals/',
      objects: count,
      bytes: 0,
      totalBytes: wals.bytes,
      isNothingNew: true,
    }
    const fill = (prefix) => ({prefix, count, sizeBytes: wals.segmentBytes})
    // The first run of barmans3 learns what is there; every 15 minutes it is the second one that counts.
    return {first: step, measured: step, fill: {barmans3: fill(`${SERVER_PREFIX}wals/`), peers: fill('wals/')}}
  },
  // rclone's defaults ask for the time of every single object.
  leftOut: {rclone: 'its default settings send one request for each object'},
  budget: () => [{kind: 'wallSeconds', limit: 0.3}, {kind: 'requests', limit: 3}, PEAK_LIMIT],
}

// What the budget asks, and whether it is met.

import {formatRatio, formatSeconds, formatShare} from './format.js'

/** Memory is bounded whatever the work (promise 8); this one limit holds for every row. */
export const PEAK_LIMIT = {kind: 'peakMib', limit: 300}

/** By kind: the value of a sample, what it is, and how it is written. Ratios are to the fastest peer. */
const KINDS = {
  wallRatio: {label: 'wall time ÷ fastest peer', needsPeer: true, value: (ours, peer) => ours.wallSeconds / peer.wallSeconds, format: formatTimes},
  cpuRatio: {label: 'CPU time ÷ fastest peer', needsPeer: true, value: (ours, peer) => ours.cpuSeconds / peer.cpuSeconds, format: formatTimes},
  peakMib: {label: 'peak memory', value: (ours) => ours.peakBytes / 1024 ** 2, format: (value) => `${value.toFixed(0)} MiB`},
  wallSeconds: {label: 'wall time', value: (ours) => ours.wallSeconds, format: (value) => `${formatSeconds(value)} s`},
  requests: {label: 'requests', value: (ours) => ours.requestCount, format: (value) => String(value)},
  readShare: {label: 'read of the backup', value: (ours) => ours.readBytes / ours.totalBytes, format: formatShare},
  sentShare: {label: 'sent of the backup', value: (ours) => ours.sentBytes / ours.totalBytes, format: formatShare},
}

/**
 * Holds our sample against a row's limits. `peer` is the sample of the fastest peer, undefined when there is none. Returns
 * label, value, limit as text and verdict: `met`, `not met`, or `no peer to compare with`.
 */
export function judge(limits, ours, peer) {
  return limits.map(({kind, limit}) => {
    const {label, needsPeer, value, format} = KINDS[kind]
    if (needsPeer && peer === undefined) return {label, value: '–', limit: `≤ ${format(limit)}`, verdict: 'no peer to compare with'}
    const found = value(ours, peer)
    return {label, value: format(found), limit: `≤ ${format(limit)}`, verdict: found <= limit ? 'met' : 'not met'}
  })
}

function formatTimes(ratio) {
  return `${formatRatio(ratio)}×`
}

/** The result of the fastest peer that was measured, or undefined. */
export function fastestPeer(results, ourName) {
  const peers = results.filter(({name, sample}) => name !== ourName && sample !== undefined)
  return peers.sort((left, right) => left.sample.wallSeconds - right.sample.wallSeconds)[0]
}

/** Of samples, the one with the median wall time: its figures belong together. The faster of the middle two of an even number. */
export function medianSample(samples) {
  return [...samples].sort((left, right) => left.wallSeconds - right.wallSeconds)[Math.floor((samples.length - 1) / 2)]
}

// The figures as text: the same cells for the terminal and for the page.

import {fastestPeer, judge, medianSample} from './budget.js'
import {NAME} from './barmans3.js'
import {formatMib, formatRatio, formatRequests, formatSeconds} from './format.js'

export const HEADINGS = ['client', 'wall s', 'CPU s', 'peak MiB', 'sent MiB', 'read MiB', 'requests', 'wall ÷ fastest peer']

/** One measured condition of a row: its median results, the fastest peer, and the verdicts on its budget. */
export function summarize({row, condition, clients}) {
  const results = clients.map(({name, samples, failure, leftOut}) => ({
    name, failure, leftOut, sample: failure || leftOut ? undefined : medianSample(samples),
  }))
  const peer = fastestPeer(results, NAME)
  const ours = results.find(({name}) => name === NAME)
  const hasFailed = results.some(({failure}) => failure !== undefined)
  const limits = row.budget(condition)
  // With a failed client nobody knows which peer is the fastest.
  const verdicts = hasFailed
    ? limits.map(() => ({label: 'budget', value: '–', limit: '', verdict: 'not measured: a command failed'}))
    : judge(limits, ours.sample, peer?.sample)
  return {results, peer, verdicts, hasFailed}
}

/** The cells of the table of one condition, a line for each client. */
export function tableRows({results, peer}) {
  return results.map(({name, sample, failure, leftOut}) => {
    if (sample === undefined) return [name, failure === undefined ? `left out: ${leftOut}` : `FAILED: ${failure.split('\n')[0]}`]
    const ratio = peer === undefined ? '–' : formatRatio(sample.wallSeconds / peer.sample.wallSeconds)
    return [
      name, formatSeconds(sample.wallSeconds), formatSeconds(sample.cpuSeconds), formatMib(sample.peakBytes), formatMib(sample.sentBytes),
      formatMib(sample.readBytes), String(sample.requestCount), ratio, formatRequests(sample.requests),
    ]
  })
}

/** `wall time ÷ fastest peer 0.45× (rclone tuned), budget ≤ 0.50×: met` */
export function formatVerdict({label, value, limit, verdict}, peer) {
  if (limit === '') return `${label}: ${verdict}`
  const against = label.includes('peer') && peer !== undefined ? ` (${peer.name})` : ''
  return `${label} ${value}${against}, budget ${limit}: ${verdict}`
}

/** Lines with aligned columns, numbers to the right. Lines of two cells are notes. */
export function alignColumns(headings, rows) {
  const full = [headings, ...rows.filter((row) => row.length > 2)]
  const widths = headings.map((_, column) => Math.max(...full.map((row) => row[column].length)))
  const nameWidth = Math.max(widths[0], ...rows.map(([name]) => name.length))
  return [headings, ...rows].map((row) => {
    const [name, ...cells] = row
    const aligned = row.length > 2 ? cells.map((cell, index) => cell.padStart(widths[index + 1] ?? 0)) : cells
    return [name.padEnd(nameWidth), ...aligned].join('  ').trimEnd()
  })
}

import type {Rendered} from '../base-command.ts'
import type {ProblemSummary, WalSyncResult} from '../../sync/wal-result.ts'
import {formatBytes, formatCount} from './units.ts'

/** What a WAL sync did, for people and for the log. Nothing new gives no log line. The plan of a dry run is a result. */
export function renderWalSync(results: readonly WalSyncResult[]): Rendered {
  const lines = results.flatMap(summarize)
  return {...(results.some(({isDryRun}) => isDryRun) ? {table: lines} : {summary: lines}), verdict: combineVerdicts(results)}
}

function summarize(result: WalSyncResult): string[] {
  const {server, uploaded, alreadyThere, isDryRun} = result
  const range = uploaded.first === undefined ? '' : uploaded.first === uploaded.last ? ` (${uploaded.first})` : ` (${uploaded.first} to ${uploaded.last})`
  return [
    `${server}: ${formatCount(uploaded.files, 'WAL file')}${range}, ${formatBytes(uploaded.bytes)} ${isDryRun ? 'would be uploaded' : 'uploaded'}; `
    + `${alreadyThere} already there`,
    ...result.planned.map(({name, decision, sizeBytes}) => `  ${decision === 'upload' ? 'upload ' : 'compare'} ${name}  ${formatBytes(sizeBytes)}`),
    ...problemLines('conflict', result.conflicts),
    ...problemLines('lost', result.lost),
    ...problemLines('failed', result.failed),
    ...problemLines('left for the next run', result.left),
    ...problemLines('vanished', result.vanished),
    ...(result.stoppedBy
      ? [
          `  stopped: ${result.stoppedBy.message}; ${result.notUploaded} WAL files not uploaded`,
          ...(result.stoppedBy.hint === undefined ? [] : [`  ${result.stoppedBy.hint}`]),
        ]
      : []),
  ]
}

function problemLines(title: string, {count, items}: ProblemSummary): string[] {
  return [
    ...items.map(({name, message}) => `  ${title}: ${name}: ${message}`),
    ...(count > items.length ? [`  ${title}: and ${count - items.length} more`] : []),
    ...new Set(items.flatMap(({hint}) => (hint === undefined ? [] : [`  ${hint}`]))),
  ]
}

function combineVerdicts(results: readonly WalSyncResult[]): Rendered['verdict'] {
  const sum = (pick: (result: WalSyncResult) => number) => results.reduce((total, result) => total + pick(result), 0)
  const files = sum((result) => result.uploaded.files)
  const left = sum((result) => result.left.count)
  const vanished = sum((result) => result.vanished.count)
  const problems = sum((result) => result.conflicts.count + result.lost.count + result.failed.count)
  const stopped = results.find((result) => result.stoppedBy)?.stoppedBy
  if (files === 0 && left === 0 && vanished === 0 && problems === 0 && !stopped) return undefined
  const fields = {
    server: results.map(({server}) => server).join(','),
    [results.some(({isDryRun}) => isDryRun) ? 'wouldUpload' : 'uploaded']: files,
    bytes: sum((result) => result.uploaded.bytes),
    alreadyThere: sum((result) => result.alreadyThere),
    conflicts: optional(sum((result) => result.conflicts.count)),
    lost: optional(sum((result) => result.lost.count)),
    failed: optional(sum((result) => result.failed.count)),
    left: optional(left),
    leftNames: left === 0 ? undefined : results.flatMap((result) => result.left.items.slice(0, 3).map(({name}) => name)).join(','),
    vanished: optional(vanished),
    notUploaded: optional(sum((result) => result.notUploaded)),
    hint: stopped?.hint ?? firstHint(results),
  }
  if (stopped) return {level: 'error', message: stopped.message, fields}
  return {level: problems > 0 ? 'error' : left > 0 ? 'warn' : 'info', message: problems > 0 ? 'done in part' : 'done', fields}
}

/** What to do about the worst that happened. */
function firstHint(results: readonly WalSyncResult[]): string | undefined {
  const items = results.flatMap(({conflicts, lost, failed}) => [...conflicts.items, ...lost.items, ...failed.items])
  return items.find(({hint}) => hint !== undefined)?.hint
}

function optional(count: number): number | undefined {
  return count === 0 ? undefined : count
}

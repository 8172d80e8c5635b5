import type {Rendered} from '../base-command.ts'
import type {PlannedFiles} from '../../sync/backup-plan.ts'
import type {BackupOutcome, BaseSyncResult} from '../../sync/base-result.ts'
import {formatBytes, formatCount} from './units.ts'

const WORDS: Readonly<Record<BackupOutcome['outcome'], string>> = {
  copied: 'copied',
  'already-complete': 'already complete',
  'not-finished': 'not finished in Barman yet',
  refused: 'cannot be copied',
  skipped: 'skipped',
  failed: 'failed',
  planned: 'would be copied',
}

const STEPS: Readonly<Record<PlannedFiles['action'], string>> = {
  pack: 'pack',
  send: 'send',
  refer: 'refer to',
  copy: 'copy inside S3',
  compare: 'read and compare',
}

/** What a base sync did, for people and for the log. Nothing new gives no log line. The plan of a dry run is a result. */
export function renderBaseSync(results: readonly BaseSyncResult[]): Rendered {
  const lines = results.flatMap(summarize)
  return {...(results.some(({isDryRun}) => isDryRun) ? {table: lines} : {summary: lines}), verdict: combineVerdicts(results)}
}

function summarize(result: BaseSyncResult): string[] {
  const lines = result.backups.flatMap((backup) => [
    `${result.server} ${backup.backupId}: ${describe(backup)}`,
    ...(backup.plan ?? []).map((step) => `  ${STEPS[step.action]} ${formatCount(step.files, 'file')}, ${formatBytes(step.bytes)}: ${step.reason}`),
    ...(backup.hint === undefined ? [] : [`  ${backup.hint}`]),
  ])
  if (lines.length === 0) lines.push(`${result.server}: no base backup to copy`)
  const updated = result.isDryRun ? 'would be brought up to date' : 'brought up to date'
  if (result.metadataUpdated > 0) lines.push(`${result.server}: ${formatCount(result.metadataUpdated, 'metadata file')} ${updated}`)
  for (const name of result.brokenTasks) lines.push(`${result.server}: "${name}" in the queue is no valid task and was set aside`)
  if (result.stoppedBy) {
    lines.push(`${result.server}: stopped: ${result.stoppedBy.message}`)
    if (result.stoppedBy.hint !== undefined) lines.push(`  ${result.stoppedBy.hint}`)
  }
  return lines
}

function describe({outcome, reason, files, bytes}: BackupOutcome): string {
  const amount = files === undefined || bytes === undefined ? '' : `, ${formatCount(files, 'file')}, ${formatBytes(bytes)}`
  const why = reason === undefined || outcome === 'copied' ? '' : ` (${reason})`
  return `${WORDS[outcome]}${amount}${why}`
}

function combineVerdicts(results: readonly BaseSyncResult[]): Rendered['verdict'] {
  const backups = results.flatMap((result) => result.backups)
  const count = (outcome: BackupOutcome['outcome']) => backups.filter((backup) => backup.outcome === outcome).length
  const updated = results.reduce((sum, result) => sum + result.metadataUpdated, 0)
  const broken = results.reduce((sum, result) => sum + result.brokenTasks.length, 0)
  const stopped = results.find((result) => result.stoppedBy)?.stoppedBy
  if (backups.length === 0 && updated === 0 && broken === 0 && !stopped) return undefined
  const bad = backups.filter(({outcome}) => outcome === 'refused' || outcome === 'failed')
  const fields = {
    server: results.map(({server}) => server).join(','),
    copied: count('copied'),
    wouldCopy: count('planned') || undefined,
    bytes: backups.reduce((sum, {bytes}) => sum + (bytes ?? 0), 0),
    alreadyComplete: count('already-complete') || undefined,
    notFinished: count('not-finished') || undefined,
    skipped: count('skipped') || undefined,
    refused: count('refused') || undefined,
    failed: count('failed') || undefined,
    metadataUpdated: updated || undefined,
    brokenTasks: broken || undefined,
    hint: stopped?.hint ?? bad[0]?.hint,
  }
  if (stopped) return {level: 'error', message: stopped.message, fields}
  if (bad.length > 0) return {level: 'error', message: `${bad[0]?.reason ?? 'a backup failed'}`, fields}
  return {level: broken > 0 ? 'warn' : 'info', message: 'done', fields}
}

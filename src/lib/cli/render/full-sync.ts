import type {Rendered} from '../base-command.ts'
import type {FullSyncResult} from '../../sync/full-sync.ts'
import {renderBaseSync} from './base-sync.ts'
import {renderWalSync} from './wal-sync.ts'

/** What a full sync did: the base backups' part, then the WAL's. */
export function renderFullSync(results: readonly FullSyncResult[]): Rendered {
  const base = renderBaseSync(results.flatMap((result) => result.base ?? []))
  const wal = renderWalSync(results.flatMap((result) => result.wal ?? []))
  const errors = results.flatMap(({server, baseError, walError}) => [
    ...(baseError ? [{server, part: 'base backups', error: baseError}] : []), ...(walError ? [{server, part: 'WAL', error: walError}] : []),
  ])
  const errorLines = errors.flatMap(({server, part, error}) => [
    `${server}: ${part}: ${error.message}`, ...(error.hint === undefined ? [] : [`  ${error.hint}`]),
  ])
  const prefix = (fields: Rendered['verdict'], name: string) =>
    Object.fromEntries(Object.entries(fields?.fields ?? {}).filter(([key]) => key !== 'server' && key !== 'hint').map(([key, value]) => [`${name}.${key}`, value]))
  const first = errors[0]?.error
  const worst = [base.verdict, wal.verdict].find((verdict) => verdict?.level === 'error') ?? base.verdict ?? wal.verdict
  const lines = [base, wal].flatMap(({table, summary}) => [...(table ?? []), ...(summary ?? [])]).concat(errorLines)
  return {
    ...(results.some(({isDryRun}) => isDryRun) ? {table: lines} : {summary: lines}),
    verdict: worst || first
      ? {
          level: first ? 'error' : (worst?.level ?? 'info'),
          message: first?.message ?? worst?.message ?? 'done',
          fields: {server: results.map(({server}) => server).join(','), ...prefix(base.verdict, 'base'), ...prefix(wal.verdict, 'wal'), hint: first?.hint ?? worst?.fields.hint},
        }
      : undefined,
  }
}

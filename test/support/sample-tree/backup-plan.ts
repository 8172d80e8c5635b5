import {formatBarmanTime, formatPythonString} from './backup-info.ts'
import type {BackupInfoFields} from './backup-info.ts'
import type {FilledTreeOptions, SampleBackupOptions, SampleStatus} from './options.ts'
import {formatLsnIn, formatWalName, parseWalName} from './wal.ts'

/** Everything that follows from the options of one backup. */
export interface BackupPlan {
  readonly id: string
  readonly status: SampleStatus
  readonly beginTime: Date
  readonly endTime: Date
  readonly beginWal: string
  /** Undefined while the backup has no end (EMPTY, STARTED, FAILED). */
  readonly endWal: string | undefined
  readonly timeline: number
  readonly startLsn: string
  readonly endLsn: string
  readonly systemId: string
  readonly parentId: string | undefined
  readonly tablespaceOids: readonly number[]
  readonly extraFiles: number
  readonly largeFileBytes: number
  /** All files are there, with a manifest. */
  readonly isWhole: boolean
  readonly backupLabel: string
  /** Text of the `.backup` file in wals/. */
  readonly backupHistory: string
  readonly fields: BackupInfoFields
}

const WHOLE: readonly SampleStatus[] = ['WAITING_FOR_WALS', 'DONE', 'SYNCING']
const BEGIN_OFFSET_BYTES = 40
const END_OFFSET_BYTES = 256

/** Takes a backup's options, the tree's, and the WAL it begins in; returns all values of it, `backup.info` fields too. */
export function backupPlan(options: SampleBackupOptions, tree: FilledTreeOptions, beginWal: string): BackupPlan {
  const status = options.status ?? 'DONE'
  const isWhole = WHOLE.includes(status)
  const beginTime = options.beginTime ?? parseIdAsUtc(options.id)
  const endTime = options.endTime ?? new Date(beginTime.getTime() + 240_000)
  const begin = parseWalName(beginWal, tree.segmentSizeBytes)
  const endWal = isWhole
    ? options.endWal ?? formatWalName({timeline: begin.timeline, segment: begin.segment + 1}, tree.segmentSizeBytes) : undefined
  const timeline = options.timeline ?? begin.timeline
  const startLsn = formatLsnIn(beginWal, tree.segmentSizeBytes, BEGIN_OFFSET_BYTES)
  const endLsn = formatLsnIn(endWal ?? beginWal, tree.segmentSizeBytes, END_OFFSET_BYTES)
  const label = [
    `START WAL LOCATION: ${startLsn} (file ${beginWal})`,
    `CHECKPOINT LOCATION: ${formatLsnIn(beginWal, tree.segmentSizeBytes, 96)}`,
    'BACKUP METHOD: streamed', 'BACKUP FROM: primary',
    `START TIME: ${postgresTime(beginTime)}`, 'LABEL: pg_basebackup base backup', `START TIMELINE: ${timeline}`,
  ]
  const incremental = options.parentId === undefined ? [] : ['INCREMENTAL FROM LSN: 0/0', 'INCREMENTAL FROM TLI: 1']
  const backupLabel = [...label, ...incremental, ''].join('\n')
  const stop = [`STOP TIME: ${postgresTime(endTime)}`, `STOP TIMELINE: ${timeline}`]
  const stopLocation = `STOP WAL LOCATION: ${endLsn} (file ${endWal})`
  const backupHistory = [label[0], stopLocation, ...label.slice(1), ...stop, ...incremental, ''].join('\n')
  const plan = {
    id: options.id, status, beginTime, endTime, beginWal, endWal, timeline, startLsn, endLsn,
    systemId: options.systemId ?? tree.systemId,
    parentId: options.parentId,
    tablespaceOids: options.tablespaceOids ?? [16385],
    extraFiles: options.extraFiles ?? 0,
    largeFileBytes: options.largeFileBytes ?? 262_144,
    isWhole, backupLabel, backupHistory,
  }
  const name: BackupInfoFields = options.name === undefined ? {} : {backup_name: options.name}
  return {...plan, fields: {...fieldsOf(plan, tree), ...name, ...options.fields}}
}

function fieldsOf(plan: Omit<BackupPlan, 'fields'>, tree: FilledTreeOptions): BackupInfoFields {
  if (plan.status === 'EMPTY') return {status: 'EMPTY', parent_backup_id: plan.parentId ?? null}
  const begun = {
    backup_label: formatPythonString(plan.backupLabel),
    begin_offset: BEGIN_OFFSET_BYTES,
    begin_time: formatBarmanTime(plan.beginTime),
    begin_wal: plan.beginWal,
    begin_xlog: plan.startLsn,
    config_file: '/srv/postgresql/main/postgresql.conf',
    data_checksums: 'off',
    hba_file: '/srv/postgresql/main/pg_hba.conf',
    ident_file: '/srv/postgresql/main/pg_ident.conf',
    mode: 'postgres',
    parent_backup_id: plan.parentId ?? null,
    pgdata: '/srv/postgresql/main',
    server_name: tree.serverName,
    status: plan.status,
    systemid: plan.systemId,
    tablespaces: plan.tablespaceOids.length === 0 ? null
      : `[${plan.tablespaceOids.map(oid => `('ts${oid}', ${oid}, '/srv/postgresql/ts${oid}')`).join(', ')}]`,
    timeline: plan.timeline,
    version: tree.postgresMajor * 10_000 + 4,
    xlog_segment_size: tree.segmentSizeBytes,
  }
  if (plan.status === 'FAILED') {
    return {...begun, backup_label: null, error: "failure copying files (data transfer failure on directory '/srv/barman')"}
  }
  if (plan.status === 'STARTED') return {...begun, backup_label: null}
  return {
    ...begun,
    copy_stats: "{'copy_time': 238.5, 'total_time': 240.0}",
    cluster_size: 1_200_000,
    deduplicated_size: 1_100_000,
    end_offset: END_OFFSET_BYTES,
    end_time: formatBarmanTime(plan.endTime),
    end_wal: plan.endWal ?? null,
    end_xlog: plan.endLsn,
    size: 1_100_000,
    summarize_wal: tree.postgresMajor >= 17 ? 'on' : null,
  }
}

function parseIdAsUtc(id: string): Date {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)$/.exec(id)
  if (match === null) throw new Error(`${id} is no backup id: give beginTime as well`)
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number) as [number, number, number, number, number, number]
  return new Date(Date.UTC(year, month - 1, day, hour, minute, second))
}

function postgresTime(time: Date): string {
  return `${time.toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

import {expect} from 'chai'
import {renderBaseList} from '../../../src/lib/cli/render/base-list.ts'
import {renderBaseSync} from '../../../src/lib/cli/render/base-sync.ts'
import {renderFullSync} from '../../../src/lib/cli/render/full-sync.ts'
import {renderQueueStatus} from '../../../src/lib/cli/render/queue.ts'
import {renderTable} from '../../../src/lib/cli/render/table.ts'
import {formatAge, formatBytes, formatCount, formatOneLine, formatTime} from '../../../src/lib/cli/render/units.ts'
import {renderWalSync} from '../../../src/lib/cli/render/wal-sync.ts'
import type {BaseListRow} from '../../../src/lib/sync/base-list.ts'
import type {BackupOutcome, BaseSyncResult} from '../../../src/lib/sync/base-result.ts'
import {WalTally, type WalSyncResult} from '../../../src/lib/sync/wal-result.ts'
import {StoreUnreachableError} from '../../../src/lib/errors.ts'

function walResult(fill: (tally: WalTally) => void = () => undefined, failure?: StoreUnreachableError): WalSyncResult {
  const tally = new WalTally()
  fill(tally)
  return tally.result('pg', [{name: '000000010000000000000005', decision: 'upload', sizeBytes: 16_777_216}], failure, false)
}

function baseResult(backups: readonly Partial<BackupOutcome>[] = [], rest: Partial<BaseSyncResult> = {}): BaseSyncResult {
  return {
    server: 'pg', metadataUpdated: 0, brokenTasks: [], isDryRun: false, stoppedBy: undefined, exitCode: 0, ...rest,
    backups: backups.map((backup) => ({
      backupId: '20261101T020000', origin: 'scan', outcome: 'copied', reason: undefined, hint: undefined, files: undefined, bytes: undefined, plan: undefined, exitCode: 0, ...backup,
    })),
  }
}

function row(rest: Partial<BaseListRow>): BaseListRow {
  return {
    server: 'pg', backupId: '20261101T020000', name: undefined, beginTime: undefined, endTime: undefined, sizeBytes: undefined, storedBytes: undefined,
    layout: undefined, parentBackupId: undefined, barmanStatus: undefined, state: 'absent', restorable: 'no', reason: undefined, isLocal: undefined, ...rest,
  }
}

describe('amounts for people', () => {
  for (const [bytes, text] of [[0, '0 B'], [1023, '1023 B'], [1024, '1.0 KiB'], [16_777_216, '16.0 MiB'], [5 * 1024 ** 5, '5.0 PiB'], [3000 * 1024 ** 5, '3000.0 PiB']] as const) {
    it(`${bytes} bytes are ${text}`, () => expect(formatBytes(bytes)).to.equal(text))
  }

  for (const [seconds, text] of [[-5, '0 s'], [42, '42 s'], [60, '1 min'], [3600, '1 h 0 min'], [47 * 3600, '47 h 0 min'], [76 * 3600, '3 d 4 h']] as const) {
    it(`${seconds} seconds are ${text}`, () => expect(formatAge(seconds)).to.equal(text))
  }

  it('times carry their zone, and a missing one is a dash', () => {
    expect(formatTime('2026-11-01T02:00:00.123Z')).to.equal('2026-11-01 02:00:00Z')
    expect(formatTime(undefined)).to.equal('-')
  })

  it('one file, two files', () => {
    expect([formatCount(1, 'file'), formatCount(2, 'file'), formatCount(0, 'file')]).to.deep.equal(['1 file', '2 files', '0 files'])
  })

  it('C22: control characters never break a line of a cron mail', () => {
    expect(formatOneLine('a\nb\tc\u001b[31m')).to.equal('a\\x0ab\\x09c\\x1b[31m')
  })
})

describe('a table', () => {
  it('is aligned by characters, has no trailing blanks, and keeps each row on its line', () => {
    expect(renderTable([{title: 'NAME'}, {title: 'N', align: 'right'}, {title: 'WHY'}], [['äöü', '7', ''], ['b\nc', '1234', 'x']])).to.deep.equal([
      'NAME       N  WHY', 'äöü        7', 'b\\x0ac  1234  x',
    ])
  })
})

describe('the result of a wal sync', () => {
  it('C58: gives no log line when there was nothing to do', () => {
    expect(renderWalSync([walResult((tally) => tally.alreadyThere++)]).verdict).to.equal(undefined)
  })

  it('names range, bytes and what was there already', () => {
    const {summary, verdict} = renderWalSync([walResult((tally) => {
      tally.addUploaded('000000010000000000000005', 16_777_216)
      tally.addUploaded('000000010000000000000006', 16_777_216)
      tally.alreadyThere = 3
    })])
    expect(summary).to.deep.equal(['pg: 2 WAL files (000000010000000000000005 to 000000010000000000000006), 32.0 MiB uploaded; 3 already there'])
    expect(verdict).to.deep.include({level: 'info', message: 'done'})
    expect(verdict?.fields).to.deep.include({server: 'pg', uploaded: 2, bytes: 33_554_432, alreadyThere: 3})
  })

  it('names conflicts, failures, lost and left files, and counts those it does not name', () => {
    const result = walResult((tally) => {
      for (let index = 0; index < 120; index++) tally.failed.add(`wal${index}`, 'cannot be read')
      tally.conflicts.add('c', 'other content')
      tally.left.add('l', 'growing')
      tally.lost.add('x', 'removed')
    })
    const text = (renderWalSync([result]).summary ?? []).join('\n')
    expect(text).to.contain('conflict: c: other content').and.contain('left for the next run: l: growing').and.contain('lost: x: removed')
    expect(text).to.contain('failed: and 20 more')
    expect(result.exitCode).to.equal(12)
    expect(renderWalSync([result]).verdict).to.deep.include({level: 'error', message: 'done in part'})
  })

  it('C32: a run that was stopped says how many were not uploaded, and what to do', () => {
    const result = walResult(undefined, new StoreUnreachableError('nobody answers', {hint: 'see whether it is up'}))
    expect(result).to.deep.include({exitCode: 2, notUploaded: 1})
    expect(renderWalSync([result]).verdict).to.deep.include({level: 'error', message: 'nobody answers'})
    expect((renderWalSync([result]).summary ?? []).join('\n')).to.contain('1 WAL files not uploaded').and.contain('see whether it is up')
  })
})

describe('the result of a base sync', () => {
  it('gives no log line when there was nothing to do', () => expect(renderBaseSync([baseResult()]).verdict).to.equal(undefined))

  it('says what became of each backup', () => {
    const {summary, verdict} = renderBaseSync([baseResult([
      {outcome: 'copied', files: 985, bytes: 40_000_000}, {outcome: 'refused', reason: 'FAILED in Barman', exitCode: 10}, {outcome: 'not-finished', reason: 'STARTED'},
    ], {metadataUpdated: 1, brokenTasks: ['x.run']})])
    expect(summary).to.deep.equal([
      'pg 20261101T020000: copied, 985 files, 38.1 MiB',
      'pg 20261101T020000: cannot be copied (FAILED in Barman)',
      'pg 20261101T020000: not finished in Barman yet (STARTED)',
      'pg: 1 metadata file brought up to date',
      'pg: "x.run" in the queue is no valid task and was set aside',
    ])
    expect(verdict).to.deep.include({level: 'error', message: 'FAILED in Barman'})
    expect(verdict?.fields).to.deep.include({copied: 1, refused: 1, notFinished: 1, metadataUpdated: 1, brokenTasks: 1})
  })
})

describe('the result of a full sync', () => {
  it('tells of both parts, and of one that could not begin', () => {
    const {summary, verdict} = renderFullSync([{
      server: 'pg', base: undefined, baseError: {code: 'BARMAN_FILES', message: 'no catalogue', hint: 'mount the disk'},
      wal: walResult((tally) => tally.addUploaded('000000010000000000000005', 1)), walError: undefined, isDryRun: false, stoppedBy: undefined, exitCode: 13,
    }])
    expect(summary).to.include('pg: base backups: no catalogue').and.include('  mount the disk')
    expect(verdict).to.deep.include({level: 'error', message: 'no catalogue'})
    expect(verdict?.fields).to.deep.include({'wal.uploaded': 1, hint: 'mount the disk'})
  })

  it('C58: gives no log line when neither had anything to do', () => {
    const quiet = {server: 'pg', base: baseResult(), baseError: undefined, wal: walResult(), walError: undefined, isDryRun: false, stoppedBy: undefined, exitCode: 0 as const}
    expect(renderFullSync([quiet]).verdict).to.equal(undefined)
  })
})

describe('the list of backups', () => {
  it('C04: shows what is not known as a dash, and why a backup is not restorable', () => {
    const {table} = renderBaseList([{server: 'pg', latestRestorable: undefined, problems: [], isCatalogRead: true, backups: [
      row({barmanStatus: 'EMPTY', isLocal: true, reason: 'not in S3'}),
      row({
        backupId: '20261102T020000', name: 'nightly', beginTime: '2026-11-02T02:00:00.000Z', endTime: '2026-11-02T02:04:00.000Z', sizeBytes: 1024,
        storedBytes: 1024, layout: 'mirror', state: 'complete', restorable: 'yes', isLocal: false,
      }),
      row({backupId: '20261103T020000', state: 'legacy', restorable: 'unproven', reason: 'no record'}),
    ]}])
    expect(table).to.deep.equal([
      'SERVER  BACKUP ID        NAME     BEGIN                 END                      SIZE   STORED  LAYOUT  BARMAN  S3        RESTORABLE           LOCAL',
      'pg      20261101T020000  -        -                     -                           -        -  -       EMPTY   -         no: not in S3        yes',
      'pg      20261102T020000  nightly  2026-11-02 02:00:00Z  2026-11-02 02:04:00Z  1.0 KiB  1.0 KiB  mirror  -       complete  yes                  no',
      'pg      20261103T020000  -        -                     -                           -        -  -       -       legacy    unproven: no record  ?',
    ])
  })
})

describe('the queue', () => {
  it('shows tasks, counts and what is no task', () => {
    const {table} = renderQueueStatus({
      queueDirectory: '/q', counts: {run: 1, running: 0, done: 2, error: 0},
      broken: [{path: '/q/pg/README', directory: '/q/pg', name: 'README', server: 'pg', reason: 'foreign', isSetAside: false}],
      tasks: [{version: 1, server: 'pg', backupId: '20261101T020000' as never, state: 'run', addedAt: '2026-11-01T02:05:00Z', attempts: 2, ageSeconds: 90,
        lastError: {code: 'X', message: 'line one\nline two', at: '2026-11-01T02:06:00Z'}}],
    })
    expect(table).to.deep.equal([
      'SERVER  BACKUP ID        STATE    AGE  ATTEMPTS  LAST ERROR',
      'pg      20261101T020000  run    1 min         2  line one\\x0aline two',
      '',
      '/q: 1 waiting, 0 running, 2 done, 0 with an error, 1 broken entry',
      '  broken: /q/pg/README: foreign',
    ])
  })
})

describe('the plan of a dry run', () => {
  it('is the result itself, so it is on stdout without a terminal, too', () => {
    const planned = [{name: '000000010000000000000005', decision: 'upload', sizeBytes: 16_777_216}] as const
    const wal = new WalTally().result('pg', planned, undefined, true)
    const base = baseResult([{outcome: 'planned', files: 2, bytes: 10}], {isDryRun: true, metadataUpdated: 1})
    const walLines = ['pg: 1 WAL file (000000010000000000000005), 16.0 MiB would be uploaded; 0 already there', '  upload  000000010000000000000005  16.0 MiB']
    const baseLines = ['pg 20261101T020000: would be copied, 2 files, 10 B', 'pg: 1 metadata file would be brought up to date']
    expect(renderWalSync([wal])).to.deep.include({table: walLines}).and.not.have.property('summary')
    expect(renderBaseSync([base])).to.deep.include({table: baseLines}).and.not.have.property('summary')
    const full = {server: 'pg', base, wal, baseError: undefined, walError: undefined, isDryRun: true, stoppedBy: undefined, exitCode: 0} as const
    expect(renderFullSync([full])).to.deep.include({table: [...baseLines, ...walLines]}).and.not.have.property('summary')
  })
})

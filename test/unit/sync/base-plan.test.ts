import {expect} from 'chai'
import type {RemoteBackupState} from '../../../src/lib/archive/backup-state.ts'
import {parseBackupInfo} from '../../../src/lib/barman/backup-info.ts'
import type {CatalogBackup} from '../../../src/lib/barman/catalog.ts'
import {decideBackup} from '../../../src/lib/sync/base-plan.ts'

function backup(status: string, changes: Partial<CatalogBackup> = {}, fields = ''): CatalogBackup {
  return {
    id: '20261101T020000' as never, info: parseBackupInfo(`status=${status}\n${fields}`), infoPath: '/m', oldInfoPath: undefined, infoText: undefined, hasDataDirectory: true,
    isOrphan: false, keepTarget: undefined, keepPath: undefined, deleteMarkerPath: undefined, problem: undefined, ...changes,
  }
}

describe('what is to be done with a base backup', () => {
  for (const [what, local, state, isTombstoned, again, action] of [
    ['gone, in S3', undefined, 'complete', false, false, 'done'],
    ['gone, nowhere', undefined, 'absent', false, false, 'refuse'],
    ['DONE, not in S3', backup('DONE'), 'absent', false, false, 'copy'],
    ['WAITING_FOR_WALS, not in S3', backup('WAITING_FOR_WALS'), 'absent', false, false, 'copy'],
    ['DONE, an earlier copy not finished', backup('DONE'), 'incomplete', false, false, 'copy'],
    ['DONE, complete', backup('DONE'), 'complete', false, false, 'done'],
    ['DONE, complete, again', backup('DONE'), 'complete', false, true, 'done'],
    ['DONE, made by the old scripts', backup('DONE'), 'legacy', false, false, 'skip'],
    ['DONE, made by the old scripts, again', backup('DONE'), 'legacy', false, true, 'copy'],
    ['DONE, deleted in S3', backup('DONE'), 'absent', true, false, 'skip'],
    ['DONE, being deleted in S3', backup('DONE'), 'deleting', true, false, 'skip'],
    ['DONE, deleted in S3, again', backup('DONE'), 'absent', true, true, 'copy'],
    ['EMPTY', backup('EMPTY'), 'absent', false, false, 'wait'],
    ['STARTED', backup('STARTED'), 'absent', false, false, 'wait'],
    ['SYNCING', backup('SYNCING'), 'absent', false, false, 'wait'],
    ['FAILED', backup('FAILED'), 'absent', false, true, 'refuse'],
    ['a status nobody knows', backup('NEWER'), 'absent', false, false, 'broken'],
    ['no status', backup('None'), 'absent', false, false, 'broken'],
    ['unreadable', backup('DONE', {info: undefined, problem: 'cut'}), 'absent', false, false, 'broken'],
    ['being deleted by Barman', backup('DONE', {deleteMarkerPath: '/d'}), 'absent', false, false, 'refuse'],
    ['without its data', backup('DONE', {hasDataDirectory: false}), 'absent', false, false, 'broken'],
    ['without its data, in S3 by the old scripts', backup('DONE', {hasDataDirectory: false}), 'legacy', false, false, 'skip'],
    ['unreadable, deleted in S3', backup('DONE', {info: undefined, problem: 'cut'}), 'deleting', true, false, 'skip'],
    ['unreadable, deleted in S3, again', backup('DONE', {info: undefined, problem: 'cut'}), 'deleting', true, true, 'broken'],
    ['FAILED, made by the old scripts, again', backup('FAILED'), 'legacy', false, true, 'refuse'],
    ['gone, made by the old scripts', undefined, 'legacy', false, false, 'refuse'],
    ['in disk snapshots', backup('DONE', {}, "snapshots_info={'a': 1}\n"), 'absent', false, false, 'refuse'],
  ] as const satisfies readonly (readonly [string, CatalogBackup | undefined, RemoteBackupState, boolean, boolean, string])[]) {
    it(`${what}: ${action}`, () => {
      const decision = decideBackup(local, {state, isTombstoned}, {again})
      expect(decision.action).to.equal(action)
      expect(decision.reason).to.be.a('string').and.not.equal('')
    })
  }

  it('the reason of a failure is told', () => {
    expect(decideBackup(backup('FAILED', {}, 'error=failure copying files\n'), {state: 'absent', isTombstoned: false}, {again: false}).reason).to.contain('failure copying files')
  })
})

import {expect} from 'chai'
import {parseBackupId, type BackupId} from '../../../src/lib/barman/backup-id.ts'
import {
  boundText, failTask, finishTask, formatTask, formatTaskFileName, newTask, parseTask, parseTaskFileName, putBackTask,
  retryTask, startTask,
} from '../../../src/lib/queue/task.ts'

const backupId = parseBackupId('20261125T073400') as BackupId
const at = (minute: number) => new Date(Date.UTC(2026, 10, 25, 8, minute))

describe('a queue task', () => {
  it('goes run, running, back to run, running, done, and counts its attempts', () => {
    const added = newTask({server: 'main', backupId, hook: {status: 'WAITING_FOR_WALS'}}, at(0))
    expect(added).to.deep.equal({
      version: 1, server: 'main', backupId, state: 'run', addedAt: '2026-11-25T08:00:00.000Z', attempts: 0,
      hook: {status: 'WAITING_FOR_WALS'},
    })
    const started = startTask(added, at(1))
    expect(started).to.include({state: 'running', attempts: 1, startedAt: '2026-11-25T08:01:00.000Z'})
    const back = putBackTask(started, at(2), {code: 'STORE_UNREACHABLE', message: 'no route'})
    expect(back).to.deep.include({
      state: 'run', attempts: 1, lastError: {code: 'STORE_UNREACHABLE', message: 'no route', at: '2026-11-25T08:02:00.000Z'},
    })
    const done = finishTask(startTask(back, at(3)), at(4), {systemId: '7301', beginWal: undefined})
    expect(done).to.deep.include({state: 'done', attempts: 2, endedAt: '2026-11-25T08:04:00.000Z'})
    expect(done).to.not.have.property('lastError')
    expect(done.addedAt).to.equal(added.addedAt)
  })

  it('that failed keeps why, also when it is tried again', () => {
    const failed = failTask(startTask(newTask({server: 'main', backupId}, at(0)), at(1)), at(2), {code: 'BARMAN_FILES', message: 'gone'})
    expect(failed).to.include({state: 'error', endedAt: '2026-11-25T08:02:00.000Z'})
    const again = retryTask(failed)
    expect(again).to.deep.include({state: 'run', attempts: 1, lastError: failed.lastError})
    expect(again).to.not.have.property('endedAt')
  })

  it('comes back from its text, and its file name decides the state', () => {
    const task = finishTask(startTask(newTask({
      server: 'ünïcode "x"\n', backupId, hook: {error: '$(id)\u0000'}, identity: {systemId: '7301', beginXlog: '0/3000028'},
    }, at(0)), at(1)), at(2))
    expect(parseTask(JSON.parse(formatTask(task)), backupId, 'done')).to.deep.equal({task})
    expect(parseTask(JSON.parse(formatTask(task)), backupId, 'running')).to.deep.equal({task: {...task, state: 'running'}})
  })

  const good = JSON.parse(formatTask(newTask({server: 'main', backupId}, at(0)))) as Record<string, unknown>
  const damages: ReadonlyArray<readonly [string, unknown]> = [
    ['not a JSON object', null], ['not a JSON object', [good]], ['not a task of version 1', {...good, version: 2}],
    ['another backup id', {...good, backupId: '20261125T073401'}], ['names no server', {...good, server: ''}],
    ['addedAt', {...good, addedAt: 'yesterday'}], ['attempts', {...good, attempts: -1}],
    ['attempts', {...good, attempts: '1'}],
  ]
  for (const [reason, value] of damages) {
    it(`is none with ${JSON.stringify(value).slice(0, 60)} (${reason})`, () => {
      const parsed = parseTask(value, backupId, 'run')
      expect('broken' in parsed && parsed.broken).to.include(reason)
    })
  }

  it('drops optional members that make no sense, instead of the task', () => {
    const parsed = parseTask({...good, lastError: 'x', hook: [1], identity: {systemId: 1}, startedAt: 5}, backupId, 'run')
    expect(parsed).to.deep.equal({task: {...good, identity: {}}})
  })

  it('has a file name of id and state, and no other name is one', () => {
    expect(formatTaskFileName({backupId, state: 'running'})).to.equal('20261125T073400.running')
    expect(parseTaskFileName('20261125T073400.error')).to.deep.equal({backupId, state: 'error'})
    for (const name of ['20261125T073400', '20261125T073400.run.tmp', '.20261125T073400.run', 'x.run', 'README',
      '20261125T073400.RUN', '20261125T073400.run.broken', '']) {
      expect(parseTaskFileName(name), name).to.equal(undefined)
    }
  })

  it('keeps texts bounded and says what is missing', () => {
    expect(boundText('short')).to.equal('short')
    expect(boundText('x'.repeat(100_000))).to.match(/^x{2000}… \(98000 characters more\)$/)
  })
})

import {expect} from 'chai'
import {mkdir, readdir, readFile, symlink, utimes, writeFile} from 'node:fs/promises'
import {join} from 'node:path'
import {parseBackupId, type BackupId} from '../../../src/lib/barman/backup-id.ts'
import {LocalStateError} from '../../../src/lib/errors.ts'
import {listTasks} from '../../../src/lib/queue/task-list.ts'
import {
  addTask, fail, finish, pruneTasks, putBack, recoverRunning, retryTasks, setAside, takeNext,
} from '../../../src/lib/queue/task-store.ts'
import {readQueueStatus} from '../../../src/lib/queue/status.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

const id = (second: number) => parseBackupId(`20261125T0734${String(second).padStart(2, '0')}`) as BackupId
const at = (minute: number) => new Date(Date.UTC(2026, 10, 25, 8, minute))
const reason = {code: 'STORE_UNREACHABLE', message: 'no route'}

describe('the directory of queue tasks', () => {
  const directory = useTemporaryDirectory()
  const queue = () => join(directory(), 'queue.d')
  const names = async (server = 'main') => (await readdir(join(queue(), server))).filter((name) => name !== '.lock').sort()
  const add = (second: number, minute = 0, server = 'main') => addTask(queue(), {server, backupId: id(second)}, at(minute))

  it('holds one file per task, below its server, 0640', async () => {
    expect((await add(0)).outcome).to.equal('added')
    expect((await add(0, 0, 'other/../server')).outcome).to.equal('added')
    expect(await names()).to.deep.equal(['20261125T073400.run'])
    expect(await names('other%2F..%2Fserver')).to.deep.equal(['20261125T073400.run'])
  })

  it('makes two adds one task, one after the other and at once', async () => {
    await add(0)
    expect((await add(0, 1)).outcome).to.equal('present')
    const outcomes = await Promise.all(Array.from({length: 8}, async () => (await add(1)).outcome))
    expect(outcomes.filter((outcome) => outcome === 'added')).to.have.length(1)
    expect(outcomes.filter((outcome) => outcome === 'present')).to.have.length(7)
    expect(await names()).to.deep.equal(['20261125T073400.run', '20261125T073401.run'])
  })

  it('adds nothing beside a task in work', async () => {
    await add(0)
    await takeNext(queue(), 'main', at(1))
    const result = await add(0, 2)
    expect([result.outcome, result.task.state]).to.deep.equal(['present', 'running'])
    expect(await names()).to.deep.equal(['20261125T073400.running'])
  })

  it('reopens a task that ended with an error', async () => {
    await add(0)
    const task = await takeNext(queue(), 'main', at(1))
    await fail(queue(), task!, at(2), reason)
    expect(await names()).to.deep.equal(['20261125T073400.error'])
    const result = await add(0, 3)
    expect(result.outcome).to.equal('reopened')
    expect(result.task).to.include({state: 'run', attempts: 0, addedAt: at(3).toISOString()})
    expect(await names()).to.deep.equal(['20261125T073400.run'])
  })

  it('reopens a finished task only for another backup with the same id', async () => {
    const identity = {systemId: '7301', beginTime: '2026-11-25T07:34:00.000001Z', beginXlog: '0/3000028'}
    await add(0)
    await finish(queue(), (await takeNext(queue(), 'main', at(1)))!, at(2), identity)
    const request = {server: 'main', backupId: id(0)}
    const unknown = await addTask(queue(), request, at(3))
    expect([unknown.outcome, unknown.isSameBackup]).to.deep.equal(['already-done', false])
    const same = await addTask(queue(), request, at(3), async () => ({...identity, beginWal: '000000010000000000000003'}))
    expect([same.outcome, same.isSameBackup]).to.deep.equal(['already-done', true])
    expect(await names()).to.deep.equal(['20261125T073400.done'])
    const other = await addTask(queue(), {...request, identity: {...identity, systemId: '7302'}}, at(4))
    expect(other.outcome).to.equal('reopened')
    expect(await names()).to.deep.equal(['20261125T073400.run'])
  })

  it('asks for the identity only beside a finished task', async () => {
    let asked = 0
    const readIdentity = async () => {
      asked++
      return undefined
    }
    const request = {server: 'main', backupId: id(0)}
    await addTask(queue(), request, at(0), readIdentity)
    await addTask(queue(), request, at(0), readIdentity)
    expect(asked).to.equal(0)
    await finish(queue(), (await takeNext(queue(), 'main', at(1)))!, at(2))
    expect((await addTask(queue(), request, at(3), readIdentity)).outcome).to.equal('already-done')
    expect(asked).to.equal(1)
  })

  it('gives out the oldest first, whatever the ids say, and none twice', async () => {
    await add(1, 5)
    await add(2, 3)
    await add(3, 4)
    const taken: string[] = []
    for (let task = await takeNext(queue(), 'main', at(6)); task; task = await takeNext(queue(), 'main', at(6))) {
      taken.push(task.backupId)
    }
    expect(taken).to.deep.equal([id(2), id(3), id(1)])
    expect(await takeNext(queue(), 'unknown', at(6))).to.equal(undefined)
  })

  it('does not give out again in one run what that run has put back', async () => {
    await add(1)
    const task = await takeNext(queue(), 'main', at(1))
    const back = await putBack(queue(), task!, at(2), reason)
    expect(await names()).to.deep.equal(['20261125T073401.run'])
    expect(await takeNext(queue(), 'main', at(3), new Set([back.backupId]))).to.equal(undefined)
    const again = await takeNext(queue(), 'main', at(3))
    expect(again).to.deep.include({attempts: 2, lastError: {...reason, at: at(2).toISOString()}})
  })

  it('stores the end of a task whose file somebody has removed', async () => {
    await add(1)
    const task = await takeNext(queue(), 'main', at(1))
    const {rm} = await import('node:fs/promises')
    await rm(join(queue(), 'main'), {recursive: true})
    await finish(queue(), task!, at(2))
    expect(await names()).to.deep.equal(['20261125T073401.done'])
  })

  it('takes up again what a dead run left in work', async () => {
    await add(1)
    await add(2)
    await takeNext(queue(), 'main', at(1))
    const [recovered] = await recoverRunning(queue(), 'main', at(2))
    expect(recovered).to.deep.include({backupId: id(1), state: 'run', attempts: 1})
    expect(recovered?.lastError?.code).to.equal('INTERRUPTED')
    expect(await names()).to.deep.equal(['20261125T073401.run', '20261125T073402.run'])
    expect(await recoverRunning(queue(), 'unknown', at(2))).to.deep.equal([])
  })

  it('retries what ended with an error: all, a server, or one', async () => {
    for (const server of ['a', 'b']) {
      for (const second of [1, 2]) {
        await add(second, 0, server)
        await fail(queue(), (await takeNext(queue(), server, at(1)))!, at(2), reason)
      }
    }
    expect(await retryTasks(queue(), at(3), {server: 'a', backupId: id(1)})).to.have.length(1)
    expect(await names('a')).to.deep.equal(['20261125T073401.run', '20261125T073402.error'])
    expect(await retryTasks(queue(), at(3), {server: 'b'})).to.have.length(2)
    expect(await retryTasks(queue(), at(3))).to.have.length(1)
    expect(await retryTasks(queue(), at(3))).to.deep.equal([])
  })

  it('prunes what ended long ago, and nothing else', async () => {
    await add(1)
    await finish(queue(), (await takeNext(queue(), 'main', at(1)))!, at(2))
    await add(2)
    await fail(queue(), (await takeNext(queue(), 'main', at(3)))!, at(4), reason)
    await add(3)
    await finish(queue(), (await takeNext(queue(), 'main', at(5)))!, at(30))
    await add(4)
    const olderThanMs = 10 * 60_000
    const done = await pruneTasks(queue(), at(31), {olderThanMs, states: ['done']})
    expect(done.map(({backupId}) => backupId)).to.deep.equal([id(1)])
    const errors = await pruneTasks(queue(), at(31), {olderThanMs, states: ['done', 'error']})
    expect(errors.map(({backupId}) => backupId)).to.deep.equal([id(2)])
    expect(await names()).to.deep.equal(['20261125T073403.done', '20261125T073404.run'])
  })

  describe('C09: with damaged and foreign files in it', () => {
    beforeEach(async () => {
      await add(1)
      const server = join(queue(), 'main')
      await add(2)
      const whole = await readFile(join(server, '20261125T073402.run'), 'utf8')
      await writeFile(join(server, '20261125T073402.run'), whole.slice(0, whole.length / 2))
      await writeFile(join(server, '20261125T073403.run'), '')
      await writeFile(join(server, '20261125T073404.run.tmp'), whole)
      await writeFile(join(server, 'README'), 'hands off')
      await writeFile(join(queue(), 'README'), 'hands off')
      await writeFile(join(server, '.tmp-77-0123456789abcdef'), 'left over')
      await utimes(join(server, '.tmp-77-0123456789abcdef'), at(0), at(0))
      await writeFile(join(server, '.tmp-78-0123456789abcdef'), 'in work')
    })

    it('the good task is given out, the others are named and set aside, none is deleted', async () => {
      const now = new Date()
      const list = await listTasks(queue(), now)
      expect(list.tasks.map(({backupId}) => backupId)).to.deep.equal([id(1)])
      expect(list.broken.map(({name, reason: why}) => `${name}: ${why}`).sort()).to.deep.equal([
        '.tmp-77-0123456789abcdef: left over from a process that died while writing',
        '20261125T073402.run: not whole JSON (cut or foreign)',
        '20261125T073403.run: empty, 0 bytes',
        '20261125T073404.run.tmp: not a task file',
        'README: not a task file',
        'README: not the directory of a server',
      ])
      expect((await takeNext(queue(), 'main', now))?.backupId).to.equal(id(1))
      expect(await takeNext(queue(), 'main', now)).to.equal(undefined)
      for (const entry of list.broken) expect(await setAside(queue(), entry)).to.equal(`${entry.path}.broken`)
      expect(await names()).to.deep.equal([
        '.tmp-77-0123456789abcdef.broken', '.tmp-78-0123456789abcdef', '20261125T073401.running',
        '20261125T073402.run.broken', '20261125T073403.run.broken', '20261125T073404.run.tmp.broken', 'README.broken',
      ])
      expect(await readFile(join(queue(), 'main/README.broken'), 'utf8')).to.equal('hands off')
      for (const entry of list.broken) expect(await setAside(queue(), entry)).to.equal(undefined)
      const later = (await listTasks(queue(), now)).broken
      expect(later.filter(({isSetAside}) => !isSetAside)).to.deep.equal([])
      expect(later).to.have.length(6)
    })

    it('queue status counts them', async () => {
      const status = await readQueueStatus(queue(), {}, new Date())
      expect(status.counts).to.deep.equal({run: 1, running: 0, done: 0, error: 0})
      expect(status.broken).to.have.length(6)
    })

    it('an add of a damaged task sets the file aside and adds it anew', async () => {
      const result = await add(3)
      expect(result.outcome).to.equal('added')
      expect(result.setAside).to.deep.equal([join(queue(), 'main/20261125T073403.run.broken')])
      await writeFile(join(queue(), 'main/20261125T073403.run'), '{')
      expect((await add(3)).setAside).to.deep.equal([join(queue(), 'main/20261125T073403.run.broken-2')])
    })

    it('a task that was whole again is not set aside', async () => {
      const {broken} = await listTasks(queue(), new Date())
      await add(3)
      const entry = broken.find(({name}) => name === '20261125T073403.run')
      expect(await setAside(queue(), entry!)).to.equal(undefined)
      expect(await names()).to.include('20261125T073403.run')
    })
  })

  it('a task in the directory of another server is broken', async () => {
    await add(1)
    await mkdir(join(queue(), 'other'))
    await writeFile(join(queue(), 'other/20261125T073401.run'), await readFile(join(queue(), 'main/20261125T073401.run')))
    const {broken} = await listTasks(queue(), new Date(), 'other')
    expect(broken[0]?.reason).to.include('belongs to another server')
  })

  it('does not follow a symbolic link, neither as directory nor as task', async () => {
    await mkdir(queue())
    await mkdir(join(directory(), 'elsewhere'))
    await symlink(join(directory(), 'elsewhere'), join(queue(), 'main'))
    try {
      await add(1)
      throw new Error('it was added')
    } catch (error) {
      expect(error).to.be.instanceOf(LocalStateError)
    }
    expect(await readdir(join(directory(), 'elsewhere'))).to.deep.equal([])
    await add(1, 0, 'other')
    await symlink(join(queue(), 'other/20261125T073401.run'), join(queue(), 'other/20261125T073402.run'))
    const {tasks, broken} = await listTasks(queue(), new Date(), 'other')
    expect([tasks.length, broken[0]?.reason]).to.deep.equal([1, 'a symbolic link'])
  })

  it('status shows age, attempts and the last error, filtered by state and server', async () => {
    await add(1)
    await add(2, 1)
    const task = await takeNext(queue(), 'main', at(2))
    await putBack(queue(), task!, at(3), reason)
    await add(1, 0, 'other')
    await takeNext(queue(), 'other', at(8))
    const all = await readQueueStatus(queue(), {}, at(10))
    expect(all.tasks.map(({server, state, ageSeconds, attempts}) => [server, state, ageSeconds, attempts])).to.deep.equal([
      ['main', 'run', 600, 1], ['main', 'run', 540, 0], ['other', 'running', 120, 1],
    ])
    expect(all.tasks[0]?.lastError?.message).to.equal('no route')
    const some = await readQueueStatus(queue(), {states: ['running'], server: 'main'}, at(10))
    expect([some.tasks.length, some.counts.run]).to.deep.equal([0, 2])
  })

  it('is empty when it does not exist, and says so when it is a file', async () => {
    expect(await listTasks(queue(), new Date())).to.deep.equal({tasks: [], broken: []})
    await writeFile(queue(), '')
    try {
      await listTasks(queue(), new Date())
      throw new Error('it was listed')
    } catch (error) {
      expect(error).to.be.instanceOf(LocalStateError)
    }
  })
})

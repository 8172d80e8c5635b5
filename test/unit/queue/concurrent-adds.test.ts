import {expect} from 'chai'
import {readdir} from 'node:fs/promises'
import {join} from 'node:path'
import {setTimeout as delay} from 'node:timers/promises'
import {finish, takeNext} from '../../../src/lib/queue/task-store.ts'
import {listTasks} from '../../../src/lib/queue/task-list.ts'
import {makeInstallation, type Installation} from '../../support/installation.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

const ROUNDS = 5
const TASKS = 100
const AT_ONCE = 50

describe('C10: 100 queue adds by 50 processes at once while a worker takes tasks', function () {
  this.timeout(900_000)
  const directory = useTemporaryDirectory()
  let installation: Installation

  before(async () => {
    installation = await makeInstallation()
  })
  after(async () => {
    await installation.remove()
  })

  async function addAll(queue: string, ids: readonly string[]): Promise<Array<number | null>> {
    const waiting = [...ids]
    const statuses: Array<number | null> = []
    await Promise.all(Array.from({length: AT_ONCE}, async () => {
      for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) {
        const {status} = await installation.run(['queue', 'add'], {
          BARMANS3_QUEUE_DIRECTORY: queue, BARMAN_SERVER: 'main', BARMAN_BACKUP_ID: id, BARMAN_PHASE: 'post',
          BARMAN_HOOK: 'backup_script', BARMAN_STATUS: 'WAITING_FOR_WALS', BARMAN_ERROR: '',
        })
        statuses.push(status)
      }
    }))
    return statuses
  }

  for (let round = 1; round <= ROUNDS; round++) {
    it(`none is lost, doubled or half-written (round ${round})`, async () => {
      const queue = join(directory(), 'queue.d')
      const ids = Array.from({length: TASKS}, (_, index) => `20261125T${String(round * 1000 + index).padStart(6, '0')}`)
      const seen: string[] = []
      let isOver = false
      const worker = (async () => {
        for (;;) {
          const isLast = isOver
          const task = await takeNext(queue, 'main', new Date())
          if (task) {
            seen.push(task.backupId)
            await finish(queue, task, new Date())
          } else if (isLast) return
          else await delay(5)
        }
      })()
      const statuses = await addAll(queue, ids)
      isOver = true
      await worker
      expect(statuses).to.deep.equal(Array.from({length: TASKS}, () => 0))
      expect(seen.sort()).to.deep.equal(ids)
      expect((await readdir(join(queue, 'main'))).sort()).to.deep.equal(['.lock', ...ids.map((id) => `${id}.done`)])
      const {tasks, broken} = await listTasks(queue, new Date())
      expect([tasks.length, broken.length]).to.deep.equal([TASKS, 0])
    })
  }
})

describe('C10: many adds of one backup', function () {
  this.timeout(180_000)
  const directory = useTemporaryDirectory()

  it('are one task however a worker moves it about meanwhile', async () => {
    const {addTask, putBack} = await import('../../../src/lib/queue/task-store.ts')
    const {parseBackupId} = await import('../../../src/lib/barman/backup-id.ts')
    const queue = join(directory(), 'queue.d')
    const backupId = parseBackupId('20261125T073400')!
    await addTask(queue, {server: 'main', backupId}, new Date())
    let isOver = false
    const worker = (async () => {
      while (!isOver) {
        const task = await takeNext(queue, 'main', new Date())
        if (task) await putBack(queue, task, new Date(), {code: 'X', message: 'again'})
      }
    })()
    const adder = async () => {
      for (let count = 0; count < 15; count++) {
        expect((await addTask(queue, {server: 'main', backupId}, new Date())).outcome).to.equal('present')
      }
    }
    await Promise.all([adder(), adder(), adder()])
    isOver = true
    await worker
    const {tasks} = await listTasks(queue, new Date())
    expect(tasks.map(({state}) => state)).to.deep.equal(['run'])
  })
})

import type {BackupIdentity} from '../barman/backup-info.ts'
import type {Clock} from '../clock.ts'
import {fail, finish, putBack, recoverRunning, setAside, takeNext} from '../queue/task-store.ts'
import {listTasks} from '../queue/task-list.ts'
import type {QueueTask} from '../queue/task.ts'

/** The queue of one server as a run of `base sync` sees it, which holds the server's base lock. */
export interface QueueAccess {
  /** Takes up again what a dead run left `running`. */
  recover(): Promise<void>
  /** Sets aside what is no task and returns the names. */
  setBrokenAside(): Promise<string[]>
  /** The tasks that wait, oldest first. */
  waiting(): Promise<QueueTask[]>
  /** The oldest waiting task, now `running`; not those in `except`. */
  takeNext(except: ReadonlySet<string>): Promise<QueueTask | undefined>
  /** With the identity of the backup, which tells a later one of the same id from it. */
  finish(task: QueueTask, identity?: BackupIdentity): Promise<void>
  /** It cannot succeed: `error`. */
  fail(task: QueueTask, code: string, message: string): Promise<void>
  /** A passing fault: `run` again. */
  putBack(task: QueueTask, code: string, message: string): Promise<void>
}

/** The queue directory's tasks of one server. */
export function openQueue(queueDirectory: string, server: string, clock: Clock): QueueAccess {
  return {
    async recover() {
      await recoverRunning(queueDirectory, server, clock.now())
    },
    async setBrokenAside() {
      const {broken} = await listTasks(queueDirectory, clock.now(), server)
      const names: string[] = []
      for (const entry of broken) if ((await setAside(queueDirectory, entry)) !== undefined) names.push(entry.name)
      return names
    },
    async waiting() {
      return (await listTasks(queueDirectory, clock.now(), server)).tasks.filter(({state}) => state === 'run' || state === 'running')
    },
    takeNext: async (except) => await takeNext(queueDirectory, server, clock.now(), except),
    async finish(task, identity) {
      await finish(queueDirectory, task, clock.now(), identity)
    },
    async fail(task, code, message) {
      await fail(queueDirectory, task, clock.now(), {code, message})
    },
    async putBack(task, code, message) {
      await putBack(queueDirectory, task, clock.now(), {code, message})
    },
  }
}

import {Args} from '@oclif/core'
import {BarmansCommand} from '../../lib/cli/base-command.ts'
import {formatCount} from '../../lib/cli/render/units.ts'
import {EXIT} from '../../lib/errors.ts'
import {retryTasks} from '../../lib/queue/task-store.ts'
import type {QueueTask} from '../../lib/queue/task.ts'

export interface QueueRetryResult {
  readonly reopened: readonly QueueTask[]
}

export default class QueueRetry extends BarmansCommand<QueueRetryResult> {
  static override args = {
    server: Args.string({description: 'Barman server; without one, all.'}),
    backup: Args.string({description: 'Backup id; without one, all of the server.'}),
  }
  static override description = 'The next base sync takes them up. Mend the reason first: see queue status --state error.\n\n'
    + 'Exit codes: 0 done or nothing to do, 3 usage or configuration.'
  static override examples = [
    {description: 'All of them:', command: '<%= config.bin %> <%= command.id %>'},
    {description: 'One backup:', command: '<%= config.bin %> <%= command.id %> main-server 20261101T020000'},
  ]
  static override summary = 'Put tasks that ended with an error back into the queue.'

  async run(): Promise<QueueRetryResult> {
    const {args, flags} = await this.parse(QueueRetry)
    return await this.perform(flags, async ({queueDirectory, clock}) => {
      const reopened = await retryTasks(queueDirectory, clock.now(), {
        ...(args.server === undefined ? {} : {server: args.server}), ...(args.backup === undefined ? {} : {backupId: args.backup}),
      })
      const names = reopened.map(({server, backupId}) => `  ${server} ${backupId}`)
      return {result: {reopened}, exitCode: EXIT.ok, rendered: {table: [`${formatCount(reopened.length, 'task')} put back into the queue`, ...names]}}
    })
  }
}

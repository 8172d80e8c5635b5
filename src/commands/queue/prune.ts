import {Flags} from '@oclif/core'
import {BarmansCommand} from '../../lib/cli/base-command.ts'
import {formatCount} from '../../lib/cli/render/units.ts'
import {parseDuration} from '../../lib/config/units.ts'
import {EXIT} from '../../lib/errors.ts'
import {pruneTasks} from '../../lib/queue/task-store.ts'
import type {QueueTask} from '../../lib/queue/task.ts'

export interface QueuePruneResult {
  readonly removed: readonly QueueTask[]
}

export default class QueuePrune extends BarmansCommand<QueuePruneResult> {
  static override description = 'Only tasks that have ended are removed, never a waiting or running one. Backups in S3 are not touched.\n\n'
    + 'Exit codes: 0 done or nothing to do, 3 usage or configuration.'
  static override examples = [
    {description: 'Forget what was done more than a month ago, from cron:', command: '<%= config.bin %> <%= command.id %> --older-than 30d'},
    {description: 'Failed ones, too:', command: '<%= config.bin %> <%= command.id %> --older-than 90d --errors'},
  ]
  static override flags = {
    errors: Flags.boolean({default: false, summary: 'Remove tasks that ended with an error, too.'}),
    'older-than': Flags.string({summary: 'Age since the task ended.', default: '30d', helpValue: 'DURATION'}),
    server: Flags.string({summary: 'Only this Barman server.', helpValue: 'SERVER'}),
  }
  static override summary = 'Remove old finished tasks from the queue.'

  async run(): Promise<QueuePruneResult> {
    const {flags} = await this.parse(QueuePrune)
    return await this.perform(flags, async ({queueDirectory, clock}) => {
      const removed = await pruneTasks(queueDirectory, clock.now(), {
        olderThanMs: parseDuration(flags['older-than']), states: flags.errors ? ['done', 'error'] : ['done'],
        ...(flags.server === undefined ? {} : {server: flags.server}),
      })
      return {result: {removed}, exitCode: EXIT.ok, rendered: {table: [`${formatCount(removed.length, 'task')} removed from the queue`]}}
    })
  }
}

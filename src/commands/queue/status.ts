import {Flags} from '@oclif/core'
import {BarmansCommand} from '../../lib/cli/base-command.ts'
import {renderQueueStatus} from '../../lib/cli/render/queue.ts'
import {EXIT} from '../../lib/errors.ts'
import {readQueueStatus, type QueueStatus} from '../../lib/queue/status.ts'
import {TASK_STATES, type TaskState} from '../../lib/queue/task.ts'

export default class QueueStatusCommand extends BarmansCommand<QueueStatus> {
  static override description = 'run: waits for base sync. running: being copied. done: in S3. error: cannot succeed as it is; mend the reason, '
    + 'then queue retry. Broken entries are files that are no tasks; base sync sets them aside and never deletes '
    + 'them.\n\n'
    + 'Exit codes: 0 shown, 3 usage or configuration.'
  static override examples = [
    {description: 'The whole queue:', command: '<%= config.bin %> <%= command.id %>'},
    {description: 'What needs a look, for a script:', command: '<%= config.bin %> <%= command.id %> --state error --json'},
  ]
  static override flags = {
    server: Flags.string({summary: 'Only this Barman server.', helpValue: 'SERVER'}),
    state: Flags.option({options: TASK_STATES, multiple: true, summary: 'Only tasks in this state; may be given several times.'})(),
  }
  static override summary = 'Show the queue of backups that wait to be copied.'

  async run(): Promise<QueueStatus> {
    const {flags} = await this.parse(QueueStatusCommand)
    return await this.perform(flags, async ({queueDirectory, clock}) => {
      const filters = {
        ...(flags.server === undefined ? {} : {server: flags.server}),
        ...(flags.state === undefined ? {} : {states: flags.state as TaskState[]}),
      }
      const result = await readQueueStatus(queueDirectory, filters, clock.now())
      return {result, exitCode: EXIT.ok, rendered: renderQueueStatus(result)}
    })
  }
}

import {Args} from '@oclif/core'
import {BarmansCommand} from '../../lib/cli/base-command.ts'
import {EXIT} from '../../lib/errors.ts'
import {addFromHook, type QueueAddResult} from '../../lib/queue/add.ts'
import {readBackupIdentity} from '../../lib/queue/backup-identity.ts'

export default class QueueAdd extends BarmansCommand<QueueAddResult> {
  static override args = {
    server: Args.string({description: 'Barman server; from BARMAN_SERVER in a hook.'}),
    backup: Args.string({description: 'Backup id; from BARMAN_BACKUP_ID in a hook.'}),
  }
  static override description = 'Made to be Barman\'s post_backup_script or post_backup_retry_script: reads the BARMAN_* variables, uses no '
    + 'network, and ends in about a tenth of a second. As a retry hook it ends with 0 or 62, never with a code that '
    + 'Barman would repeat for ever. Adding a backup twice is one task; a backup that FAILED in Barman is not added.\n\n'
    + 'Exit codes: 0 added or nothing to add, 3 usage or queue directory not writable, 62 any failure under '
    + 'BARMAN_RETRY=1.'
  static override examples = [
    {description: 'In the server section of barman.conf:', command: 'post_backup_script = /usr/local/bin/<%= config.bin %> <%= command.id %>'},
    {description: 'By hand:', command: '<%= config.bin %> <%= command.id %> main-server 20261101T020000'},
  ]
  static override summary = 'Put a backup into the queue for the next base sync.'

  async run(): Promise<QueueAddResult> {
    const {args, flags} = await this.parse(QueueAdd)
    return await this.perform(flags, async ({queueDirectory, clock, progress}) => {
      const named = {
        ...(args.server === undefined ? {} : {server: args.server}), ...(args.backup === undefined ? {} : {backupId: args.backup}),
      }
      const result = await addFromHook(process.env, named, {queueDirectory, clock, readIdentity: readBackupIdentity})
      for (const warning of result.warnings) progress.warn(warning)
      return {result, exitCode: EXIT.ok, rendered: {table: [result.message]}}
    })
  }
}

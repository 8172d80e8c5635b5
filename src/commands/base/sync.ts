import {Args, Flags} from '@oclif/core'
import type {RequestCounts} from '../../lib/store/object-store.ts'
import {BarmansCommand} from '../../lib/cli/base-command.ts'
import {forEachServer} from '../../lib/cli/each-server.ts'
import {dryRunFlag, syncFlags} from '../../lib/cli/flags.ts'
import {renderBaseSync} from '../../lib/cli/render/base-sync.ts'
import {baseServerNames, checkBaseSyncFlags} from '../../lib/cli/base-servers.ts'
import type {BaseSyncResult} from '../../lib/sync/base-result.ts'
import {syncBase} from '../../lib/sync/base-sync.ts'
import {openQueue} from '../../lib/sync/queue-access.ts'

export interface BaseSyncCommandResult {
  readonly servers: readonly BaseSyncResult[]
  /** Requests sent to S3, by operation. */
  readonly requests: RequestCounts
}

export default class BaseSync extends BarmansCommand<BaseSyncCommandResult> {
  static override args = {server: Args.string({description: 'Barman server; without one, every server.'})}
  static override description = 'Works through the queue that the Barman hook fills, oldest first, then takes every finished backup that has no '
    + 'record in S3. A backup is recorded as complete only when all of it is in S3 and nothing of it changed '
    + 'meanwhile. Later changes of backup.info and keep are carried over on each run.\n\n'
    + 'Exit codes: 0 done or nothing to do, 1 store refused, 2 store unreachable, 3 usage or configuration, 10 partly '
    + 'done, 11 another run or host copies it, 12 conflict, 13 Barman\'s files missing, unreadable or changing.'
  static override examples = [
    {description: 'Everything that waits, from cron once a day:', command: '<%= config.bin %> <%= command.id %>'},
    {description: 'One server:', command: '<%= config.bin %> <%= command.id %> main-server'},
    {description: 'One backup, after its copy in S3 was deleted on purpose:', command: '<%= config.bin %> <%= command.id %> main-server --backup 20261101T020000 --again'},
    {description: 'Take over from a host that has stopped for good:', command: '<%= config.bin %> <%= command.id %> main-server --backup 20261101T020000 --adopt'},
  ]
  static override flags = {
    ...syncFlags,
    adopt: Flags.boolean({summary: 'Take over a backup that another host began and will not finish.', dependsOn: ['backup']}),
    again: Flags.boolean({summary: 'Send a backup again that was deleted in S3 on purpose or copied by the old scripts.', dependsOn: ['backup']}),
    backup: Flags.string({summary: 'Only this backup; may be given several times.', multiple: true, helpValue: 'ID'}),
    'dry-run': dryRunFlag,
    'queue-only': Flags.boolean({summary: 'Only what is in the queue, not what the hook missed.', exclusive: ['backup']}),
  }
  static override summary = 'Copy base backups to S3: those in the queue, then those the hook missed.'

  async run(): Promise<BaseSyncCommandResult> {
    const {args, flags} = await this.parse(BaseSync)
    checkBaseSyncFlags(args.server, flags.backup)
    return await this.perform(flags, async (wiring) => {
      const {queueDirectory, clock} = wiring
      const names = await baseServerNames(wiring, args.server, {queueOnly: flags['queue-only'] === true})
      const {results, exitCode} = await forEachServer(wiring, names, {isReadOnly: flags['dry-run']}, async (context) => await syncBase(context, {
        queue: flags.backup ? undefined : openQueue(queueDirectory, context.server.name, clock),
        backupIds: flags.backup, scan: flags['queue-only'] !== true, again: flags.again === true, adopt: flags.adopt === true, isDryRun: flags['dry-run'],
      }))
      return {result: {servers: results, requests: wiring.requestCounts()}, exitCode, rendered: renderBaseSync(results)}
    })
  }
}

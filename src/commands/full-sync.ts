import {Args} from '@oclif/core'
import type {RequestCounts} from '../lib/store/object-store.ts'
import {BarmansCommand} from '../lib/cli/base-command.ts'
import {chooseServers, forEachServer} from '../lib/cli/each-server.ts'
import {dryRunFlag, syncFlags} from '../lib/cli/flags.ts'
import {renderFullSync} from '../lib/cli/render/full-sync.ts'
import {syncFull, type FullSyncResult} from '../lib/sync/full-sync.ts'
import {openQueue} from '../lib/sync/queue-access.ts'

export interface FullSyncCommandResult {
  readonly servers: readonly FullSyncResult[]
  /** Requests sent to S3, by operation. */
  readonly requests: RequestCounts
}

export default class FullSync extends BarmansCommand<FullSyncCommandResult> {
  static override args = {server: Args.string({description: 'Barman server; several may be named.', required: true})}
  static override description = 'The same as base sync and then wal sync of each server; the worse exit code wins. Nothing is deleted in S3: '
    + 'clean-up is not part of this version yet, so a backup that Barman\'s retention removed stays in the bucket.\n\n'
    + 'Exit codes: those of base sync and wal sync.'
  static override examples = [
    {description: 'Everything of one server:', command: '<%= config.bin %> <%= command.id %> main-server'},
    {description: 'Two servers, from cron once a day:', command: '<%= config.bin %> <%= command.id %> main-server other-server'},
  ]
  static override flags = {...syncFlags, 'dry-run': dryRunFlag}
  static override strict = false
  static override summary = 'Copy base backups, then WAL, of a server to S3. Made to run daily.'

  async run(): Promise<FullSyncCommandResult> {
    const {argv, flags} = await this.parse(FullSync)
    const isDryRun = flags['dry-run']
    return await this.perform(flags, async (wiring) => {
      const names = await chooseServers(wiring, argv as string[], {all: false})
      const {results, exitCode} = await forEachServer(wiring, names, {isReadOnly: isDryRun}, async (context) =>
        await syncFull(context, {queue: openQueue(wiring.queueDirectory, context.server.name, wiring.clock), isDryRun}))
      return {result: {servers: results, requests: wiring.requestCounts()}, exitCode, rendered: renderFullSync(results)}
    })
  }
}

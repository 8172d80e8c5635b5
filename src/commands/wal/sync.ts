import {Args, Flags} from '@oclif/core'
import type {RequestCounts} from '../../lib/store/object-store.ts'
import {BarmansCommand} from '../../lib/cli/base-command.ts'
import {dryRunFlag, syncFlags} from '../../lib/cli/flags.ts'
import {forEachServer, chooseServers} from '../../lib/cli/each-server.ts'
import {renderWalSync} from '../../lib/cli/render/wal-sync.ts'
import {syncWal, type WalSyncOptions} from '../../lib/sync/wal-sync.ts'
import type {WalSyncResult} from '../../lib/sync/wal-result.ts'

export interface WalSyncCommandResult {
  readonly servers: readonly WalSyncResult[]
  /** Requests sent to S3, by operation. */
  readonly requests: RequestCounts
}

export default class WalSync extends BarmansCommand<WalSyncCommandResult> {
  static override args = {
    server: Args.string({description: 'Barman server; several may be named.'}),
  }
  static override description = 'History files first, then oldest first. What the bucket has already is left alone; a WAL of the same name with '
    + 'other content is a conflict: nothing is replaced and the exit code is 12. A bucket that belongs to another '
    + 'cluster is refused.\n\n'
    + 'Exit codes: 0 done or nothing to do, 1 store refused, 2 store unreachable, 3 usage or configuration, 10 partly '
    + 'done (a WAL could not be read or sent), 11 another run holds the lock, 12 conflict, 13 Barman\'s directory missing or '
    + 'unreadable, or a WAL removed that a backup in S3 needs.'
  static override examples = [
    {description: 'One server, by hand:', command: '<%= config.bin %> <%= command.id %> main-server'},
    {description: 'See what would be uploaded:', command: '<%= config.bin %> <%= command.id %> main-server --dry-run'},
    {description: 'All servers, from cron every 15 minutes:', command: '<%= config.bin %> <%= command.id %> --all'},
  ]
  static override flags = {
    ...syncFlags,
    all: Flags.boolean({default: false, summary: 'Every server that Barman or the configuration knows.'}),
    'dry-run': dryRunFlag,
  }
  static override strict = false
  static override summary = "Copy a server's WAL files to S3."

  async run(): Promise<WalSyncCommandResult> {
    const {argv, flags} = await this.parse(WalSync)
    const options: WalSyncOptions = {isDryRun: flags['dry-run']}
    return await this.perform(flags, async (wiring) => {
      const names = await chooseServers(wiring, argv as string[], {all: flags.all})
      const {results, exitCode} = await forEachServer(wiring, names, {isReadOnly: options.isDryRun}, async (context) => await syncWal(context, options))
      return {result: {servers: results, requests: wiring.requestCounts()}, exitCode, rendered: renderWalSync(results)}
    })
  }
}

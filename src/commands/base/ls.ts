import {Args} from '@oclif/core'
import {BarmansCommand} from '../../lib/cli/base-command.ts'
import {storeFlags} from '../../lib/cli/flags.ts'
import {listServer} from '../../lib/cli/list-server.ts'
import {renderBaseList} from '../../lib/cli/render/base-list.ts'
import {EXIT} from '../../lib/errors.ts'
import type {BaseListResult} from '../../lib/sync/base-list.ts'

export interface BaseLsCommandResult {
  readonly servers: readonly BaseListResult[]
}

export default class BaseLs extends BarmansCommand<BaseLsCommandResult> {
  static override args = {server: Args.string({description: 'Barman server; without one, every server.'})}
  static override description = 'One line a backup, sorted by begin time. S3: complete (recorded), incomplete, legacy (copied by the old '
    + 'scripts, unproven), deleting. RESTORABLE is computed from what the bucket has: the record, every ancestor of '
    + 'an incremental, and every WAL from begin to end; when it is no, the reason is named. BARMAN is the status in '
    + 'Barman\'s own catalogue.\n\n'
    + 'Exit codes: 0 listed, 1 store refused, 2 store unreachable, 3 usage or configuration.'
  static override examples = [
    {description: 'What can be restored:', command: '<%= config.bin %> <%= command.id %> main-server'},
    {description: 'The newest restorable backup, for a script:', command: "<%= config.bin %> <%= command.id %> main-server --json | jq -r '.result.servers[0].latestRestorable'"},
  ]
  static override flags = {...storeFlags}
  static override summary = 'List base backups in S3 and on this host, and whether they can be restored.'

  async run(): Promise<BaseLsCommandResult> {
    const {args, flags} = await this.parse(BaseLs)
    return await this.perform(flags, async (wiring) => {
      const names = args.server === undefined ? await wiring.servers.names() : [args.server]
      const servers: BaseListResult[] = []
      for (const name of names) servers.push(await listServer(wiring, name))
      return {result: {servers}, exitCode: EXIT.ok, rendered: renderBaseList(servers)}
    })
  }
}

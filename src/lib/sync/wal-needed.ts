import {parseWalName} from '../barman/wal-name.ts'
import {readRecords} from './remote-records.ts'
import type {ServerContext} from './server-context.ts'
import {isNeededFrom} from './wal-plan.ts'

/** Tells whether a complete backup in S3 needs a WAL file. The records are read when that is first asked. */
export class NeededWal {
  readonly #context: ServerContext
  #records: Promise<{beginWals: readonly string[]; hasUnreadable: boolean}> | undefined

  constructor(context: ServerContext) {
    this.#context = context
  }

  /** A history file is needed by every backup; a backup label by none. What a record that cannot be read needs is not known: everything. */
  async isNeeded(name: string): Promise<boolean> {
    const kind = parseWalName(name)?.kind
    if (kind !== 'segment' && kind !== 'history') return false
    this.#records ??= this.#read()
    const {beginWals, hasUnreadable} = await this.#records
    return hasUnreadable || beginWals.some((beginWal) => kind === 'history' || isNeededFrom(beginWal, name))
  }

  async #read(): Promise<{beginWals: readonly string[]; hasUnreadable: boolean}> {
    const {records, problems} = await readRecords(this.#context)
    return {beginWals: records.flatMap(({summary}) => summary.beginWal ?? []), hasUnreadable: problems.length > 0}
  }
}

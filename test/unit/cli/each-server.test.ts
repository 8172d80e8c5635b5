import {expect} from 'chai'
import {forEachServer} from '../../../src/lib/cli/each-server.ts'
import type {Wiring} from '../../../src/lib/cli/wiring.ts'
import {BarmanFilesError, StoreUnreachableError, type ExitCode} from '../../../src/lib/errors.ts'
import {silentProgress} from '../../../src/lib/progress.ts'
import type {ServerContext} from '../../../src/lib/sync/server-context.ts'

interface Result {
  readonly name: string
  readonly exitCode: ExitCode
  readonly stoppedBy?: {readonly code: string; readonly message: string; readonly hint: string | undefined}
}

const wiring = {progress: silentProgress, open: async (name: string) => ({server: {name}})} as unknown as Wiring

async function run(answers: Readonly<Record<string, Omit<Result, 'name'> | Error>>) {
  const asked: string[] = []
  const {exitCode} = await forEachServer<Result>(wiring, Object.keys(answers), {isReadOnly: false}, async ({server: {name}}: ServerContext) => {
    asked.push(name)
    const answer = answers[name]!
    if (answer instanceof Error) throw answer
    return {name, ...answer}
  })
  return {asked, exitCode}
}

describe('several servers in one run', () => {
  const done = {exitCode: 0} as const

  it("what stops one server for reasons of its own does not stop the next, and the worst exit code is the run's", async () => {
    const stoppedBy = {code: 'BARMAN_FILES', message: 'its disk is gone', hint: undefined}
    expect(await run({a: {exitCode: 13, stoppedBy}, b: done})).to.deep.equal({asked: ['a', 'b'], exitCode: 13})
    expect(await run({a: new BarmanFilesError('no directory'), b: {exitCode: 10}})).to.deep.equal({asked: ['a', 'b'], exitCode: 13})
  })

  for (const code of ['INTERRUPTED', 'STORE_REFUSED', 'STORE_UNREACHABLE']) {
    it(`${code} would stop the next one as well`, async () => {
      expect((await run({a: {exitCode: 2, stoppedBy: {code, message: 'x', hint: undefined}}, b: done})).asked).to.deep.equal(['a'])
    })
  }

  it('a store that cannot be reached at the beginning ends the run', async () => {
    expect(await run({a: new StoreUnreachableError('nobody answers'), b: done})).to.deep.equal({asked: ['a'], exitCode: 2})
  })
})

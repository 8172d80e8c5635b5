import {execFileSync} from 'node:child_process'
import {join} from 'node:path'
import {expect} from 'chai'
import {installTool, type InstalledTool} from '../support/e2e.ts'
import {createLab, type BarmanLab} from '../support/lab/barman-lab.ts'
import {restoreHost} from '../support/restored-host.ts'
import {startServerOrSkip, type TestServer} from '../support/s3-servers.ts'
import {startSlowProxy, type SlowProxy} from '../support/slow-proxy.ts'
import type {BaseSyncCommandResult} from '../../src/commands/base/sync.ts'

const SERVER = 'main-server'
const MIB = 1024 ** 2
/** Some 200 MiB that nobody changes any more and that hardly shrink: most of a real database. */
const OLD_DATA = `CREATE TABLE old AS SELECT g, (SELECT string_agg(sha512((g * 20 + n)::text::bytea)::text, '') FROM generate_series(1, 12) AS n) AS text
  FROM generate_series(1, 90000) AS g;`

describe('the second of two backups, of which little has changed', function () {
  this.timeout(240_000)
  let store: TestServer
  let proxy: SlowProxy
  let lab: BarmanLab
  let tool: InstalledTool
  before(async function () {
    store = await startServerOrSkip(this, 'versitygw')
    proxy = await startSlowProxy(store.endpoint)
  })
  after(async () => {
    await proxy?.stop()
    await store?.stop()
  })
  afterEach(async () => await lab?.stop())

  /** Runs a base sync; what it read comes from the kernel, what it sent from the wire. */
  async function measure(): Promise<{readMib: number; sentMib: number}> {
    const script = 'cat /proc/$$/io; "$@" >/dev/null; code=$?; cat /proc/$$/io; exit $code'
    const sentBefore = proxy.sentBytes()
    const {code, stdout, stderr} = await lab.runAsUser('/bin/sh', ['-c', script, 'sh', ...tool.program.split(' '), 'base', 'sync', SERVER], {
      env: {BARMANS3_CONFIG: tool.configurationFile, ...tool.credentials},
    })
    expect(code, stderr).to.equal(0)
    const [before = 0, after = 0] = [...stdout.matchAll(/^rchar: (\d+)$/gm)].map(([, bytes]) => Number(bytes))
    return {readMib: (after - before) / MIB, sentMib: (proxy.sentBytes() - sentBefore) / MIB}
  }

  for (const [method, mostRead] of [['local-rsync', 0.3], ['postgres', 1.2]] as const) {
    it(`method ${method}: sends a small part of it${method === 'local-rsync' ? ', reads a small part of it' : ''}, and is as good as the first`, async () => {
      lab = await createLab({isSmall: true, method})
      await lab.psql(OLD_DATA)
      tool = await installTool(lab, store, {endpoint: proxy.endpoint})
      await lab.insertRow('one')
      await lab.backup()
      const first = await measure()
      await lab.insertRow('two')
      const second = await lab.backup()
      const totalMib = Number(execFileSync('du', ['--apparent-size', '-sk', join(lab.baseDirectory, second)], {encoding: 'utf8'}).split('\t')[0]) / 1024
      const {result} = await tool.json<BaseSyncCommandResult>('base', 'sync', SERVER, '--dry-run')
      const plan = result.servers[0]!.backups[0]!.plan!
      const again = await measure()
      // Starting the program and asking the bucket reads something, too.
      const nothing = await measure()
      const share = (mib: number, of: number) => `${mib.toFixed(1)} MiB (${((100 * mib) / of).toFixed(1)} %)`
      console.log(`      ${method}: backup of ${totalMib.toFixed(0)} MiB; first: sent ${first.sentMib.toFixed(1)} MiB; second: read ${share(again.readMib - nothing.readMib, totalMib)}, sent ${share(again.sentMib, totalMib)}`)
      expect(plan.some(({action}) => action === (method === 'local-rsync' ? 'refer' : 'compare'))).to.equal(true)
      expect(again.sentMib).to.be.below(first.sentMib * 0.3)
      expect(again.readMib - nothing.readMib).to.be.below(totalMib * mostRead)

      await lab.switchWal()
      await lab.archiveWal()
      expect((await tool.run('wal', 'sync', SERVER)).code).to.equal(0)
      const host = await restoreHost({lab, server: store, bucket: tool.bucket, backupIds: [second]})
      execFileSync('diff', ['--recursive', '--brief', '--no-dereference', join(lab.baseDirectory, second), join(host.serverDirectory, 'base', second)])
      expect(await host.query('SELECT note FROM marker UNION ALL SELECT count(*)::text FROM old ORDER BY 1')).to.deep.equal(['90000', 'one', 'two'])
    })
  }
})

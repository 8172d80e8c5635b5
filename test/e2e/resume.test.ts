import {mkdtempSync, rmSync} from 'node:fs'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {expect} from 'chai'
import {openBucket} from '../support/bucket.ts'
import {findTestUser, giveTo} from '../support/lab/test-user.ts'
import {restoreByManifest} from '../support/restorer.ts'
import {compareTrees, ID, MIB, ResumeHost, type RunEnd, type StoredState} from '../support/resume-host.ts'
import {startServerOrSkip, type TestServer} from '../support/s3-servers.ts'
import type {ObjectKey} from '../../src/lib/store/object-store.ts'

const PART = 5 * MIB
const PACK = 16 * MIB
const MEBIBYTES = (bytes: number) => (bytes / MIB).toFixed(1)

/** 200 MiB that do not shrink, 100 MiB that shrink to half, 2,000 small files, through a line of 60 MiB/s. */
describe('a copy that was broken off', function () {
  this.timeout(300_000)
  let server: TestServer
  let host: ResumeHost
  before(async function () {
    server = await startServerOrSkip(this, 'weed')
    host = await ResumeHost.create(server, {
      files: {plainBytes: 200 * MIB, compressibleBytes: 100 * MIB, smallFiles: 2000}, transfer: {partSize: '5MiB'},
    })
  })
  after(async () => {
    await host?.remove()
    await server?.stop()
  })
  beforeEach(() => host.proxy.setBytesPerSecond(60 * MIB))
  afterEach(async () => await host.forget())

  interface Broken {
    readonly end: RunEnd
    readonly firstBytes: number
    /** Objects and parts whose answer was on its way to the run, or had come, when it was stopped. */
    readonly answered: ReadonlySet<string>
    /** What lay in the store when it had ended. */
    readonly left: StoredState
  }

  async function breakOff(moment: string, isNow: (sent: number, requests: readonly string[]) => boolean, signals: readonly NodeJS.Signals[]): Promise<Broken> {
    const {proxy} = host
    const [sentBefore, requestsBefore, answeredBefore] = [proxy.sentBytes(), proxy.requests().length, proxy.answered().length]
    const {child, end} = host.start('base', 'sync', 'pg')
    await host.until(child, moment, () => isNow(proxy.sentBytes() - sentBefore, proxy.requests().slice(requestsBefore)))
    const answered = new Set(host.putsOf(proxy.answered().slice(answeredBefore)))
    for (const signal of signals) child.kill(signal)
    if (signals.length > 1) proxy.setBytesPerSecond(0)
    const begin = Date.now()
    const result = await end
    return {end: {...result, durationMs: Date.now() - begin}, firstBytes: proxy.sentBytes() - sentBefore, answered, left: await host.stored()}
  }

  /** Runs again, and says in numbers what that took; the backup must be complete and right. */
  async function finish(moment: string, {firstBytes, answered, left}: Broken): Promise<void> {
    const {proxy} = host
    proxy.setBytesPerSecond(Infinity)
    const [sentBefore, requestsBefore] = [proxy.sentBytes(), proxy.requests().length]
    const {code, stdout, stderr} = await host.start('base', 'sync', 'pg', '--json').end
    expect(code, stdout + stderr).to.equal(0)
    const secondBytes = proxy.sentBytes() - sentBefore
    const puts = host.putsOf(proxy.requests().slice(requestsBefore))
    expect(new Set(puts).size, 'nothing is sent twice by one run').to.equal(puts.length)
    const whole = await host.stored()
    const totalBytes = [...whole.objects.values()].reduce((sum, size) => sum + size, 0)
    const leftBytes = [...left.objects.values(), ...left.parts.values()].reduce((sum, size) => sum + size, 0)
    // Parts of what is complete count as the object they have become.
    const kept = new Set([...answered].map((each) => (left.parts.has(each) ? each : each.split(' ')[0] ?? '')))
    const answeredBytes = [...kept].reduce((sum, each) => sum + (left.objects.get(each) ?? left.parts.get(each) ?? 0), 0)
    const again = puts.filter((each) => answered.has(each))
    process.stdout.write(
      `        ${moment}: ${MEBIBYTES(totalBytes)} MiB in all; first run sent ${MEBIBYTES(firstBytes)} MiB, the store had answered `
      + `${MEBIBYTES(answeredBytes)} MiB of it and kept ${MEBIBYTES(leftBytes)} MiB; second run sent ${MEBIBYTES(secondBytes)} MiB in ${puts.length} PUTs, `
      + `${again.length} of them for what was answered\n`,
    )
    for (const key of host.largeKeys) {
      expect(again.filter((each) => each.startsWith(`${key} `)).length, `answered parts of ${key}`).to.be.at.most(1)
    }
    expect(again.filter((each) => each.includes('/packs/')).length, 'answered packs').to.be.at.most(1)
    expect(again.filter((each) => !each.includes(' ') && !each.includes('/packs/')), 'whole objects that were answered').to.deep.equal([])
    expect(secondBytes).to.be.at.most(totalBytes - answeredBytes + 2 * PART + PACK + MIB)
    expect(whole.openUploads, 'open uploads').to.equal(0)
    expect(host.journals(), 'journals').to.deep.equal([])
    await expectRestorable()
  }

  async function expectRestorable(): Promise<void> {
    const directory = mkdtempSync(join(tmpdir(), 'barmans3-resumed-'))
    try {
      const owner = findTestUser()
      giveTo(owner, directory)
      const serverDirectory = join(directory, 'pg')
      await restoreByManifest({server, bucket: host.bucket, prefix: 'barman/pg', backupIds: [ID], serverDirectory, owner})
      expect(compareTrees(join(host.root, 'data'), join(serverDirectory, 'base', ID, 'data'))).to.match(/^(Symbolic links .* differ\n)*$/)
    } finally {
      rmSync(directory, {recursive: true, force: true})
    }
    const store = openBucket(server, host.bucket)
    try {
      expect(await store.head(`barman/pg/barmans3/${ID}.json` as ObjectKey)).not.to.equal(undefined)
    } finally {
      store.close()
    }
  }

  const isComplete = (request: string) => /^POST .*uploadId=/.test(request)
  const moments = [
    ['before the first part', (_: number, requests: readonly string[]) => requests.some((each) => /^POST .*\?uploads/.test(each))],
    ['after 150 MiB', (sent: number) => sent > 150 * MIB],
    ['at the last Complete', (_: number, requests: readonly string[]) => requests.filter(isComplete).length === 2],
  ] as const

  for (const [moment, isNow] of moments) {
    it(`by kill -9 ${moment}: the next run sends what is missing and no more`, async () => {
      const broken = await breakOff(moment, isNow, ['SIGKILL'])
      expect(broken.end.signal).to.equal('SIGKILL')
      await finish(`kill -9 ${moment}`, broken)
    })
  }

  it('by SIGTERM ends with 143, its uploads stay open and journaled, and the next run sends what is missing', async () => {
    const broken = await breakOff('after 100 MiB', (sent) => sent > 100 * MIB, ['SIGTERM'])
    expect(broken.end.code, broken.end.stderr).to.equal(143)
    expect(broken.end.stderr).to.contain('stopped by SIGTERM')
    expect(broken.left.openUploads).to.be.at.least(1)
    expect(broken.left.parts.size).to.be.at.least(2)
    expect(host.journals()).to.have.length(broken.left.openUploads)
    await finish('SIGTERM after 100 MiB', broken)
  })

  it('by a second SIGTERM ends at once with 143, though the line stands still, and the next run goes on', async () => {
    const broken = await breakOff('after 80 MiB', (sent) => sent > 80 * MIB, ['SIGTERM', 'SIGTERM'])
    expect(broken.end.durationMs).to.be.lessThan(2000)
    expect(broken.end.code, broken.end.stderr).to.equal(143)
    await finish('two SIGTERMs after 80 MiB', broken)
  })

  it('again and again by kill -9: comes to its end, and sends hardly more than there is', async () => {
    let firstBytes = 0
    const answered = new Set<string>()
    let left: StoredState | undefined
    for (const megabytes of [40, 50, 60]) {
      const broken = await breakOff(`after ${megabytes} MiB more`, (sent) => sent > megabytes * MIB, ['SIGKILL'])
      expect(broken.end.signal).to.equal('SIGKILL')
      for (const each of broken.answered) {
        expect(answered.has(each), `${each} was answered before`).to.equal(false)
        answered.add(each)
      }
      firstBytes += broken.firstBytes
      left = broken.left
    }
    await finish('kill -9 three times', {end: {} as RunEnd, firstBytes, answered, left: left!})
  })
})

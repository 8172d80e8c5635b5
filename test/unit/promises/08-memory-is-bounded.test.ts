import {expect} from 'chai'
import {startModule} from '../../support/child.ts'
import {quickParentDirectory, useTemporaryDirectory} from '../../support/temporary-directory.ts'

const FILES = 40_000
const LIMIT_MIB = 300

describe(`promise 8: memory is bounded (RSS below ${LIMIT_MIB} MiB)`, function () {
  this.timeout(180_000)
  const use = useTemporaryDirectory(quickParentDirectory())

  async function peakOf(work: string, layout = 'compact'): Promise<{rssMib: number; answer: unknown}> {
    const {exit} = startModule(`
      // As bin/start.js does.
      ;(await import('node:v8')).setFlagsFromString('--semi-space-growth-factor=1')
      const {mkdirSync, writeFileSync} = await import('node:fs')
      const {ArchiveKeys} = await source('lib/archive/keys.ts')
      const {serverFromDirectories} = await source('lib/barman/server-directories.ts')
      const {BodyPool} = await source('lib/sync/body-pool.ts')
      const {HashPool} = await source('lib/sync/hash-pool.ts')
      const {MAX_BODY_BYTES, MAX_FRAME_BYTES} = await source('lib/sync/server-context.ts')
      const {silentProgress} = await source('lib/progress.ts')
      const {systemClock} = await source('lib/local/system-clock.ts')
      const {createMemoryStore} = await source('lib/store/memory.ts')
      const root = ${JSON.stringify(use())}, FILES = ${FILES}, LAYOUT = '${layout}'
      for (const name of ['base', 'wals', 'meta']) mkdirSync(root + '/home/pg/' + name, {recursive: true})
      writeFileSync(root + '/home/pg/identity.json', '{"systemid": "7300000000000000001", "version": "16"}')
      const keys = new ArchiveKeys({prefix: 'p', server: 'pg'})
      // Keeps names and sizes only, as a bucket far away does.
      const memory = createMemoryStore()
      const listed = new Map()
      const store = new Proxy(memory, {get(target, name) {
        if (name === 'put') return async (key, body, options) => {
          if (options.kind === 'meta') return await target.put(key, body, options)
          listed.set(key, body.length)
          return 'stored'
        }
        if (name === 'list') return async function* (prefix, options = {}) {
          yield* target.list(prefix, options)
          for (const [key, sizeBytes] of [...listed].sort()) if (key.startsWith(prefix) && key > (options.startAfter ?? '')) yield {key, sizeBytes, lastModified: new Date(Date.now() + 60_000)}
        }
        const value = target[name]
        return typeof value === 'function' ? value.bind(target) : value
      }})
      const context = {server: serverFromDirectories('pg', {directory: root + '/home/pg'}), store, keys, archiveUri: 's3://b/p', writer: {id: 'w', host: 'h'}, stateDirectory: root + '/state',
        concurrency: 16, partSizeBytes: 16 * 1024 ** 2, pool: new BodyPool(MAX_BODY_BYTES), frames: new BodyPool(MAX_FRAME_BYTES), hashes: new HashPool(),
        base: {layout: LAYOUT, compression: 'zstd', compressionLevel: 3, maxReferenceAgeMs: 1e9}, abandonAfterMs: 1e9, clock: systemClock, progress: silentProgress, signal: new AbortController().signal}
      ${work}
      // Not resourceUsage().maxRSS: that begins with what the parent had.
      const {readFileSync} = await import('node:fs')
      const peakKib = Number(/VmHWM:\\s*(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1])
      console.log(JSON.stringify({rssMib: Math.round(peakKib / 1024), answer}))`)
    const {stdout, stderr} = await exit
    expect(stderr).to.equal('')
    return JSON.parse(stdout) as {rssMib: number; answer: unknown}
  }

  it(`${FILES} WAL files, first copy and nothing new`, async () => {
    const {rssMib, answer} = await peakOf(`
      const {syncWal} = await source('lib/sync/wal-sync.ts')
      const {segmentName, hashDirectory} = await source('lib/barman/wal-name.ts')
      const content = Buffer.concat([Buffer.from('1f8b0800', 'hex'), Buffer.alloc(96, 1)])
      for (let number = 1; number <= FILES; number++) {
        const name = segmentName(1, number, 16 * 1024 ** 2)
        if ((number - 1) % 256 === 0 || number % 256 === 0) mkdirSync(root + '/home/pg/wals/' + hashDirectory(name), {recursive: true})
        writeFileSync(root + '/home/pg/wals/' + hashDirectory(name) + '/' + name, content)
      }
      const first = await syncWal(context, {isDryRun: false})
      const second = await syncWal(context, {isDryRun: false})
      const answer = [first.uploaded.files, first.exitCode, second.uploaded.files, second.alreadyThere]`)
    expect(answer).to.deep.equal([FILES, 0, 0, FILES])
    expect(rssMib).to.be.greaterThan(30).and.below(LIMIT_MIB)
  })

  for (const layout of ['mirror', 'compact']) it(`one backup of 20,000 files, layout ${layout}`, async () => {
    const {rssMib, answer} = await peakOf(`
      const {syncBase} = await source('lib/sync/base-sync.ts')
      const id = '20261101T020000', data = root + '/home/pg/base/' + id + '/data'
      for (let index = 0; index < 20_000; index++) {
        const directory = data + '/base/' + Math.floor(index / 1000)
        if (index % 1000 === 0) mkdirSync(directory, {recursive: true})
        writeFileSync(directory + '/' + index, Buffer.alloc(100, index))
      }
      writeFileSync(root + '/home/pg/meta/' + id + '-backup.info', 'begin_time=2026-11-01 02:00:00+00:00\\nbegin_wal=000000010000000000000005\\nend_wal=000000010000000000000006\\nstatus=DONE\\nversion=160001\\n')
      const result = await syncBase(context, {queue: undefined, backupIds: undefined, scan: true, again: false, adopt: false, isDryRun: false})
      const answer = [result.exitCode, result.backups[0].outcome, result.backups[0].files]`, layout)
    expect(answer).to.deep.equal([0, 'copied', 20_000])
    expect(rssMib).to.be.greaterThan(30).and.below(LIMIT_MIB)
  })
})

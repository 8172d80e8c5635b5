import {appendFileSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {gzipSync} from 'node:zlib'
import {expect} from 'chai'
import {createSyncSetting, relativeKeys, useSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'
import {DIRECTORY, sync, walPath} from './wal-setting.ts'

describe('wal sync on a passive node', () => {
  const use = useSyncSetting({tree: {withIdentity: false, segmentSizeBytes: 1024 ** 2}})

  it('C16, passive: a compressed WAL is final once xlog.db names it, until then it is left', async () => {
    const setting = use()
    const content = gzipSync(Buffer.alloc(1024))
    setting.tree.addWal('000000010000000000000009', {content, withXlogDbLine: false})
    const result = await sync(setting)
    expect(result.left.items.map(({name}) => name)).to.deep.equal(['000000010000000000000009'])
    writeFileSync(setting.tree.xlogDbPath, `${readFileSync(setting.tree.xlogDbPath, 'utf8')}000000010000000000000009\t${content.length}\t1.5\tgzip\tNone\n`)
    expect((await sync(setting)).uploaded.first).to.equal('000000010000000000000009')
  })

  it('an uncompressed WAL that grows under its final name is left until it is whole', async () => {
    const setting = use()
    const whole = readFileSync(walPath(setting, '000000010000000000000008'))
    const path = walPath(setting, '000000010000000000000009')
    for (const size of [0, 8192, whole.length - 1]) {
      writeFileSync(path, whole.subarray(0, size))
      expect((await sync(setting)).left.items.map(({name}) => name)).to.include('000000010000000000000009')
    }
    writeFileSync(path, whole)
    expect((await sync(setting)).uploaded.last).to.equal('000000010000000000000009')
  })

  it('one that changes while it is read is left, not sent', async () => {
    const setting = use()
    const store = watchStore(setting.store, {before: ({method, args}) => {
      if (method === 'put' && String(args[0]).endsWith('0006')) appendFileSync(walPath(setting, '000000010000000000000007'), 'x')
    }})
    const result = await sync(setting, {store, concurrency: 1})
    expect(result.left.items.map(({name}) => name)).to.deep.equal(['000000010000000000000007'])
    expect(relativeKeys(setting)).not.to.include(`wals/${DIRECTORY}/000000010000000000000007`)
  })

  it('an xlog.db that cannot be used is a warning: what needs no line goes up', async () => {
    const setting = use()
    rmSync(setting.tree.xlogDbPath)
    mkdirSync(setting.tree.xlogDbPath)
    const content = gzipSync(Buffer.alloc(1024))
    setting.tree.addWal('000000010000000000000009', {content, withXlogDbLine: false})
    const result = await sync(setting)
    // The backup label has no line either.
    expect(result.left.items.map(({name}) => name)).to.deep.equal(['000000010000000000000005.00000028.backup', '000000010000000000000009'])
    expect(result.uploaded.files).to.equal(4)
  })

  it('the passive_node of show-servers counts more than a missing identity.json', async () => {
    const setting = use()
    setting.tree.addWal('000000010000000000000009', {content: gzipSync('x'), withXlogDbLine: false})
    const {server} = setting.context()
    expect((await sync(setting, {server: {...server, isPassive: false}})).uploaded.last).to.equal('000000010000000000000009')
  })
})

describe('C16: xlog.db and the disk differ', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})
  const LOST = '0000000900003E1200000010'
  const WITHOUT_LINE = '000000020002E59C000000BF'

  function writeXlogDb(setting: SyncSetting, extra = ''): void {
    const [first, second, third] = readFileSync(setting.tree.xlogDbPath, 'utf8').split('\n').map((line) => line.split('\t'))
    const lines = [first!.join('\t'), second!.slice(0, 4).join('\t'), third!.slice(0, 3).join('\t'), `${LOST}\t1048576\t1.5\tNone`]
    writeFileSync(setting.tree.xlogDbPath, `${lines.join('\n')}\n${extra}0000000100000000000000`)
    setting.tree.addWal(WITHOUT_LINE, {withXlogDbLine: false})
  }

  it('the files decide: one without a line goes up, a missing directory is one warning, the others go up in the same run', async () => {
    const setting = use()
    writeXlogDb(setting, `${LOST.slice(0, -1)}1\t1048576\t1.5\n0000000900003E1300000000\t1048576\t1.5\n`)
    const result = await sync(setting, {}, {checksXlogDb: true})
    expect(result).to.deep.include({exitCode: 0})
    expect(result.uploaded).to.deep.include({files: 6, last: WITHOUT_LINE})
    expect(setting.said).to.deep.equal([
      `warn: xlog.db names WAL of the hash directory 0000000900003E12, such as ${LOST} (and of 1 more hash directories), which is neither on disk nor in S3`,
    ])
  })

  it('not a word when S3 has what is missing here, and one when it has a part of it', async () => {
    const setting = use()
    const key = setting.keys.wal(`${LOST.slice(0, 16)}/${LOST}`)
    await setting.store.put(key, Buffer.from('x'), {kind: 'wal'})
    writeXlogDb(setting)
    await sync(setting, {}, {checksXlogDb: true})
    expect(setting.said).to.deep.equal([])
    writeXlogDb(setting, `${LOST.slice(0, -1)}7\t1048576\t1.5\n`)
    await sync(setting, {}, {checksXlogDb: true})
    expect(setting.said.join()).to.contain(`${LOST.slice(0, -1)}7`)
  })

  it('a directory before all others is looked up too, and costs no more requests', async () => {
    const setting = use()
    writeFileSync(setting.tree.xlogDbPath, '000000010000000000000001\t1\t1\n')
    rmSync(join(setting.tree.walsDirectory, DIRECTORY), {recursive: true})
    await setting.store.put(setting.keys.wal(`${DIRECTORY}/000000010000000000000001`), Buffer.from('x'), {kind: 'wal'})
    setting.tree.addWal(WITHOUT_LINE, {withXlogDbLine: false})
    const before = setting.store.requestCounts().ListObjectsV2 ?? 0
    await sync(setting)
    const usual = (setting.store.requestCounts().ListObjectsV2 ?? 0) - before
    await sync(setting, {}, {checksXlogDb: true})
    expect((setting.store.requestCounts().ListObjectsV2 ?? 0) - before - usual).to.be.at.most(usual)
    expect(setting.said).to.deep.equal([])
  })

  it('the wal sync of every quarter of an hour does not read it', async () => {
    const setting = use()
    writeXlogDb(setting)
    const before = statSync(setting.tree.xlogDbPath, {bigint: true}).atimeNs
    await sync(setting)
    expect(setting.said).to.deep.equal([])
    expect(statSync(setting.tree.xlogDbPath, {bigint: true}).atimeNs).to.equal(before)
  })

  it('a binary, endless or missing xlog.db stops nothing', async () => {
    for (const content of [Buffer.alloc(3 * 1024 ** 2, 0xff), Buffer.alloc(0), undefined]) {
      const setting = createSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})
      try {
        if (content) writeFileSync(setting.tree.xlogDbPath, content)
        else rmSync(setting.tree.xlogDbPath)
        expect(await sync(setting, {}, {checksXlogDb: true})).to.deep.include({exitCode: 0})
        expect(setting.said).to.deep.equal([])
      } finally {
        setting.remove()
      }
    }
  })
})

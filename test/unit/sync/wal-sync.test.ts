import {execFileSync} from 'node:child_process'
import {chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {gzipSync} from 'node:zlib'
import {expect} from 'chai'
import {ConflictError, LockedError, StoreRefusedError} from '../../../src/lib/errors.ts'
import {acquireServerLock} from '../../../src/lib/local/server-lock.ts'
import {systemClock} from '../../../src/lib/local/system-clock.ts'
import {syncWal} from '../../../src/lib/sync/wal-sync.ts'
import {relativeKeys, useSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'
import {asUnprivilegedUser} from '../barman/as-other-user.ts'
import {DIRECTORY, sync, walPath} from './wal-setting.ts'

describe('wal sync', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})

  it('puts every WAL file byte for byte under its path, and identity.json', async () => {
    const setting = use()
    const result = await sync(setting)
    expect(result).to.deep.include({server: 'pg', alreadyThere: 0, exitCode: 0, notUploaded: 0})
    expect(result.uploaded.files).to.equal(5)
    expect(relativeKeys(setting)).to.deep.equal([
      'identity.json', ...['05', '05.00000028.backup', '06', '07', '08'].map((end) => `wals/${DIRECTORY}/0000000100000000000000${end}`),
    ])
    for (const [key, {body}] of setting.store.objects) {
      const path = join(setting.tree.serverDirectory, setting.keys.relative(key))
      expect(Buffer.from(body).equals(readFileSync(path)), key).to.equal(true)
    }
  })

  it('does nothing the second time: one GET and one LIST, no PUT, no reading', async () => {
    const setting = use()
    await sync(setting)
    const before = {...setting.store.requestCounts()}
    const result = await sync(setting)
    expect(result.uploaded.files).to.equal(0)
    expect(result.alreadyThere).to.equal(5)
    const requests = Object.entries(setting.store.requestCounts()).map(([name, count]) => [name, count - (before[name] ?? 0)]).filter(([, count]) => count !== 0)
    expect(Object.fromEntries(requests)).to.deep.equal({GetObject: 1, ListObjectsV2: 1})
  })

  it('sends history files first, then oldest first', async () => {
    const setting = use()
    setting.tree.addHistoryFile(2, [{timeline: 1, lsn: '0/9000000'}])
    setting.tree.addWal('000000020000000000000009')
    const order: string[] = []
    await sync(setting, {concurrency: 1, store: watchStore(setting.store, {before: ({method, args}) => {
      if (method === 'put') order.push(String(args[0]).split('/').at(-1) ?? '')
    }})})
    expect(order).to.deep.equal(['identity.json', '00000002.history', '000000010000000000000005', '000000010000000000000005.00000028.backup',
      '000000010000000000000006', '000000010000000000000007', '000000010000000000000008', '000000020000000000000009'])
  })

  it('sends no segment before every history file is stored, however slow that is', async () => {
    const setting = use()
    setting.tree.addHistoryFile(2, [{timeline: 1, lsn: '0/9000000'}])
    setting.tree.addHistoryFile(3, [{timeline: 2, lsn: '0/A000000'}])
    const stored: string[] = []
    await sync(setting, {concurrency: 4, store: watchStore(setting.store, {
      before: async ({method, args}) => {
        if (method === 'put' && String(args[0]).endsWith('.history')) await systemClock.sleep(50)
      },
      after: ({method, args}) => {
        if (method === 'put') stored.push(String(args[0]).split('/').at(-1) ?? '')
      },
    })})
    expect(stored.slice(0, 3).sort()).to.deep.equal(['00000002.history', '00000003.history', 'identity.json'])
    expect(stored).to.have.length(8)
  })

  it('a dry run changes nothing in S3 and nothing here', async () => {
    const setting = use()
    const {createDryRunStore} = await import('../../../src/lib/store/dry-run.ts')
    const result = await syncWal(setting.context({store: createDryRunStore(setting.store)}), {isDryRun: true})
    expect(result.planned.map(({name}) => name)).to.have.length(5)
    expect(result.uploaded).to.deep.include({files: 5, first: '000000010000000000000005', last: '000000010000000000000008'})
    expect([...setting.store.objects.keys()]).to.deep.equal([])
  })

  it('C15: what is no WAL of its hash directory is left out without an error', async () => {
    const setting = use()
    const wals = setting.tree.walsDirectory
    for (const name of [`${DIRECTORY}/000000010000000000000006.partial`, `${DIRECTORY}/000000010000000000000007.tmp`, `${DIRECTORY}/.000000010000000000000008.aB3xYz`,
      'xlog.db.tmp', 'pg-xlog.db', '.pg-xlogdb.lock', `${DIRECTORY}/000000020000000000000009`, `${DIRECTORY}/00000003.history`]) writeFileSync(join(wals, name), 'x')
    mkdirSync(join(wals, 'lost+found'), {mode: 0o700})
    mkdirSync(join(wals, DIRECTORY, '000000010000000000000009'))
    mkdirSync(join(wals, '0000000100000000.old'))
    symlinkSync('/etc/passwd', join(wals, DIRECTORY, '00000001000000000000000A'))
    const result = await sync(setting)
    expect(result.exitCode).to.equal(0)
    expect(result.uploaded.files).to.equal(5)
    expect(relativeKeys(setting).filter((key) => key.startsWith('wals/'))).to.have.length(5)
  })

  it('C14: late files that sort before the last one are sent', async () => {
    const setting = use()
    rmSync(walPath(setting, '000000010000000000000006'))
    await sync(setting)
    setting.tree.addWal('000000010000000000000006')
    setting.tree.addHistoryFile(2, [{timeline: 1, lsn: '0/9000000'}])
    const result = await sync(setting)
    expect(result.uploaded.files).to.equal(2)
    expect(relativeKeys(setting)).to.include.members(['wals/00000002.history', `wals/${DIRECTORY}/000000010000000000000006`])
  })

  describe('C19: a WAL with other content under the same name', () => {
    for (const isListed of [true, false]) {
      it(`is a conflict ${isListed ? 'seen in the listing by its size' : 'that only the conditional PUT sees'}: nothing is replaced, the others go up, exit 12`, async () => {
        const setting = use()
        const key = setting.keys.wal(`${DIRECTORY}/000000010000000000000006`)
        await setting.store.put(key, Buffer.from('another cluster'), {kind: 'wal'})
        const store = isListed ? setting.store : hideFromList(setting, key)
        const result = await sync(setting, {store})
        expect(result.exitCode).to.equal(12)
        expect(result.conflicts.items.map(({name}) => name)).to.deep.equal(['000000010000000000000006'])
        expect(result.uploaded.files).to.equal(4)
        expect(Buffer.from(setting.store.objects.get(key)!.body).toString()).to.equal('another cluster')
      })
    }

    it('of the same size is found when the file was touched after it was stored, also where the store keeps no checksum', async () => {
      const setting = use()
      const key = setting.keys.wal(`${DIRECTORY}/000000010000000000000006`)
      const other = readFileSync(walPath(setting, '000000010000000000000006'))
      other[5000] = (other[5000] ?? 0) ^ 1
      await setting.store.put(key, other, {kind: 'wal'})
      Object.assign(setting.store.objects.get(key)!, {lastModified: new Date('2026-01-01')})
      for (const crc32c of [undefined, 'kept'] as const) {
        const store = crc32c === undefined ? forgetChecksums(setting) : setting.store
        const result = await sync(setting, {store})
        expect(result.exitCode).to.equal(12)
        expect(result.conflicts.count).to.equal(1)
      }
    })
  })

  it('C19 a: another cluster: nothing at all is uploaded, both system identifiers named', async () => {
    const setting = use()
    await sync(setting)
    writeFileSync(join(setting.tree.serverDirectory, 'identity.json'), '{"systemid": "7300000000000000002", "version": "16"}')
    setting.tree.addWal('000000010000000000000009')
    const before = relativeKeys(setting)
    const error = await sync(setting).then(() => undefined, (thrown: unknown) => thrown)
    expect(error).to.be.instanceOf(ConflictError)
    expect((error as Error).message).to.contain('7300000000000000001').and.contain('7300000000000000002')
    expect(relativeKeys(setting)).to.deep.equal(before)
  })

  it('a segment written by another cluster is not uploaded, the others are', async () => {
    const setting = use()
    setting.tree.addWal('000000010000000000000009', {systemId: '7300000000000000009'})
    const result = await sync(setting)
    expect(result.exitCode).to.equal(12)
    expect(result.conflicts.items[0]?.name).to.equal('000000010000000000000009')
    expect(result.uploaded.files).to.equal(5)
  })

  it('a segment that is not whole yet is left and named, and goes up when it is', async () => {
    const setting = use()
    const path = walPath(setting, '000000010000000000000009')
    const whole = readFileSync(walPath(setting, '000000010000000000000008'))
    for (const part of [whole.subarray(0, 8192), Buffer.alloc(0), Buffer.alloc(8192)]) {
      writeFileSync(path, part)
      const result = await sync(setting)
      expect(result.left.items.map(({name}) => name)).to.deep.equal(['000000010000000000000009'])
      expect(result.exitCode).to.equal(0)
    }
    writeFileSync(path, whole)
    expect((await sync(setting)).uploaded.first).to.equal('000000010000000000000009')
  })

  it('compressed WAL of any size goes up as it is', async () => {
    const setting = use()
    const content = gzipSync(Buffer.alloc(16 * 1024 * 1024))
    setting.tree.addWal('000000010000000000000009', {content, compression: 'gzip'})
    expect((await sync(setting)).exitCode).to.equal(0)
    expect(Buffer.from(setting.store.objects.get(setting.keys.wal(`${DIRECTORY}/000000010000000000000009`))!.body).equals(content)).to.equal(true)
  })

  it('files that were touched but are the same are compared once, not at each run', async () => {
    const setting = use()
    await sync(setting)
    for (const object of setting.store.objects.values()) Object.assign(object, {lastModified: new Date('2026-01-01')})
    const first = await sync(setting)
    expect(first).to.deep.include({exitCode: 0, alreadyThere: 5})
    expect(setting.store.requestCounts().HeadObject).to.equal(5)
    await sync(setting)
    expect(setting.store.requestCounts().HeadObject).to.equal(5)
    utimesSync(walPath(setting, '000000010000000000000008'), 1, 1)
    await sync(setting)
    expect(setting.store.requestCounts().HeadObject).to.equal(6)
  })

  it('a conflict is told at each run, whatever else in its directory is fine', async () => {
    const setting = use()
    await sync(setting)
    const object = setting.store.objects.get(setting.keys.wal(`${DIRECTORY}/000000010000000000000006`))!
    Object.assign(object, {body: Buffer.from(object.body).fill(1), crc32c: 1})
    for (const each of setting.store.objects.values()) Object.assign(each, {lastModified: new Date('2026-01-01')})
    for (let run = 0; run < 3; run++) expect((await sync(setting)).conflicts.count).to.equal(1)
  })

  it('C24: one that the store refuses does not stop the others: exit 10, named', async () => {
    const setting = use()
    const store = watchStore(setting.store, {before: ({method, args}) => {
      if (method === 'put' && String(args[0]).endsWith('06')) throw new StoreRefusedError('no', {storeCode: 'AccessDenied', scope: 'request'})
    }})
    const result = await sync(setting, {store})
    expect(result.exitCode).to.equal(10)
    expect(result.failed.items).to.deep.equal([{name: '000000010000000000000006', message: 'no'}])
    expect(result.uploaded.files).to.equal(4)
  })

  it('C24: one that may not be read, and a whole directory (as an ordinary user): exit 10, named, the others go up', async () => {
    const setting = use()
    setting.tree.addWal('000000010000000100000000')
    execFileSync('chmod', ['-R', 'a+rwX', setting.root])
    chmodSync(walPath(setting, '000000010000000000000006'), 0)
    chmodSync(join(setting.tree.walsDirectory, '0000000100000001'), 0)
    const result = await asUnprivilegedUser(() => sync(setting))
    expect(result.exitCode).to.equal(10)
    expect(result.failed.items.map(({name}) => name)).to.have.members(['000000010000000000000006', '0000000100000001'])
    expect(result.failed.items[0]?.message).to.contain('permission denied')
    expect(result.uploaded.files).to.equal(4)
  })

  it('C32: what stops the run says how many were not uploaded', async () => {
    const setting = use()
    let puts = 0
    const store = watchStore(setting.store, {before: ({method}) => {
      if (method === 'put' && ++puts > 3) throw new StoreRefusedError('slow down', {storeCode: 'SlowDown', scope: 'run'})
    }})
    const result = await sync(setting, {store, concurrency: 1})
    expect(result).to.deep.include({exitCode: 1, notUploaded: 3})
    expect(result.uploaded.files).to.equal(2)
  })

  it('two runs at once: the second says who holds the lock and uploads nothing', async () => {
    const setting = use()
    const lock = await acquireServerLock(setting.stateDirectory, 'pg', 'wal', {clock: systemClock})
    const error = await sync(setting).then(() => undefined, (thrown: unknown) => thrown)
    await lock.release()
    expect(error).to.be.instanceOf(LockedError)
    expect([...setting.store.objects.keys()]).to.deep.equal([])
  })

  it('no WAL directory: says so, and nothing is asked of S3', async () => {
    const setting = use()
    rmSync(setting.tree.walsDirectory, {recursive: true})
    const error = await sync(setting).then(() => undefined, (thrown: unknown) => thrown)
    expect((error as Error).message).to.contain(setting.tree.walsDirectory)
    expect(setting.store.requestCounts()).to.deep.equal({})
  })

  it('an aborted run ends with its reason and says what is left', async () => {
    const setting = use()
    const {InterruptedError} = await import('../../../src/lib/errors.ts')
    const store = watchStore(setting.store, {before: ({method, args}) => {
      if (method === 'put' && String(args[0]).endsWith('06')) setting.abort.abort(new InterruptedError('SIGTERM'))
    }})
    const result = await sync(setting, {store, concurrency: 1})
    expect(result.exitCode).to.equal(143)
    expect(result.notUploaded).to.be.greaterThan(0)
  })

})

describe('wal sync of other segment sizes', () => {
  for (const mebibytes of [1, 64]) {
    it(`${mebibytes} MiB: a whole segment is one of exactly that size`, async () => {
      const {createSyncSetting} = await import('../../support/sync-setting.ts')
      const setting = createSyncSetting({tree: {segmentSizeBytes: mebibytes * 1024 ** 2}})
      try {
        expect(await sync(setting)).to.deep.include({exitCode: 0})
        writeFileSync(walPath(setting, '000000010000000000000009'), readFileSync(walPath(setting, '000000010000000000000008')).subarray(0, 512 * 1024))
        expect((await sync(setting)).left.count).to.equal(1)
      } finally {
        setting.remove()
      }
    })
  }
})

/** The store with one key missing from its listings, as a listing that came a moment too early. */
function hideFromList({store}: SyncSetting, hidden: string) {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (name !== 'list') return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value
      return async function* (...args: Parameters<typeof target.list>) {
        for await (const object of target.list(...args)) if (object.key !== hidden) yield object
      }
    },
  })
}

/** The store as one that keeps no checksums. */
function forgetChecksums({store}: SyncSetting) {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (name !== 'head') return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value
      return async (...args: Parameters<typeof target.head>) => {
        const stat = await target.head(...args)
        return stat && {...stat, crc32c: undefined}
      }
    },
  })
}

describe('a wal sync that meets another run', () => {
  const use = useSyncSetting()

  it('waits for the lock as long as it is told, then does its work', async () => {
    const setting = use()
    const lock = await acquireServerLock(setting.stateDirectory, 'pg', 'wal', {clock: systemClock})
    const waiting = sync(setting, {walLockWaitMs: 10_000})
    setTimeout(() => void lock.release(), 300)
    expect((await waiting).uploaded.files).to.equal(5)
  })
})

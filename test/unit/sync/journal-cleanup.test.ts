import {readdirSync, readFileSync, rmSync, utimesSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {InterruptedError} from '../../../src/lib/errors.ts'
import {systemClock} from '../../../src/lib/local/system-clock.ts'
import type {ObjectKey} from '../../../src/lib/store/object-store.ts'
import {claimBackup, readStartedMarker} from '../../../src/lib/sync/claim.ts'
import {removeStaleJournals} from '../../../src/lib/sync/journal-cleanup.ts'
import {readCatalog} from '../../../src/lib/barman/catalog.ts'
import {createSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'
import {ID, record, sync} from './base-setting.ts'

const MIB = 1024 ** 2
const DAY_MS = 86_400_000

describe('journals and open uploads that nobody goes on with', () => {
  let setting: SyncSetting
  beforeEach(() => {
    setting = createSyncSetting({store: {limits: {minPartBytes: 1}}, tree: {segmentSizeBytes: MIB, backup: {largeFileBytes: 8 * MIB}}})
  })
  afterEach(() => setting.remove())

  const changes = () => ({partSizeBytes: MIB, base: {...setting.context().base, layout: 'compact' as const, compression: 'none' as const}})

  /** A run that a signal stops; one upload and its journal are left. */
  async function interrupt(): Promise<{uploadId: string; key: ObjectKey}> {
    const abort = new AbortController()
    const store = watchStore(setting.store, {after: ({method, args}) => {
      if (method === 'uploadPart' && args[2] === 3) abort.abort(new InterruptedError('SIGTERM'))
    }})
    expect((await sync(setting, {}, {...changes(), store, signal: abort.signal})).exitCode).to.equal(143)
    const [[uploadId, {key}] = ['', {key: '' as ObjectKey}], ...others] = [...setting.store.uploads]
    expect(others).to.deep.equal([])
    expect(uploadId).not.to.equal('')
    return {uploadId, key}
  }

  function journalDirectory(): string {
    return join(setting.stateDirectory, 'pg.journal')
  }

  function journalPath(): string {
    const directory = join(journalDirectory(), `${ID}.uploads`)
    return join(directory, readdirSync(directory)[0]!)
  }

  function deleteInBarman(): void {
    const {tree} = setting
    rmSync(tree.backupInfoPath(ID))
    rmSync(join(tree.baseDirectory, ID), {recursive: true})
  }

  /** A run that has nothing to copy. */
  async function runIdle(ago = 0): Promise<void> {
    const clock = {...systemClock, now: () => new Date(Date.now() + ago)}
    expect((await sync(setting, {backupIds: []}, {...changes(), clock})).exitCode).to.equal(0)
  }

  /** Leaves only the announcement of the upload in its journal. */
  function forgetUploadId(): void {
    const path = journalPath()
    writeFileSync(path, `${readFileSync(path, 'utf8').split('\n')[0]}\n`)
  }

  it('of a backup that Barman has deleted are removed, in S3 and here; uploads of others are not', async () => {
    const {uploadId, key} = await interrupt()
    const ofOthers = [
      await setting.store.createUpload(`${key}.other` as ObjectKey, {kind: 'base'}),
      // Another program's, of the same key: ours is known by its id.
      await setting.store.createUpload(key, {kind: 'base'}),
    ]
    setting.tree.addBackup({id: '20261102T020000'})
    deleteInBarman()
    const result = await sync(setting, {}, changes())
    expect(result.exitCode).to.equal(0)
    expect([...setting.store.uploads.keys()]).to.deep.equal(ofOthers).and.not.include(uploadId)
    expect(readdirSync(journalDirectory())).to.deep.equal([])
    expect(setting.said.join('\n')).to.match(/uploads given up .*Barman has deleted the backup/)
  })

  it('of a backup whose deletion is only half done here stay', async () => {
    const {uploadId} = await interrupt()
    rmSync(join(setting.tree.baseDirectory, ID, 'data'), {recursive: true})
    await runIdle()
    expect([...setting.store.uploads.keys()]).to.deep.equal([uploadId])
  })

  it('stay for transfer.abandonAfter after the last part, and are continued', async () => {
    const {uploadId} = await interrupt()
    await runIdle(3 * DAY_MS - 60_000)
    expect([...setting.store.uploads.keys()]).to.deep.equal([uploadId])
    let parts = 0
    const store = watchStore(setting.store, {before: ({method}) => void (method === 'uploadPart' && parts++)})
    expect((await sync(setting, {}, {...changes(), store})).exitCode).to.equal(0)
    expect(parts).to.be.at.most(5)
    expect(record(setting)).not.to.equal(undefined)
    expect(setting.store.uploads.size).to.equal(0)
    expect(readdirSync(journalDirectory())).to.deep.equal([])
  })

  it('are given up when nothing was added for transfer.abandonAfter; what the journal of the backup knows stays', async () => {
    const {key} = await interrupt()
    const ofOthers = [await setting.store.createUpload(key, {kind: 'base'})]
    const old = new Date(Date.now() - 3 * DAY_MS - 60_000)
    utimesSync(journalPath(), old, old)
    await runIdle()
    expect([...setting.store.uploads.keys()]).to.deep.equal(ofOthers)
    expect(setting.said.join('\n')).to.match(/uploads given up .*transfer\.abandonAfter/)
    expect(readdirSync(journalDirectory())).to.include(`${ID}.jsonl`)
    expect((await sync(setting, {}, changes())).exitCode).to.equal(0)
    expect(record(setting)).not.to.equal(undefined)
  })

  it('that were announced and have no id are found by their exact key', async () => {
    const {key} = await interrupt()
    const ofOthers = await setting.store.createUpload(`${key}.other` as ObjectKey, {kind: 'base'})
    forgetUploadId()
    await runIdle(4 * DAY_MS)
    expect([...setting.store.uploads.keys()]).to.deep.equal([ofOthers])
  })

  it('that were announced and have no id are left alone where another installation has taken the backup over: that one may be its', async () => {
    const {uploadId} = await interrupt()
    forgetUploadId()
    const {identity} = (await readStartedMarker(setting.context(), ID))!
    await claimBackup(setting.context({writer: {id: '00000000-0000-4000-8000-000000000002', host: 'barman-two'}}), {
      backupId: ID, identity, hadLegacyData: false, adopt: true, isListed: true,
    })
    await runIdle(4 * DAY_MS)
    expect([...setting.store.uploads.keys()]).to.deep.equal([uploadId])
    expect(readdirSync(join(journalDirectory(), `${ID}.uploads`))).to.deep.equal([])
  })

  it('that were announced in another bucket and have no id are not looked for in this one', async () => {
    const {uploadId} = await interrupt()
    forgetUploadId()
    writeFileSync(journalPath(), readFileSync(journalPath(), 'utf8').replace('s3://bucket/', 's3://another/'))
    await runIdle(4 * DAY_MS)
    expect([...setting.store.uploads.keys()]).to.deep.equal([uploadId])
  })

  it('of a backup that came after the catalogue was read stay', async () => {
    const {uploadId} = await interrupt()
    const context = setting.context(changes())
    const catalog = await readCatalog(context.server, {})
    await removeStaleJournals(context, {...catalog, backups: []})
    expect([...setting.store.uploads.keys()]).to.deep.equal([uploadId])
    expect(readdirSync(journalDirectory())).to.include(`${ID}.jsonl`)
  })
})

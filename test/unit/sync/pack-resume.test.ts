import {mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {InterruptedError} from '../../../src/lib/errors.ts'
import type {ObjectStore} from '../../../src/lib/store/object-store.ts'
import {PackNotes} from '../../../src/lib/sync/pack-notes.ts'
import {useSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'
import {ID, readManifest, record, sync} from './base-setting.ts'

/** More than two packs full. */
const FILES = 9_000

describe('packs of a backup whose copy was interrupted', function () {
  this.timeout(120_000)
  const use = useSyncSetting({tree: {segmentSizeBytes: 1024 ** 2}})
  let setting: SyncSetting
  beforeEach(() => {
    setting = use()
    const directory = join(setting.tree.baseDirectory, ID, 'data/many')
    mkdirSync(directory)
    for (let index = 0; index < FILES; index++) writeFileSync(join(directory, String(index).padStart(5, '0')), `content ${index}`)
    rmSync(join(setting.tree.baseDirectory, ID, 'data/backup_manifest'))
  })

  const compact = (store: ObjectStore) => ({store, base: {...setting.context().base, layout: 'compact' as const}, concurrency: 1})

  /** A run that a signal ends as pack `number` is sent. */
  async function interruptAt(number: number): Promise<void> {
    const abort = new AbortController()
    const store = watchStore(setting.store, {before: ({method, args}) => {
      if (method === 'put' && String(args[0]).endsWith(`packs/${String(number).padStart(4, '0')}.tar`)) abort.abort(new InterruptedError('SIGTERM'))
    }})
    expect((await sync(setting, {}, {...compact(store), signal: abort.signal})).exitCode).to.equal(143)
  }

  /** Runs to the end; returns the packs that were sent. */
  async function finish(): Promise<string[]> {
    const packs: string[] = []
    const store = watchStore(setting.store, {before: ({method, args}) => {
      if (method === 'put' && String(args[0]).includes('/packs/')) packs.push(String(args[0]).slice(-8, -4))
    }})
    const result = await sync(setting, {}, compact(store))
    expect(result.exitCode, JSON.stringify([result.stoppedBy, setting.said])).to.equal(0)
    expect(record(setting)).not.to.equal(undefined)
    for (const entry of readManifest(setting)) {
      if (entry.type !== 'file' || entry.offset === undefined) continue
      const pack = setting.store.objects.get(setting.keys.absolute(entry.object))!.body
      const content = readFileSync(join(setting.tree.baseDirectory, ID, Buffer.from(entry.path, 'latin1').toString()))
      expect(pack.subarray(entry.offset, entry.offset + entry.sizeBytes).equals(content), entry.path).to.equal(true)
    }
    return packs.sort()
  }

  function notesPath(): string {
    const directory = join(setting.stateDirectory, 'pg.journal')
    return join(directory, readdirSync(directory).find((name) => name.endsWith('.packs'))!)
  }

  it('that are stored are not sent again', async () => {
    await interruptAt(3)
    expect(await finish()).to.deep.equal(['0003'])
  })

  it('are made anew when the notes of them are lost, with no file taken for one that lies elsewhere', async () => {
    await interruptAt(3)
    rmSync(notesPath())
    expect(await finish()).to.deep.equal(['0001', '0002', '0003'])
  })

  it('are known to an earlier journal by number only if they were noted when that was opened', async () => {
    const path = join(setting.root, 'notes')
    const pack = {number: 1, members: 7, object: {key: 'base/x/packs/0001.tar', sizeBytes: 1, crc32c: 2, sha256: 'ab'.repeat(32)}}
    const notes = await PackNotes.open(path, {})
    await notes.add(pack)
    expect([notes.get(1), notes.isEarlier(1)]).to.deep.equal([pack, false])
    await notes.close()
    // Added after closing and opening again: nothing is lost.
    await notes.add({...pack, number: 2})
    await notes.close()
    const next = await PackNotes.open(path, {})
    expect(next.list().map(({number}) => number)).to.deep.equal([1, 2])
    expect(next.isEarlier(1)).to.equal(true)
    await next.forget([1])
    expect([next.get(1), next.isEarlier(1)]).to.deep.equal([undefined, false])
  })

  for (const [what, damage] of [
    ['of the last one is lost', (notes: string) => notes.slice(0, notes.lastIndexOf('\n', notes.length - 2) + 1)],
    ['of the last one is torn', (notes: string) => notes.slice(0, -20)],
    ['of the last one lacks nothing but its end of line', (notes: string) => notes.slice(0, -1)],
    ['of the first one is spoilt', (notes: string) => notes.replace(/^1\t/m, '1x\t')],
  ] as const) {
    it(`when the note ${what}: all is right in the end, also after another interruption`, async () => {
      await interruptAt(3)
      writeFileSync(notesPath(), damage(readFileSync(notesPath(), 'latin1')), 'latin1')
      await interruptAt(3)
      // What the second run has noted is of use to the third.
      expect(await finish()).to.deep.equal(['0003'])
    })
  }
})

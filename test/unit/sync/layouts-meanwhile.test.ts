import {linkSync, lstatSync, mkdirSync, openSync, closeSync, readFileSync, rmSync, utimesSync, writeFileSync, writeSync, truncateSync, appendFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import type {BackupLayout} from '../../../src/lib/archive/manifest.ts'
import {useSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'
import {ID, listFiles, record, sync} from './base-setting.ts'
import {content, expectFaithful} from './faithful.ts'

const MIB = 1024 ** 2

/** Other content of the same size, and the time set back: only ctime tells. */
function rot(path: string): void {
  const {atime, mtime} = lstatSync(path)
  const file = openSync(path, 'r+')
  writeSync(file, Buffer.from('ROT'), 0, 3, 0)
  closeSync(file)
  utimesSync(path, atime, mtime)
}

const small = 'data/PG_VERSION'
const large = 'data/base/1/large'
const parts = 'data/base/1/parts'
/** Each change can come at any of these moments: a file is on its way, its pack or object is stored, all of it is. */
const moments: Readonly<Record<BackupLayout, Readonly<Record<string, readonly string[]>>>> = {
  compact: {[small]: ['large.zst', 'packs/0001.tar'], [large]: ['large.zst', 'packs/0001.tar'], [parts]: ['part 1', 'packs/0001.tar']},
  mirror: {[small]: ['PG_VERSION', 'data/base/1/1259'], [large]: ['data/base/1/large'], [parts]: ['part 1', 'part 3']},
}

describe('what happens while a backup is copied, in either layout', () => {
  const use = useSyncSetting({tree: {segmentSizeBytes: MIB}})
  const at = (path: string) => join(use().tree.baseDirectory, ID, path)

  let contents: readonly Buffer[] = []

  before(() => {
    contents = [content(5 * MIB, 'large'), content(17 * MIB, 'parts')]
  })
  beforeEach(() => {
    rmSync(at('data/backup_manifest'))
    for (const [index, path] of [large, parts].entries()) writeFileSync(at(path), contents[index]!)
    // Whole seconds, so that they can be set back.
    for (const path of [large, parts]) utimesSync(at(path), 1_700_000_000, 1_700_000_000)
  })

  /** A run in which `change` happens when the request called `moment` has been answered. */
  async function during(setting: SyncSetting, layout: BackupLayout, moment: string, change: () => void) {
    let isDone = false
    const store = watchStore(setting.store, {after: ({method, args}) => {
      const name = method === 'uploadPart' ? `part ${String(args[2])}` : method === 'put' || method === 'completeUpload' ? String(args[0]) : ''
      if (isDone || !name.endsWith(moment)) return
      isDone = true
      change()
    }})
    const context = setting.context()
    const result = await sync(setting, {}, {store, concurrency: 2, base: {...context.base, layout}})
    expect(isDone, moment).to.equal(true)
    return result
  }

  for (const [what, change] of [
    ['shrinks', (path: string) => truncateSync(path, 2)],
    ['grows', (path: string) => appendFileSync(path, 'more')],
    ['changes with the same size and its time set back', rot],
    ['vanishes', (path: string) => rmSync(path)],
    ['is replaced by a directory', (path: string) => {
      rmSync(path)
      mkdirSync(path)
    }],
  ] as const) {
    for (const [layout, byFile] of Object.entries(moments)) {
      for (const [path, all] of Object.entries(byFile)) {
        for (const moment of change === rot ? all : all.slice(-1)) {
          it(`${layout}: ${path} ${what} when ${moment} is stored: aborted, named, no record`, async () => {
            const setting = use()
            const {exitCode, backups: [outcome]} = await during(setting, layout as BackupLayout, moment, () => change(at(path)))
            expect([exitCode, outcome?.outcome]).to.deep.equal([13, 'failed'])
            expect(outcome?.reason).to.match(new RegExp(`"${path}" (changed|vanished) while it was being copied`))
            expect(record(setting)).to.equal(undefined)
          })
        }
      }
    }
  }

  for (const layout of ['compact', 'mirror'] as const) {
    it(`${layout}: the run after an aborted one sends what changed, and never takes the old content for it`, async () => {
      const setting = use()
      const base = {...setting.context().base, layout}
      await during(setting, layout, layout === 'compact' ? 'packs/0001.tar' : 'data/base/1/1259', () => {
        for (const path of [small, large, parts]) rot(at(path))
      })
      expect(record(setting)).to.equal(undefined)
      expect((await sync(setting, {}, {base})).exitCode).to.equal(0)
      expectFaithful(setting)
    })

    for (const moment of layout === 'compact' ? ['large.zst', 'packs/0001.tar', 'part 1'] : ['PG_VERSION', 'part 1', 'data/base/1/large']) {
      it(`${layout}: the next rsync backup hard-links every file when ${moment} is stored: ctime and links move, nothing is aborted`, async () => {
        const setting = use()
        const copies = join(setting.tree.baseDirectory, '20261102T020000')
        mkdirSync(copies)
        const result = await during(setting, layout, moment, () => {
          for (const [index, file] of listFiles(setting).entries()) linkSync(at(file), join(copies, String(index)))
        })
        expect([result.exitCode, result.backups[0]?.reason]).to.deep.equal([0, 'it is not in S3'])
        expect(record(setting)).not.to.equal(undefined)
        expectFaithful(setting)
      })
    }

    it(`${layout}: that backup comes and is deleted again: the number of links is as before, so content decides`, async () => {
      const setting = use()
      const copies = join(setting.root, 'copies')
      mkdirSync(copies)
      const before = new Map(listFiles(setting).map((file) => [file, readFileSync(at(file))]))
      const result = await during(setting, layout, layout === 'compact' ? 'packs/0001.tar' : 'data/base/1/large', () => {
        for (const [index, file] of listFiles(setting).entries()) linkSync(at(file), join(copies, String(index)))
        rmSync(copies, {recursive: true})
      })
      expect(result.exitCode).to.equal(0)
      for (const [file, bytes] of before) expect(readFileSync(at(file)).equals(bytes)).to.equal(true)
      expectFaithful(setting)
    })
  }
})

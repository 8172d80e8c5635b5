import {execFileSync} from 'node:child_process'
import {readFileSync} from 'node:fs'
import {join} from 'node:path'
import {gunzipSync} from 'node:zlib'
import {expect} from 'chai'
import {parseBackupRecord} from '../../../src/lib/archive/backup-record.ts'
import {parseManifestLine} from '../../../src/lib/archive/manifest-line.ts'
import {syncBase} from '../../../src/lib/sync/base-sync.ts'
import type {ObjectStore} from '../../../src/lib/store/object-store.ts'
import {addTask} from '../../../src/lib/queue/task-store.ts'
import {createSyncSetting, watchStore, type SyncSetting} from '../../support/sync-setting.ts'

const ID = '20261101T020000'
const MIB = 1024 ** 2

/** Something no error class of ours stands for, as a process that dies. */
class Killed extends Error {}

async function run(setting: SyncSetting, store: ObjectStore) {
  return await syncBase(setting.context({store, partSizeBytes: MIB}), {queue: setting.queue(), backupIds: undefined, scan: true, again: false, adopt: false, isDryRun: false})
}

async function makeSetting(): Promise<SyncSetting> {
  const setting = createSyncSetting({store: {limits: {minPartBytes: MIB}}, tree: {segmentSizeBytes: MIB, backup: {largeFileBytes: 2 * MIB + 17}}})
  await addTask(setting.queueDirectory, {server: 'pg', backupId: ID as never}, new Date())
  return setting
}

/** Whether every object that the record's manifest names is there with its content. */
function isRecordTrue({store, keys, tree}: SyncSetting): boolean {
  const key = keys.record(ID)
  const object = store.objects.get(key)
  if (!object) return true
  const record = parseBackupRecord(object.body, key)
  const manifest = store.objects.get(keys.absolute(record.manifest.key))
  if (!manifest) return false
  for (const line of gunzipSync(manifest.body).toString().trim().split('\n').map(parseManifestLine)) {
    if (line.line !== 'entry' || line.entry.type !== 'file') continue
    const stored = store.objects.get(keys.absolute(line.entry.object))
    if (!stored || !Buffer.from(stored.body).equals(readFileSync(join(tree.baseDirectory, ID, line.entry.path)))) return false
  }
  return store.objects.has(keys.backupInfo(ID, 'meta'))
}

/** Content of the bucket without what differs from run to run: times and the run's id. */
function contentOf({store, keys}: SyncSetting): Record<string, string> {
  const volatile = /"(attempt|startedAt|completedAt|sizeBytes|sha256|mtimeNs|beginTime|endTime|inode)": ?"?[^",]*"?,?/g
  return Object.fromEntries([...store.objects].map(([key, {body}]): [string, string] => {
    const name = keys.relative(key)
    if (name.endsWith('.gz')) return [name, gunzipSync(body).toString().replace(/"(mtimeNs|target)":"[^"]*"/g, '')]
    if (name.startsWith('barmans3/')) return [name, Buffer.from(body).toString().replace(volatile, '')]
    return [name, Buffer.from(body).toString('base64').slice(0, 2000)]
  }).sort(([left], [right]) => (left < right ? -1 : 1)))
}

function queueFiles({queueDirectory}: SyncSetting): string {
  return execFileSync('find', [queueDirectory, '-type', 'f', '-not', '-name', '.*', '-printf', '%f\n'], {encoding: 'utf8'}).trim()
}

describe('promise 3: a backup is listed as complete only if it is', function () {
  this.timeout(300_000)

  it('whatever call to the store is the last one of a run, before or after it is done', async () => {
    const undisturbed = await makeSetting()
    let calls = 0
    await run(undisturbed, watchStore(undisturbed.store, {before: () => void calls++}))
    expect(undisturbed.store.objects.has(undisturbed.keys.record(ID))).to.equal(true)
    const expected = contentOf(undisturbed)
    undisturbed.remove()
    expect(calls).to.be.greaterThan(60)

    // Every call from the first and the last ones; of the many alike in the middle a few.
    const points = Array.from({length: calls}, (_, index) => index).filter((index) => index < 14 || index > calls - 14 || index % 11 === 0)
    for (const point of points) {
      // Dying after a call is hardly another thing than dying before the next one: every other point is one of the two.
      for (const moment of [point % 2 === 0 ? 'before' : 'after'] as const) {
        const setting = await makeSetting()
        try {
          let isDead = false
          const die = ({index}: {index: number}) => {
            if (isDead || index >= point) {
              isDead = true
              throw new Killed(`call ${index}`)
            }
          }
          // A dead process does nothing any more, not even its cleaning up.
          const store = watchStore(setting.store, moment === 'before' ? {before: die} : {before: (call) => {
            if (isDead) die(call)
          }, after: die})
          const error = await run(setting, store).then(() => undefined, (thrown: unknown) => thrown)
          const where = `${moment} call ${point}`
          expect(error === undefined || error instanceof Killed, `${where}: ${String(error)}`).to.equal(true)
          expect(isRecordTrue(setting), `${where}: the record is not true`).to.equal(true)
          expect(queueFiles(setting), `${where}: the task is lost`).to.match(/^20261101T020000\.(run|running|done)$/)
          const second = await run(setting, setting.store)
          expect(second.exitCode, where).to.equal(0)
          expect(contentOf(setting), where).to.deep.equal(expected)
          expect(queueFiles(setting), where).to.equal('20261101T020000.done')
        } finally {
          setting.remove()
        }
      }
    }
  })
})

import {expect} from 'chai'
import type {BackupPath} from '../../../src/lib/archive/backup-path.ts'
import type {BackupLayout, FileEntry, ManifestObject} from '../../../src/lib/archive/manifest.ts'
import {PACKED_FILE_BYTES} from '../../../src/lib/archive/pack.ts'
import {planFile, type EarlierFile, type PlannedFile} from '../../../src/lib/sync/file-plan.ts'

const LARGE = 1024 ** 2
const KEY = 'base/20261101T020000/data/base/1/2619'

const plain: ManifestObject = {key: KEY, sizeBytes: LARGE, crc32c: 7, sha256: 'a'.repeat(64)}
const zstd: ManifestObject = {...plain, key: `${KEY}.zst`, sizeBytes: 1000, zstd: {frameBytes: 16 * LARGE, offsets: [0]}}

function file(changes: Partial<PlannedFile> = {}): PlannedFile {
  return {sizeBytes: LARGE, mtimeNs: 5n, knownCrc32c: undefined, areTimesKept: false, ...changes}
}

function earlier({sizeBytes = LARGE, ...changes}: Partial<EarlierFile> & {sizeBytes?: number} = {}): EarlierFile {
  const entry: FileEntry = {
    type: 'file', path: 'data/base/1/2619' as BackupPath, mode: 0o600, mtimeNs: 5n, sizeBytes, sha256: 'b'.repeat(64), crc32c: 7, object: KEY,
  }
  return {backupId: '20261101T020000', entry, object: {...plain, sizeBytes}, isHardLink: false, unusable: undefined, ...changes}
}

const both: readonly BackupLayout[] = ['compact', 'mirror']
const gone = 'the earlier object is gone from S3'
const second = '20261102T020000'

describe('the plan for one file', () => {
  const rows: readonly (readonly [string, PlannedFile, readonly EarlierFile[], readonly BackupLayout[], string])[] = [
    ['small', file({sizeBytes: PACKED_FILE_BYTES - 1}), [], ['compact'], 'pack: small'],
    ['empty', file({sizeBytes: 0}), [], ['compact'], 'pack: small'],
    ['small, and a hard link', file({sizeBytes: 10}), [earlier({sizeBytes: 10, isHardLink: true})], ['compact'], 'pack: small'],
    ['small, and a hard link', file({sizeBytes: 10}), [earlier({sizeBytes: 10, isHardLink: true})], ['mirror'], 'use: hard link to backup 20261101T020000'],
    ['small, never seen', file({sizeBytes: 10}), [], ['mirror'], 'send: new'],
    ['of the size at which packs end', file({sizeBytes: PACKED_FILE_BYTES}), [], ['compact'], 'send: new'],
    ['never seen', file(), [], both, 'send: new'],
    ['of another size', file(), [earlier({sizeBytes: LARGE + 1})], both, 'send: another size than before'],
    ['of another size, and called a hard link', file(), [earlier({sizeBytes: LARGE + 1, isHardLink: true})], both, 'send: another size than before'],
    ['a hard link', file(), [earlier({isHardLink: true})], both, 'use: hard link to backup 20261101T020000'],
    ['a hard link that PostgreSQL says something else of: used, and then found damaged', file({knownCrc32c: 8}), [earlier({isHardLink: true})], both, 'use: hard link to backup 20261101T020000'],
    ['a hard link to what is gone', file(), [earlier({isHardLink: true, unusable: gone})], both, `send: ${gone}`],
    ['equal in size and time, its object gone', file({areTimesKept: true}), [earlier({unusable: gone})], both, `send: ${gone}`],
    ['earlier in a pack', file(), [earlier({object: undefined, isHardLink: true})], both, 'send: the earlier one is stored in another form'],
    ['earlier compressed, a hard link', file(), [earlier({object: zstd, isHardLink: true})], ['compact'], 'use: hard link to backup 20261101T020000'],
    ['earlier compressed, a hard link', file(), [earlier({object: zstd, isHardLink: true})], ['mirror'], 'send: the earlier one is stored in another form'],
    ['earlier compressed', file(), [earlier({object: zstd})], ['compact'], 'compare: same path and size as in backup 20261101T020000'],
    ['of the same size, nothing else known', file({mtimeNs: 6n}), [earlier()], both, 'compare: same path and size as in backup 20261101T020000'],
    ['of the same size and time', file({areTimesKept: true}), [earlier()], both, 'compare: same path and size as in backup 20261101T020000'],
    ['of the same size, PostgreSQL\'s time another', file({areTimesKept: true, mtimeNs: 6n}), [earlier()], both, 'send: another time than before'],
    ['of the same size, CRC32C another', file({knownCrc32c: 8}), [earlier()], both, 'send: changed, by PostgreSQL\'s backup_manifest'],
    ['of the same size and CRC32C: never proof', file({knownCrc32c: 7}), [earlier()], both, 'compare: same path and size as in backup 20261101T020000'],
    ['CRC32C equal, time another: a touched file', file({knownCrc32c: 7, areTimesKept: true, mtimeNs: 6n}), [earlier()], both, 'compare: same path and size as in backup 20261101T020000'],
    ['CRC32C another, time equal', file({knownCrc32c: 8, areTimesKept: true}), [earlier()], both, 'send: changed, by PostgreSQL\'s backup_manifest'],
    ['of a CRC32C of 0', file({knownCrc32c: 0}), [earlier()], both, 'send: changed, by PostgreSQL\'s backup_manifest'],
    ['changed since the last, as in the one before', file(), [earlier({sizeBytes: 5}), earlier({backupId: second})], both, `compare: same path and size as in backup ${second}`],
    ['unusable in the last, a hard link in the one before', file(), [earlier({unusable: gone}), earlier({backupId: second, isHardLink: true})], both, `use: hard link to backup ${second}`],
    ['compressed in the last, plain in the one before', file(), [earlier({object: zstd}), earlier({backupId: second})], ['mirror'], `compare: same path and size as in backup ${second}`],
    ['larger than CopyObject takes', file({sizeBytes: 5 * 1024 ** 3 + 1}), [earlier({sizeBytes: 5 * 1024 ** 3 + 1, isHardLink: true})], ['mirror'], 'send: larger than S3 copies'],
    ['larger than CopyObject takes', file({sizeBytes: 5 * 1024 ** 3 + 1}), [earlier({sizeBytes: 5 * 1024 ** 3 + 1, isHardLink: true})], ['compact'], 'use: hard link to backup 20261101T020000'],
    ['as large as CopyObject takes', file({sizeBytes: 5 * 1024 ** 3}), [earlier({sizeBytes: 5 * 1024 ** 3})], ['mirror'], 'compare: same path and size as in backup 20261101T020000'],
  ]
  for (const [what, planned, candidates, layouts, expected] of rows) {
    for (const layout of layouts) {
      it(`${what}, in layout ${layout}: ${expected}`, () => {
        const plan = planFile(planned, candidates, layout)
        expect(`${plan.action}: ${plan.reason}`).to.equal(expected)
      })
    }
  }

  it('says which object holds the content', () => {
    const plan = planFile(file(), [earlier({unusable: gone}), earlier({backupId: second, object: zstd})], 'compact')
    expect(plan.action === 'compare' && plan.earlier).to.deep.include({backupId: second, object: zstd})
  })
})

import {expect} from 'chai'
import fc from 'fast-check'
import {backupPathFromBytes, type BackupPath} from '../../../src/lib/archive/backup-path.ts'
import {formatBackupRecord, parseBackupRecord, type BackupRecord} from '../../../src/lib/archive/backup-record.ts'
import {remoteBackupState, type RemoteBackupState} from '../../../src/lib/archive/backup-state.ts'
import {countEntry, countObject, EMPTY_COUNTS, type ManifestEntry} from '../../../src/lib/archive/manifest.ts'
import {formatCrc32c, formatManifestEnd, formatManifestEntry, formatManifestHeader, formatManifestObject, parseCrc32c, parseManifestLine} from '../../../src/lib/archive/manifest-line.ts'
import {formatStartedMarker, formatTombstone, parseStartedMarker, parseTombstone} from '../../../src/lib/archive/markers.ts'
import {judgeRestorable, requiredSegments} from '../../../src/lib/archive/recoverability.ts'
import {ConflictError} from '../../../src/lib/errors.ts'

const ID = '20261101T020000'
const identity = {systemId: '7300000000000000001', beginTime: '2026-11-01T02:00:00.000000Z', beginXlog: '0/5000028', beginWal: '000000010000000000000005'}

function makeRecord(changes: Partial<BackupRecord> = {}, summary: Partial<BackupRecord['summary']> = {}): BackupRecord {
  return {
    server: 'pg', backupId: ID, identity, writer: {id: 'w', host: 'h'}, attempt: 'a', startedAt: '2026-11-01T03:00:00.000Z', completedAt: '2026-11-01T03:01:00.000Z',
    layout: 'mirror', features: ['mirror'], counts: {...EMPTY_COUNTS, files: 3}, manifest: {key: `barmans3/${ID}.manifest.gz`, sizeBytes: 10, sha256: 'ab'}, owners: [], vouchers: [],
    summary: {
      name: undefined, mode: 'postgres', compression: undefined, encryption: undefined, postgresVersion: 160001, timeline: 1, beginTime: '2026-11-01T02:00:00.000Z',
      endTime: '2026-11-01T02:04:00.000Z', beginWal: '000000010000000000000005', endWal: '000000010000000000000007', beginXlog: '0/5000028', endXlog: '0/7000000',
      xlogSegmentSizeBytes: 16_777_216, parentBackupId: undefined, tablespaces: [{name: 'ts1', oid: 16385, location: '/ts1'}], ...summary,
    },
    ...changes,
  }
}

describe('the backup record', () => {
  it('comes back as it was written', () => expect(parseBackupRecord(formatBackupRecord(makeRecord()), 'k')).to.deep.equal(makeRecord()))

  it('with unknown fields is read', () => {
    const text = JSON.stringify({...JSON.parse(formatBackupRecord(makeRecord()).toString()), future: {a: 1}})
    expect(parseBackupRecord(Buffer.from(text), 'k').backupId).to.equal(ID)
  })

  for (const [what, change, says] of [
    ['a newer version', {version: 2}, /version 2/], ['another format', {format: 'x'}, /not a barmans3-backup/], ['an unknown feature', {features: ['mirror', 'encryption']}, /encryption/],
    ['features nobody can read', {features: [{name: 'encryption'}]}, /features/], ['features that are no list', {features: 'encryption'}, /features/], ['no features', {features: undefined}, /features/],
    ['owners nobody can read', {owners: [7]}, /owners/], ['a version that is no number', {version: '1'}, /version 1/], ['no version', {version: undefined}, /version/],
    ['no identity', {identity: null}, /identity/], ['a size that is none', {manifest: {key: 'k', sha256: 'x'}}, /sizeBytes/],
    ['an unknown layout', {layout: 'sparse'}, /sparse/], ['no summary', {summary: null}, /summary/], ['no manifest', {manifest: []}, /manifest/],
  ] as const) {
    it(`with ${what} is refused by name`, () => {
      const text = JSON.stringify({...JSON.parse(formatBackupRecord(makeRecord()).toString()), ...change})
      expect(() => parseBackupRecord(Buffer.from(text), 'the-key')).to.throw(ConflictError, says)
      expect(() => parseBackupRecord(Buffer.from(text), 'the-key')).to.throw(/the-key/)
    })
  }

  it('every change of one of its fields to nonsense is refused or read, never a crash', () => {
    const document = JSON.parse(formatBackupRecord(makeRecord()).toString()) as Record<string, unknown>
    for (const field of Object.keys(document)) {
      for (const nonsense of [null, 0, -1, '', 'x', [], [null], {}, {id: 7}, true]) {
        try {
          parseBackupRecord(Buffer.from(JSON.stringify({...document, [field]: nonsense})), 'k')
        } catch (error) {
          expect(error, `${field} ${JSON.stringify(nonsense)}: ${String(error)}`).to.be.instanceOf(ConflictError).with.property('hint').that.is.a('string')
        }
      }
    }
  })

  it('foreign bytes are refused', () => {
    fc.assert(fc.property(fc.uint8Array({maxLength: 200}), (bytes) => {
      expect(() => parseBackupRecord(bytes, 'k')).to.throw(ConflictError).with.property('hint').that.is.a('string')
    }))
    fc.assert(fc.property(fc.jsonValue(), (value) => {
      expect(() => parseBackupRecord(Buffer.from(JSON.stringify(value)), 'k')).to.throw(ConflictError)
    }))
  })

  it('cut anywhere is refused, never taken for another', () => {
    const bytes = formatBackupRecord(makeRecord())
    for (let length = 0; length < bytes.length - 2; length += 7) expect(() => parseBackupRecord(bytes.subarray(0, length), 'k')).to.throw(ConflictError)
  })
})

describe('markers', () => {
  const marker = {server: 'pg', backupId: ID, identity, writer: {id: 'w', host: 'h'}, attempt: 'a', startedAt: 't', hadLegacyData: true}
  const tombstone = {backupId: ID, writer: {id: 'w', host: 'h'}, deletedAt: 't', reason: 'retention'}
  it('come back as they were written', () => {
    expect(parseStartedMarker(formatStartedMarker(marker), 'k')).to.deep.equal(marker)
    expect(parseTombstone(formatTombstone(tombstone), 'k')).to.deep.equal(tombstone)
  })

  it('are not taken for each other', () => {
    expect(() => parseStartedMarker(formatTombstone(tombstone), 'k')).to.throw(ConflictError)
    expect(() => parseTombstone(formatStartedMarker(marker), 'k')).to.throw(ConflictError)
    expect(() => parseTombstone(Buffer.from([0xff, 0xfe]), 'k')).to.throw(ConflictError)
  })
})

describe('the manifest', () => {
  const bytePaths = fc.uint8Array({minLength: 1, maxLength: 40}).map((bytes) => backupPathFromBytes(Buffer.from(bytes)))
  const entries: fc.Arbitrary<ManifestEntry> = fc.record({path: bytePaths, mode: fc.integer({min: 0, max: 0o7777}), mtimeNs: fc.bigInt({min: -(2n ** 62n), max: 2n ** 62n})})
    .chain((base) => fc.oneof(
      fc.constant({type: 'directory' as const, ...base}),
      bytePaths.map((target) => ({type: 'symlink' as const, ...base, target})),
      fc.constant({type: 'special' as const, ...base, kind: 'fifo' as const}),
      fc.record({sizeBytes: fc.nat(), crc32c: fc.integer({min: 0, max: 0xffff_ffff})}).map((content) => ({type: 'file' as const, ...base, ...content, sha256: 'a'.repeat(64), object: 'base/x'})),
    ))

  it('every entry comes back as it was written, whatever bytes its names have', () => {
    fc.assert(fc.property(entries, (entry) => {
      const text = formatManifestEntry(entry)
      expect(text.indexOf('\n')).to.equal(text.length - 1)
      expect(parseManifestLine(text)).to.deep.equal({line: 'entry', entry})
    }), {numRuns: 1000})
  })

  it('header, objects and end come back, and count', () => {
    const header = {server: 'pg', backupId: ID, layout: 'mirror' as const}
    expect(parseManifestLine(formatManifestHeader(header))).to.deep.equal({line: 'header', ...header})
    const object = {key: `base/${ID}/x`, sizeBytes: 3, crc32c: 0xe3069283, sha256: 'b'.repeat(64)}
    expect(parseManifestLine(formatManifestObject(object))).to.deep.equal({line: 'object', object})
    const file: ManifestEntry = {type: 'file', path: 'x' as BackupPath, mode: 0o600, mtimeNs: 0n, ...object, object: 'base/x'}
    const counts = countObject(countEntry(EMPTY_COUNTS, file), object, ID)
    expect(counts).to.deep.equal({...EMPTY_COUNTS, files: 1, objects: 1, sourceBytes: 3, storedBytes: 3})
    expect(countObject(EMPTY_COUNTS, object, '20261102T020000')).to.deep.equal({...EMPTY_COUNTS, referencedObjects: 1, referencedBytes: 3})
    expect(parseManifestLine(formatManifestEnd(counts))).to.deep.equal({line: 'end', ...counts})
  })

  it('CRC32C is written as S3 writes it: big-endian base64 (PostgreSQL\'s manifest has it little-endian)', () => {
    expect(formatCrc32c(0x87208743)).to.equal('hyCHQw==')
    expect(parseCrc32c('hyCHQw==')).to.equal(0x87208743)
    for (const wrong of ['', 'hyCHQw', 'hyCHQw==-2', 7, undefined]) expect(parseCrc32c(wrong)).to.equal(undefined)
  })

  for (const text of ['', '{', 'null', '[]', '{"type":"file"}', '{"type":"other"}', '{"format":"barmans3-manifest","version":2}', '{"format":"x","version":1}',
    '{"type":"end","files":-1}', '{"type":"directory","path":"a","mode":"9","mtimeNs":"0"}', '{"type":"special","path":"a","mode":"0600","mtimeNs":"0","kind":"x"}']) {
    it(`refuses the line ${text}`, () => expect(() => parseManifestLine(text)).to.throw(/manifest/))
  }
})

describe('the state of a backup in S3', () => {
  for (const [tombstone, record, started, data, info, state] of [
    [1, 1, 1, 1, 1, 'deleting'], [1, 0, 0, 1, 0, 'deleting'], [1, 0, 0, 0, 1, 'deleting'], [1, 0, 0, 0, 0, 'absent'],
    [0, 1, 0, 0, 0, 'complete'], [0, 1, 1, 1, 1, 'complete'], [0, 0, 1, 0, 0, 'incomplete'], [0, 0, 1, 1, 1, 'incomplete'],
    [0, 0, 0, 1, 1, 'legacy'], [0, 0, 0, 1, 0, 'incomplete'], [0, 0, 0, 0, 1, 'absent'], [0, 0, 0, 0, 0, 'absent'],
  ] as const satisfies readonly (readonly [number, number, number, number, number, RemoteBackupState])[]) {
    it(`tombstone ${tombstone}, record ${record}, started ${started}, data ${data}, backup.info ${info}: ${state}`, () => {
      expect(remoteBackupState({hasTombstone: !!tombstone, hasRecord: !!record, hasStartedMarker: !!started, hasData: !!data, hasBackupInfo: !!info, hasOtherKeys: false, hadLegacyData: false})).to.equal(state)
    })
  }
})

describe('the state of a backup in S3, the rarer facts', () => {
  const nothing = {hasTombstone: false, hasRecord: false, hasStartedMarker: false, hasData: false, hasBackupInfo: false, hasOtherKeys: false, hadLegacyData: false}
  for (const [what, facts, state] of [
    ['a tombstone and a manifest or note', {hasTombstone: true, hasOtherKeys: true}, 'deleting'],
    ['a manifest or note alone', {hasOtherKeys: true}, 'absent'],
    ['legacy data that is being sent again', {hasStartedMarker: true, hadLegacyData: true, hasData: true, hasBackupInfo: true}, 'legacy'],
    ['legacy data that is gone by now', {hasStartedMarker: true, hadLegacyData: true}, 'incomplete'],
    ['legacy data that was sent again', {hasStartedMarker: true, hadLegacyData: true, hasData: true, hasBackupInfo: true, hasRecord: true}, 'complete'],
  ] as const) {
    it(`${what}: ${state}`, () => expect(remoteBackupState({...nothing, ...facts})).to.equal(state))
  }
})

describe('whether a backup is restorable', () => {
  const all = () => true
  const byId = (...records: BackupRecord[]) => new Map(records.map((record) => [record.backupId, record]))

  it('needs every segment from begin to end, and no other', () => {
    const record = makeRecord()
    expect([...requiredSegments(record)!]).to.deep.equal(['05', '06', '07'].map((end) => `0000000100000000000000${end}`))
    for (const missing of requiredSegments(record)!) {
      expect(judgeRestorable(record, byId(record), (name) => name !== missing)).to.deep.equal({isRestorable: false, reason: `WAL ${missing} is missing in S3`})
    }
    expect(judgeRestorable(record, byId(record), all)).to.deep.equal({isRestorable: true})
  })

  it('counts segments of 64 MiB over the border of a log', () => {
    const record = makeRecord({}, {beginWal: '00000001000000000000003F', endWal: '000000010000000100000000', xlogSegmentSizeBytes: 64 * 1024 ** 2})
    expect([...requiredSegments(record)!]).to.deep.equal(['00000001000000000000003F', '000000010000000100000000'])
  })

  it('needs every ancestor of an incremental; a circle is never restorable', () => {
    const root = makeRecord({backupId: 'a'})
    const middle = makeRecord({backupId: 'b'}, {parentBackupId: 'a'})
    const leaf = makeRecord({backupId: 'c'}, {parentBackupId: 'b'})
    expect(judgeRestorable(leaf, byId(root, middle, leaf), all).isRestorable).to.equal(true)
    expect(judgeRestorable(leaf, byId(middle, leaf), all)).to.deep.include({reason: 'its ancestor a is not complete in S3'})
    expect(judgeRestorable(leaf, byId(root, leaf), all)).to.deep.include({reason: 'its ancestor b is not complete in S3'})
    const circle = makeRecord({backupId: 'a'}, {parentBackupId: 'c'})
    expect(judgeRestorable(leaf, byId(circle, middle, leaf), all).isRestorable).to.equal(false)
  })

  it('is no when what it needs is not known or makes no sense', () => {
    for (const summary of [{beginWal: undefined}, {endWal: undefined}, {xlogSegmentSizeBytes: undefined}, {endWal: '000000020000000000000007'}, {endWal: '000000010000000000000001'}]) {
      const record = makeRecord({}, summary)
      expect(judgeRestorable(record, byId(record), all)).to.deep.equal({isRestorable: false, reason: 'the WAL it needs is not known'})
    }
  })

  it('needs no record of a backup that owns a part of it: its data stays without one', () => {
    const record = makeRecord({layout: 'compact', features: ['references'], owners: ['20261001T000000'], vouchers: ['20261015T000000']})
    expect(judgeRestorable(record, byId(record), all).isRestorable).to.equal(true)
  })
})

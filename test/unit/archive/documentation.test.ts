import {expect} from 'chai'
import {backupPathFromText} from '../../../src/lib/archive/backup-path.ts'
import {parseBackupRecord, formatBackupRecord, type BackupRecord} from '../../../src/lib/archive/backup-record.ts'
import {ArchiveKeys, classifyRelativeKey, escapeKeyPath} from '../../../src/lib/archive/keys.ts'
import {EMPTY_COUNTS, type ManifestEntry} from '../../../src/lib/archive/manifest.ts'
import {formatManifestEnd, formatManifestEntry, formatManifestHeader, formatManifestObject, parseManifestLine} from '../../../src/lib/archive/manifest-line.ts'
import {formatStartedMarker, formatTombstone} from '../../../src/lib/archive/markers.ts'
import {parseBlocks, readPage} from '../../support/doc-pages.ts'

const page = readPage('docs/reference/archive-format.md')
const examples = parseBlocks(page).filter(({language}) => language === 'json').map(({text}) => text)

/** Names of all fields of a JSON value, at any depth. */
function fieldNames(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(fieldNames)
  return typeof value === 'object' && value !== null ? Object.entries(value).flatMap(([name, each]) => [name, ...fieldNames(each)]) : []
}

/** The record of the page with every field that can be left out. */
function wholeRecord(): BackupRecord {
  const record = parseBackupRecord(Buffer.from(examples[0] ?? ''), 'the page')
  return {...record, summary: {...record.summary, compression: 'gzip', encryption: 'gpg', parentBackupId: '20261101T020000'}}
}

describe('docs/reference/archive-format.md', () => {
  it('has a record as this version writes it', () => {
    const text = examples[0] ?? ''
    expect(formatBackupRecord(parseBackupRecord(Buffer.from(text), 'the page')).toString().trim()).to.equal(text)
  })

  it('has manifest lines as this version writes them', () => {
    const lines = [...(examples[1] ?? '').split('\n'), ...(examples[2] ?? '').split('\n')]
    const written = lines.map((text) => {
      const line = parseManifestLine(text)
      switch (line.line) {
        case 'header': return formatManifestHeader({server: line.server, backupId: line.backupId, layout: line.layout})
        case 'entry': return formatManifestEntry(line.entry)
        case 'object': return formatManifestObject(line.object)
        case 'end': {
          const {line: _, ...counts} = line
          return formatManifestEnd({...EMPTY_COUNTS, ...counts})
        }
      }
    })
    expect(lines.length).to.equal(13)
    expect(written.join('')).to.equal(`${lines.join('\n')}\n`)
  })

  it('names every field of every document', () => {
    const {writer, identity, server, backupId, attempt, startedAt} = wholeRecord()
    const common = {mode: 0o600, mtimeNs: 0n}
    const entries: ManifestEntry[] = [
      {type: 'special', kind: 'fifo', path: backupPathFromText('p'), ...common},
      {type: 'symlink', path: 'x\xff' as never, target: 'y\xff' as never, ...common},
      {type: 'symlink', path: backupPathFromText('l'), target: backupPathFromText('t'), ...common},
    ]
    const documents = [
      formatBackupRecord(wholeRecord()), formatStartedMarker({server, backupId, identity, writer, attempt, startedAt, hadLegacyData: true}),
      formatTombstone({backupId, writer, deletedAt: startedAt, reason: 'explicit'}), ...entries.map(formatManifestEntry), ...(examples[1] ?? '').split('\n'),
    ]
    const names = new Set(documents.flatMap((text) => fieldNames(JSON.parse(text.toString()))))
    // Of the identity the page says what they are; their names stand in the example.
    expect([...names].filter((name) => !page.includes(`\`${name}\``) && !(examples[0] ?? '').includes(`"${name}"`))).to.deep.equal([])
    expect(names.size).to.be.greaterThan(50)
  })

  it('names every kind of key, and each example is that kind', () => {
    const keys = new ArchiveKeys({prefix: 'barman', server: 'main-server'})
    const id = '20261102T020000'
    const all = [
      keys.identity, keys.record(id), keys.started(id), keys.manifest(id), keys.tombstone(id), keys.backupInfo(id, 'meta'), keys.backupInfo(id, 'base'),
      keys.keep(id, 'meta'), keys.keep(id, 'base'),
    ].map((key) => keys.relative(key))
    for (const key of all) {
      expect(page, key).to.contain(`\`${key.replace(id, '<id>')}\``)
      expect(classifyRelativeKey(key).type, key).not.to.equal('other')
    }
  })

  it('escapes names as it says', () => {
    const keys = new ArchiveKeys({prefix: 'barman', server: 'main-server'})
    const escape = (text: string) => escapeKeyPath(backupPathFromText(text))
    expect(['50%', 'a\\b', 'a\tb', 'a/./b', 'a/..', 'a b+c'].map(escape)).to.deep.equal(['50%25', 'a%5Cb', 'a%09b', 'a/%2E/b', 'a/%2E%2E', 'a b+c'])
    expect(escapeKeyPath('\xff\xe9' as never)).to.equal('%FF%E9')
    expect(keys.relative(keys.data('20261102T020000', backupPathFromText('x'.repeat(256))))).to.match(/^base\/20261102T020000\/%long\/[0-9a-f]{64}$/)
    const compact = (text: string, isCompressed: boolean) => keys.relative(keys.compactData('20261102T020000', backupPathFromText(text), {isCompressed}))
    expect(compact('x.zst', false)).to.equal('base/20261102T020000/x%2Ezst')
    expect(compact('packs/a.zst/b', true)).to.equal('base/20261102T020000/%70acks/a%2Ezst/b.zst')
    expect(compact('x'.repeat(253), true)).to.match(/^base\/20261102T020000\/%long\/[0-9a-f]{64}\.zst$/)
    for (const told of ['`%2Ezst`', '`%70acks`', '`.zst` stands behind it', '`50%` is `50%25`', '`%2E` or `%2E%2E`', 'base/<id>/%long/', '479 bytes', '255']) expect(page).to.contain(told)
  })
})

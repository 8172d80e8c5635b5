import {readFileSync} from 'node:fs'
import {expect} from 'chai'
import {formatBackupRecord, parseBackupRecord} from '../../../src/lib/archive/backup-record.ts'
import {formatManifestEnd, formatManifestEntry, formatManifestHeader, formatManifestObject, parseManifestLine, type ManifestLine} from '../../../src/lib/archive/manifest-line.ts'
import {EMPTY_COUNTS, type ManifestCounts} from '../../../src/lib/archive/manifest.ts'
import {parseBlocks, readPage} from '../../support/doc-pages.ts'

const page = readPage('docs/reference/archive-format.md')

function formatLine(line: ManifestLine): string {
  if (line.line === 'entry') return formatManifestEntry(line.entry)
  if (line.line === 'object') return formatManifestObject(line.object)
  const {line: kind, ...rest} = line
  return kind === 'header' ? formatManifestHeader(rest as never) : formatManifestEnd({...EMPTY_COUNTS, ...rest as ManifestCounts})
}

describe('docs/reference/archive-format.md', () => {
  const [record = '', compact = '', mirror = ''] = parseBlocks(page).filter(({language}) => language === 'json').map(({text}) => text)

  it('shows a record exactly as barmans3 writes and reads it', () => {
    expect(formatBackupRecord(parseBackupRecord(Buffer.from(record), 'the page')).toString().trim()).to.equal(record)
  })

  it('shows manifest lines exactly as barmans3 writes and reads them', () => {
    const lines = [...compact.split('\n'), ...mirror.split('\n')]
    expect(lines).to.have.length(13)
    expect(lines.filter((line) => line.includes('"layout":"compact"') || line.includes('"layout":"mirror"'))).to.have.length(2)
    for (const line of lines) expect(formatLine(parseManifestLine(line)).trim()).to.equal(line)
  })

  it('names every field of record, markers and manifest', () => {
    const source = ['backup-record', 'markers', 'manifest'].map((name) =>
      readFileSync(new URL(`../../../src/lib/archive/${name}.ts`, import.meta.url), 'utf8')).join('\n')
    const fields = [...source.matchAll(/^ {2}readonly (\w+): /gm)].map((match) => match[1] ?? '')
    expect(fields).to.include.members(['hadLegacyData', 'deletedAt', 'vouchers', 'mtimeNs', 'storedBytes'])
    // `offsets` is written as `frames`.
    for (const field of new Set(fields.filter((name) => name !== 'id' && name !== 'offsets'))) expect(page).to.contain(`\`${field}\``)
  })
})

import {createHash} from 'node:crypto'
import {writeFileSync} from 'node:fs'
import path from 'node:path'
import {expect} from 'chai'
import fc from 'fast-check'
import {BackupManifest} from '../../../src/lib/barman/backup-manifest.ts'
import {BackupManifestParser, type ManifestFile} from '../../../src/lib/barman/backup-manifest-parser.ts'
import {BarmanFilesError} from '../../../src/lib/errors.ts'
import {quickParentDirectory, useTemporaryDirectory} from '../../support/temporary-directory.ts'
import {entryOf, manifestOf, realManifest, sealed} from './backup-manifest-files.ts'
import {rejectionOf} from './promises.ts'

const CHECKSUM = {algorithm: 'CRC32C', hex: 'b73f4b36'}
const SMALL = Buffer.from(manifestOf(
  entryOf('PG_VERSION', 3, CHECKSUM), entryOf('quote"back\\größe', 3, CHECKSUM), entryOf('base/1/{2}', 3)))
const VERSION_2 = resealedBytes(Buffer.from(
  SMALL.toString().replace('": 1,\n', '": 2,\n"System-Identifier": 7712021306369699987,\n')))
const VERSION_LINE = '{ "PostgreSQL-Backup-Manifest-Version": 1,\n'

function parse(bytes: Buffer, chunkBytes: number): {files: ManifestFile[]; systemIdentifier: string | undefined} {
  const files: ManifestFile[] = []
  const parser = new BackupManifestParser('backup_manifest', (file) => files.push(file))
  for (let at = 0; at < bytes.length; at += chunkBytes) parser.push(bytes.subarray(at, at + chunkBytes))
  return {files, systemIdentifier: parser.end().systemIdentifier}
}

function faultOf(bytes: Buffer | string, chunkBytes = 100_000): BarmanFilesError {
  try {
    parse(Buffer.from(bytes), chunkBytes)
  } catch (error: unknown) {
    if (error instanceof BarmanFilesError) return error
    throw error
  }
  throw new Error('it was read')
}

/** With the Manifest-Checksum that is right for what is before the last line. */
function resealedBytes(bytes: Buffer): Buffer {
  const body = bytes.subarray(0, bytes.lastIndexOf('"Manifest-Checksum"'))
  const sum = createHash('sha256').update(body).digest('hex')
  return Buffer.concat([body, Buffer.from(`"Manifest-Checksum": "${sum}"}\n`)])
}

describe('a backup_manifest', () => {
  const directory = useTemporaryDirectory(quickParentDirectory())

  it('is read the same in pieces of any size', () => {
    for (const name of ['postgres-15-crc32c', 'postgres-15-sha256-encoded', 'postgres-18-incremental', 'barman-3.19.1-sha256']) {
      const bytes = realManifest(name)
      const whole = parse(bytes, bytes.length)
      for (const chunkBytes of [1, 2, 63, 64, 1000, 4096, 65_537]) {
        expect(parse(bytes, chunkBytes), `${name} in ${chunkBytes}`).to.deep.equal(whole)
      }
    }
  })

  it('is refused when cut, wherever that is', async () => {
    const file = path.join(directory(), 'backup_manifest')
    for (let length = 0; length < SMALL.length; length++) {
      writeFileSync(file, SMALL.subarray(0, length))
      const error = await rejectionOf(BackupManifest.read(file))
      expect(error, `${length} bytes`).to.be.instanceOf(BarmanFilesError)
      expect(String(error)).to.match(/backup_manifest is no whole backup_manifest: it is cut or damaged after [\d,]+ bytes/)
    }
    writeFileSync(file, SMALL)
    expect((await BackupManifest.read(file))?.fileCount).to.equal(3)
  })
  it('is refused when a real one is cut, wherever that is', () => {
    for (const name of ['postgres-15-crc32c', 'postgres-18-crc32c', 'barman-3.19.1-sha256']) {
      const bytes = realManifest(name)
      const everywhere = Array.from({length: 300}, (_, index) => Math.floor((bytes.length * index) / 300))
      const atTheEnd = Array.from({length: 200}, (_, index) => bytes.length - 1 - index)
      for (const length of [...everywhere, ...atTheEnd]) expect(faultOf(bytes.subarray(0, length)).exitCode).to.equal(13)
    }
  })
  it('is refused when whole entries are cut out of it, or it was cut and closed again', () => {
    const text = SMALL.toString()
    expect(faultOf(text.replace(/\{ "Path": "quote.*\n/, '')).message)
      .to.match(/changed or damaged after it was written: its SHA-256 is [0-9a-f]{64}/)
    const begin = text.slice(0, text.indexOf(',\n{ "Path": "base'))
    expect(faultOf(`${begin}\n],\n${text.slice(text.indexOf('"Manifest'))}`).message).to.include('changed or damaged')
  })
  it('is refused when any bit of it is wrong', () => {
    for (const bytes of [SMALL, VERSION_2]) {
      for (let at = 0; at < bytes.length; at++) {
        // Bit 5 makes a capital letter of a hex digit, which is the same number.
        for (const bit of [0, 3, 4, 6, 7]) {
          const damaged = Buffer.from(bytes)
          damaged[at] = (damaged[at] ?? 0) ^ (1 << bit)
          expect(faultOf(damaged), `byte ${at}, bit ${bit}`).to.be.instanceOf(BarmanFilesError)
        }
      }
    }
  })
  it('is refused when a range of it is zeros, as after a crash', () => {
    const bytes = realManifest('postgres-15-crc32c')
    const {length} = bytes
    for (const [begin, end] of [[0, length], [0, 4096], [4096, 8192], [length - 100, length], [20_000, length]] as const) {
      expect(faultOf(Buffer.from(bytes).fill(0, begin, end)).exitCode).to.equal(13)
    }
    // A block of zeros larger than any entry ends the reading, not the memory.
    const endless = Buffer.concat([bytes.subarray(0, 4096), Buffer.alloc(10_000_000)])
    expect(faultOf(endless, 256 * 1024).message).to.match(/cut or damaged after 4,0\d\d bytes/)
  })
  it('is refused with anything behind its end', () => {
    for (const rest of [' ', '\n', '{}\n', SMALL.toString(), 'x'.repeat(200_000)]) {
      expect(faultOf(Buffer.concat([SMALL, Buffer.from(rest)])).message).to.include('cut or damaged')
    }
  })
  it('with the wrong checksum is refused in words that tell both', () => {
    const error = faultOf(SMALL.toString().replace(/[0-9a-f]{64}/, 'ab'.repeat(32)))
    expect(error.message).to.match(new RegExp(`its SHA-256 is [0-9a-f]{64}, its Manifest-Checksum says ${'ab'.repeat(32)}$`))
    expect(error.hint).to.include('pg_verifybackup')
  })
  it('takes its checksum in capital letters, as PostgreSQL does', () => {
    const text = SMALL.toString().replace(/[0-9a-f]{64}/, (hex) => hex.toUpperCase())
    expect(parse(Buffer.from(text), 1000).files.length).to.equal(3)
  })

  const foreign = [
    '{}', '[]', 'null', '\n', 'PK\x03\x04', '{"format": "barmans3-manifest", "version": 1}\n',
    '{"Files": [], "PostgreSQL-Backup-Manifest-Version": 1}', '\ufeff{ "PostgreSQL-Backup-Manifest-Version": 1,',
    '\0'.repeat(70_000), ' '.repeat(70_000),
  ]
  for (const text of foreign) {
    it(`is not ${text.length} characters of ${JSON.stringify(text.slice(0, 60).replace(/(.)\1+/gs, '$1…'))}`, () => {
      expect(String(faultOf(text))).to.match(/is no (whole )?backup_manifest/)
      if (text.length < 1000) expect(String(faultOf(text, 7))).to.match(/is no (whole )?backup_manifest/)
    })
  }
  it('names what a foreign file lacks', () => {
    expect(faultOf('{"format": 1}').message)
      .to.equal('backup_manifest is no backup_manifest: it does not begin with a PostgreSQL-Backup-Manifest-Version')
  })
  it('of a later version is refused by its number, before anything else of it is looked at', () => {
    for (const [version, shown] of [['3', '3'], ['10', '10'], ['0', '0'], ['1.5', '1.5'], ['"2"', '"2"']] as const) {
      const error = faultOf(`{ "PostgreSQL-Backup-Manifest-Version": ${version},\n"Files": {}`)
      expect(error.message).to.include(`is a backup_manifest of version ${shown}, and only 1 and 2 are known`)
      expect(error.hint).to.include('newer barmans3')
    }
  })

  const wrongEntries: readonly [string, string][] = [
    ['without a path', '{ "Size": 1 }'],
    ['with an empty path', '{ "Path": "", "Size": 1 }'],
    ['with two paths', '{ "Path": "a", "Encoded-Path": "61", "Size": 1 }'],
    ['with half a byte of a path', '{ "Encoded-Path": "616", "Size": 1 }'],
    ['with half a character', '{ "Path": "a\\ud83d", "Size": 1 }'],
    ['without a size', '{ "Path": "a" }'],
    ['with a size below nothing', '{ "Path": "a", "Size": -1 }'],
    ['with a fraction of a size', '{ "Path": "a", "Size": 1.5 }'],
    ['with a size beyond all counting', '{ "Path": "a", "Size": 9007199254740993 }'],
    ['with a size in words', '{ "Path": "a", "Size": "1" }'],
    ['with a checksum of no kind', '{ "Path": "a", "Size": 1, "Checksum": "00000000" }'],
    ['with a kind and no checksum', '{ "Path": "a", "Size": 1, "Checksum-Algorithm": "CRC32C" }'],
    ['with a short CRC32C', '{ "Path": "a", "Size": 1, "Checksum-Algorithm": "CRC32C", "Checksum": "000000" }'],
    ['with a CRC32C for a SHA256', '{ "Path": "a", "Size": 1, "Checksum-Algorithm": "SHA256", "Checksum": "00000000" }'],
    ['with a checksum that is no hex', '{ "Path": "a", "Size": 1, "Checksum-Algorithm": "CRC32C", "Checksum": "0000000g" }'],
    ['that is no object', '"a"'],
    ['that is an array', '[]'],
    ['with an object in it', '{ "Path": "a", "Size": 1, "More": {} }'],
    ['that is no JSON', '{ Path: "a", "Size": 1 }'],
    ['with a line break in a name', '{ "Path": "a\nb", "Size": 1 }'],
    ['with bytes that are no UTF-8 between escapes', '{ "Path": "a\\n\xff", "Size": 1 }'],
    ['that is nothing', ''],
    ['longer than any name', `{ "Path": "${'a'.repeat(100_000)}", "Size": 1 }`],
  ]
  for (const [title, entry] of wrongEntries) {
    it(`with an entry ${title} is refused, in whatever pieces it comes, though its checksum is right`, () => {
      const [begin = '', end = ''] = manifestOf(entryOf('before', 1), '@', entryOf('after', 1)).split('@')
      const bytes = resealedBytes(Buffer.from(`${begin}${entry}${end}`, 'latin1'))
      for (const chunkBytes of entry.length < 1000 ? [1, 10, 1000] : [16 * 1024]) {
        expect(faultOf(bytes, chunkBytes).message).to.match(/cut or damaged after \d+ bytes/)
      }
    })
  }

  const wrongBodies: readonly [string, string][] = [
    ['no files', VERSION_LINE],
    ['files that are no list', `${VERSION_LINE}"Files": null,\n`],
    ['a comma too many in the list', `${VERSION_LINE}"Files": [\n{ "Path": "a", "Size": 1 },\n],\n`],
    ['no comma after the list', `${VERSION_LINE}"Files": []\n`],
    ['a system id that is no number', `${VERSION_LINE}"System-Identifier": -1,\n"Files": [],\n`],
    ['something before the checksum on its line', `${VERSION_LINE}"Files": [], `],
  ]
  for (const [title, body] of wrongBodies) {
    it(`with ${title} is refused, though its checksum is right`, () => {
      for (const chunkBytes of [1, 1000]) expect(faultOf(sealed(body), chunkBytes).message).to.include('cut or damaged after')
    })
  }

  it('may be spelled differently and have more fields: any JSON of the same meaning gives the same files', () => {
    const manyFiles = fc.array(SPELLED_FILE, {maxLength: 8})
    fc.assert(fc.property(manyFiles, SPACE, SPACE, fc.integer({min: 1, max: 200}), (files, one, two, chunkBytes) => {
      const entries = files.map((file) => spelledEntry(file, one, two))
      const text = sealed([
        `${one}{${two}"PostgreSQL-Backup-Manifest-Version"${one}:${two}2${one},${two}"Later": "x]}",${one}`,
        `"Files"${two}:${one}[${two}${entries.join(`${one},${two}`)}${one}]${two},`,
        `"Later-List": [${one}{"a": "}"}${two}]${one},${two}"System-Identifier":${one}18446744073709551615${two},\n`,
      ].join(''))
      const read = parse(Buffer.from(text), chunkBytes)
      expect(read.systemIdentifier).to.equal('18446744073709551615')
      expect(read.files).to.deep.equal(files.map(({path: name, sizeBytes, hex}) => ({
        path: name, sizeBytes, checksum: hex === undefined ? undefined : {algorithm: 'CRC32C', hex},
      })))
    }), {numRuns: 300})
  })
})

const SPACE = fc.constantFrom('', ' ', '\n', '\t', '\r\n', '  \n ')
const ANY_BYTE = fc.integer({min: 1, max: 255}).map((code) => String.fromCharCode(code))
const SPELLED_FILE = fc.record({
  path: fc.string({unit: ANY_BYTE, minLength: 1, maxLength: 20}),
  sizeBytes: fc.nat(),
  isEncoded: fc.boolean(),
  isAscii: fc.boolean(),
  hex: fc.option(fc.integer({min: 0, max: 0xffff_ffff}).map((sum) => sum.toString(16).padStart(8, '0')), {nil: undefined}),
})
type SpelledFile = typeof SPELLED_FILE extends fc.Arbitrary<infer File> ? File : never

function spelledEntry({path: name, sizeBytes, isEncoded, isAscii, hex}: SpelledFile, one: string, two: string): string {
  const fields: [string, string][] = [['Size', String(sizeBytes)], ['Last-Modified', '"x"'], ['Later', 'true']]
  const text = isEncoded ? undefined : utf8OrUndefined(name)
  if (text === undefined) fields.unshift(['Encoded-Path', `"${Buffer.from(name, 'latin1').toString('hex')}"`])
  else fields.push(['Path', isAscii ? asciiJson(text) : JSON.stringify(text)])
  if (hex !== undefined) fields.push(['Checksum', `"${hex}"`], ['Checksum-Algorithm', '"crc32c"'])
  return `{${one}${fields.map(([key, value]) => `"${key}"${two}:${one}${value}`).join(`${two},${one}`)}${two}}`
}

function utf8OrUndefined(bytes: string): string | undefined {
  try {
    return new TextDecoder('utf-8', {fatal: true, ignoreBOM: true}).decode(Buffer.from(bytes, 'latin1'))
  } catch {
    return undefined
  }
}

/** As Python's json.dumps writes it. */
function asciiJson(text: string): string {
  return JSON.stringify(text).replace(/[^\u0000-\u007e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

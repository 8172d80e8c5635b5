import {execFileSync} from 'node:child_process'
import {mkdirSync, writeFileSync} from 'node:fs'
import path from 'node:path'
import {expect} from 'chai'
import type {BackupPath} from '../../../src/lib/archive/backup-path.ts'
import {BackupManifest} from '../../../src/lib/barman/backup-manifest.ts'
import {BarmanFilesError} from '../../../src/lib/errors.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'
import {contentOf, entryOf, manifestOf, realFiles, realManifest, sealed} from './backup-manifest-files.ts'
import {rejectionOf} from './promises.ts'

const place = (text: string) => text as BackupPath
const CRC_OF_ABC = {algorithm: 'CRC32C', hex: 'b73f4b36'}

describe('BackupManifest', () => {
  const directory = useTemporaryDirectory()

  async function readText(text: string | Buffer): Promise<BackupManifest> {
    const file = path.join(directory(), 'backup_manifest')
    writeFileSync(file, text)
    const manifest = await BackupManifest.read(file)
    if (manifest === undefined) throw new Error('there is no manifest')
    return manifest
  }

  describe('of real backups', () => {
    const known: readonly {name: string; knows: (filePath: string) => boolean; isChecked: boolean}[] = [
      {name: 'postgres-15-crc32c', knows: () => true, isChecked: true},
      {name: 'postgres-15-sha256-encoded', knows: () => true, isChecked: true},
      {name: 'postgres-15-sha512', knows: () => true, isChecked: false},
      {name: 'postgres-15-none', knows: () => true, isChecked: false},
      {name: 'postgres-18-crc32c', knows: () => true, isChecked: true},
      {name: 'postgres-18-incremental', knows: () => true, isChecked: true},
      {name: 'barman-3.19.1-sha256', knows: (filePath) => filePath.startsWith('data/'), isChecked: true},
    ]
    for (const {name, knows, isChecked} of known) {
      it(`${name}: every file of the backup is told right, none is missing, and each change of one is found`, async () => {
        const manifest = await readText(realManifest(name))
        const files = realFiles(name)
        const witnessed = files.filter((file) => knows(file.path) && file.path !== 'data/backup_manifest'
          // As pg_verifybackup: an edited setting is no damage.
          && file.path !== 'data/postgresql.auto.conf')
        expect(manifest.fileCount).to.equal(witnessed.length)
        expect(witnessed.length).to.be.greaterThan(365)
        expect(manifest.missing(3).count).to.equal(witnessed.length)
        for (const file of files) {
          const expected = isChecked && witnessed.includes(file) ? 'matches' : 'unknown'
          expect(manifest.check(file.path, file.content), file.path).to.deep.equal({verdict: expected})
        }
        expect(manifest.missing(10)).to.deep.equal({count: 0, paths: []})
        for (const {path: filePath, content} of witnessed) {
          expect(manifest.check(filePath, {...content, sizeBytes: content.sizeBytes + 1}).verdict).to.equal('differs')
          const sha256 = content.sha256.replace(/^./, (digit) => (digit === '0' ? '1' : '0'))
          const rotten = {...content, crc32c: (content.crc32c ^ 0x100) >>> 0, sha256}
          expect(manifest.check(filePath, rotten).verdict, filePath).to.equal(isChecked ? 'differs' : 'unknown')
        }
      })
    }
    it('tells names with quotes, line breaks, UTF-8 and other bytes, as PostgreSQL and Barman spell them', async () => {
      const inUtf8 = Buffer.from('größe €😀.conf').toString('latin1')
      const names = ['caf\xe9.conf', 'line\nbreak\ttab', 'quote"back\\slash', '{brace}[x],:', 'del\x7f\x01', inUtf8]
      for (const manifest of ['postgres-15-crc32c', 'postgres-15-sha256-encoded', 'barman-3.19.1-sha256']) {
        const witness = await readText(realManifest(manifest))
        for (const name of names) {
          const content = contentOf(Buffer.from(`file ${name}`, 'latin1'))
          expect(witness.check(place(`data/${name}`), content), name).to.deep.equal({verdict: 'matches'})
        }
      }
    })
    it('finds the files of tablespaces where Barman keeps them, beside data/', async () => {
      for (const name of ['postgres-15-crc32c', 'postgres-18-incremental']) {
        const manifest = await readText(realManifest(name))
        const inTablespace = realFiles(name).filter((file) => !file.path.startsWith('data/'))
        expect(inTablespace.length).to.be.greaterThan(1)
        for (const file of realFiles(name)) if (file.path.startsWith('data/')) manifest.check(file.path, file.content)
        expect([...manifest.missing(100).paths].sort()).to.deep.equal(inTablespace.map((file) => file.path).sort())
      }
    })
    it('reads the system id of PostgreSQL 17 and later, which a number in JavaScript would spoil', async () => {
      const id = /"System-Identifier": (\d+)/.exec(realManifest('postgres-18-crc32c').toString())?.[1]
      expect(Number(id)).to.be.greaterThan(Number.MAX_SAFE_INTEGER)
      expect((await readText(realManifest('postgres-18-crc32c'))).systemIdentifier).to.equal(id)
      expect((await readText(realManifest('postgres-15-crc32c'))).systemIdentifier).to.equal(undefined)
      expect((await readText(realManifest('barman-3.19.1-sha256'))).systemIdentifier).to.equal(undefined)
    })
  })

  describe('check', () => {
    it('says how a file differs, in the digits that stand in the manifest', async () => {
      const {sha256} = contentOf('abc')
      const otherSha256 = contentOf('abd').sha256
      const manifest = await readText(manifestOf(
        entryOf('base/1/1259', 16_384, CRC_OF_ABC), entryOf('a', 3, CRC_OF_ABC),
        entryOf('b', 3, {algorithm: 'SHA256', hex: sha256})))
      expect(manifest.check(place('data/base/1/1259'), {...contentOf('abc'), sizeBytes: 8192}))
        .to.deep.equal({verdict: 'differs', detail: 'it has 8,192 bytes, backup_manifest says 16,384'})
      expect(manifest.check(place('data/a'), {...contentOf('abc'), crc32c: 0x0102_f3f4})).to.deep.equal(
        {verdict: 'differs', detail: 'its CRC32C is f4f30201, backup_manifest says b73f4b36'})
      expect(manifest.check(place('data/b'), contentOf('abd'))).to.deep.equal({
        verdict: 'differs',
        detail: `its SHA-256 begins with ${otherSha256.slice(0, 16)}, backup_manifest says ${sha256.slice(0, 16)}`,
      })
      expect(manifest.check(place('data/a'), contentOf('abc'))).to.deep.equal({verdict: 'matches'})
      expect(manifest.check(place('data/b'), contentOf('abc'))).to.deep.equal({verdict: 'matches'})
    })
    it('spells a CRC32C with leading zeros', async () => {
      const manifest = await readText(manifestOf(entryOf('a', 0, {algorithm: 'CRC32C', hex: '00000001'})))
      expect(manifest.check(place('data/a'), contentOf(''))).to.deep.equal(
        {verdict: 'differs', detail: 'its CRC32C is 00000000, backup_manifest says 00000001'})
      expect(manifest.check(place('data/a'), {...contentOf(''), crc32c: 0x0100_0000})).to.deep.equal({verdict: 'matches'})
    })
    it('compares the size alone where nothing else can be compared', async () => {
      const checksums = [
        undefined, {algorithm: 'SHA224', hex: '00'.repeat(28)}, {algorithm: 'SHA384', hex: '00'.repeat(48)},
        {algorithm: 'SHA512', hex: '00'.repeat(64)}, {algorithm: 'XXH3', hex: '0011'},
      ]
      const manifest = await readText(manifestOf(...checksums.map((checksum, index) => entryOf(`f${index}`, 3, checksum))))
      for (const index of checksums.keys()) {
        expect(manifest.check(place(`data/f${index}`), contentOf('abc'))).to.deep.equal({verdict: 'unknown'})
        expect(manifest.check(place(`data/f${index}`), contentOf('abcd')).verdict).to.equal('differs')
      }
      expect(manifest.missing(9).count).to.equal(0)
    })
    it('knows no file that the manifest does not name', async () => {
      const manifest = await readText(manifestOf(entryOf('a', 3, CRC_OF_ABC), entryOf('base/1/2', 3, CRC_OF_ABC)))
      const others = [
        'a', 'data/', 'data', '', 'data/A', 'data/a/', 'data/aa', 'data/base/1', 'data/base/1/22', 'data/base/2/2',
        'base/1/2', 'data/2',
      ]
      for (const other of others) {
        expect(manifest.check(place(other), contentOf('abc')), other).to.deep.equal({verdict: 'unknown'})
      }
      expect(manifest.missing(9)).to.deep.equal({count: 2, paths: ['data/a', 'data/base/1/2']})
    })
    it('finds the files of a tablespace also where they lie in data/pg_tblspc (made in place)', async () => {
      const inTablespace = '16385/PG_15_202209061/5/1'
      const manifest = await readText(
        manifestOf(entryOf(`pg_tblspc/${inTablespace}`, 3, CRC_OF_ABC), entryOf('pg_tblspc/readme', 3, CRC_OF_ABC)))
      expect(manifest.check(place(`data/pg_tblspc/${inTablespace}`), contentOf('abc'))).to.deep.equal({verdict: 'matches'})
      expect(manifest.check(place(inTablespace), contentOf('abd')).verdict).to.equal('differs')
      expect(manifest.missing(9)).to.deep.equal({count: 1, paths: ['data/pg_tblspc/readme']})
      expect(manifest.check(place('data/pg_tblspc/readme'), contentOf('abc'))).to.deep.equal({verdict: 'matches'})
    })
  })

  describe('crc32cOf', () => {
    it('gives the CRC32C of every file that has one in the manifest, as it is of the file, without counting it as seen', async () => {
      for (const name of ['postgres-15-crc32c', 'postgres-18-incremental']) {
        const manifest = await readText(realManifest(name))
        for (const {path: filePath, content} of realFiles(name)) {
          const isKnown = !['data/backup_manifest', 'data/postgresql.auto.conf'].includes(filePath)
          expect(manifest.crc32cOf(filePath), filePath).to.equal(isKnown ? content.crc32c : undefined)
        }
        expect(manifest.seenCount).to.equal(0)
      }
    })
    it('has none of other checksums', async () => {
      for (const name of ['postgres-15-sha256-encoded', 'postgres-15-none', 'barman-3.19.1-sha256']) {
        expect((await readText(realManifest(name))).crc32cOf(place('data/PG_VERSION'))).to.equal(undefined)
      }
    })
  })

  describe('missing', () => {
    it('counts all and names the first, in the order of the manifest', async () => {
      const names = Array.from({length: 40_000}, (_, index) => `base/${index % 7}/${(index * 7919) % 100_003}`)
      const manifest = await readText(manifestOf(...names.map((name) => entryOf(name, 3, CRC_OF_ABC))))
      for (const [index, name] of names.entries()) if (index % 3 !== 1) manifest.check(place(`data/${name}`), contentOf('abc'))
      // Asked twice is seen once.
      manifest.check(place(`data/${names[0]}`), contentOf('abc'))
      const left = names.filter((_, index) => index % 3 === 1).map((name) => `data/${name}`)
      expect(manifest.missing(5)).to.deep.equal({count: left.length, paths: left.slice(0, 5)})
      expect(manifest.seenCount).to.equal(names.length - left.length)
      expect(manifest.missing(0)).to.deep.equal({count: left.length, paths: []})
      expect(manifest.missing(99_999).paths).to.deep.equal(left)
    })
    it('has nothing to name in a manifest without files', async () => {
      const manifest = await readText(sealed('{ "PostgreSQL-Backup-Manifest-Version": 1,\n"Files": [\n],\n'))
      expect(manifest.fileCount).to.equal(0)
      expect(manifest.missing(9)).to.deep.equal({count: 0, paths: []})
    })
  })

  describe('read', () => {
    it('finds none where there is none', async () => {
      expect(await BackupManifest.read(path.join(directory(), 'backup_manifest'))).to.equal(undefined)
      writeFileSync(path.join(directory(), 'data'), '')
      expect(await BackupManifest.read(path.join(directory(), 'data', 'backup_manifest'))).to.equal(undefined)
    })
    it('refuses what is no file, without waiting for it', async () => {
      const asDirectory = path.join(directory(), 'directory')
      mkdirSync(asDirectory)
      const fifo = path.join(directory(), 'fifo')
      execFileSync('mkfifo', [fifo])
      for (const file of [asDirectory, fifo]) {
        const error = await rejectionOf(BackupManifest.read(file))
        expect(error).to.be.instanceOf(BarmanFilesError)
        expect(String(error)).to.include(`${file} is not a regular file`)
      }
    })
    it('refuses a manifest that names a file twice, also in two spellings', async () => {
      const encoded = `{ "Encoded-Path": "${Buffer.from('größe').toString('hex')}", "Size": 1 }`
      for (const [first, second] of [[entryOf('a/b', 1), entryOf('a/b', 2)], [entryOf('größe', 1), encoded]] as const) {
        const error = await rejectionOf(readText(manifestOf(first, entryOf('between', 1), second)))
        expect(error).to.be.instanceOf(BarmanFilesError)
        expect(String(error)).to.match(/names a file twice: (a\/b|größe)$/)
      }
    })
    it('stops when told to, before and while it reads', async () => {
      const file = path.join(directory(), 'backup_manifest')
      writeFileSync(file, manifestOf(...Array.from({length: 50_000}, (_, index) => entryOf(`base/1/${index}`, 1))))
      const reason = new Error('enough')
      expect(await rejectionOf(BackupManifest.read(file, {signal: AbortSignal.abort(reason)}))).to.equal(reason)
      const controller = new AbortController()
      const reading = rejectionOf(BackupManifest.read(file, {signal: controller.signal}))
      setImmediate(() => controller.abort(reason))
      expect(await reading).to.equal(reason)
    })
  })
})

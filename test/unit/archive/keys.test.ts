import {expect} from 'chai'
import fc from 'fast-check'
import {backupPathFromBytes, backupPathFromText, backupPathText, formatBackupPath, joinBackupPath, type BackupPath} from '../../../src/lib/archive/backup-path.ts'
import {ArchiveKeys, classifyRelativeKey, escapeKeyPath} from '../../../src/lib/archive/keys.ts'

const ID = '20261101T020000'
const keys = new ArchiveKeys({prefix: 'barman', server: 'main-server'})

/** Names as a file system allows them: any bytes but NUL and `/`, and neither `.` nor `..`. */
const nameBytes = fc.uint8Array({minLength: 1, maxLength: 60}).map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x61 : byte))))
  .filter((name) => !['.', '..'].includes(name.toString('latin1')))
const paths = fc.array(nameBytes, {minLength: 1, maxLength: 5}).map((names) => names.map((name) => backupPathFromBytes(name)).reduce((path, name) => joinBackupPath(path, name), '' as BackupPath))

describe('keys of the archive', () => {
  it('are those of the design', () => {
    expect(keys.identity).to.equal('barman/main-server/identity.json')
    expect(keys.wal('0000000100000000/000000010000000000000005')).to.equal('barman/main-server/wals/0000000100000000/000000010000000000000005')
    expect(keys.backupInfo(ID, 'meta')).to.equal(`barman/main-server/meta/${ID}-backup.info`)
    expect(keys.backupInfo(ID, 'base')).to.equal(`barman/main-server/base/${ID}/backup.info`)
    expect(keys.keep(ID, 'base')).to.equal(`barman/main-server/base/${ID}/annotations/keep`)
    expect(keys.record(ID)).to.equal(`barman/main-server/barmans3/${ID}.json`)
    expect(keys.data(ID, 'data/base/1/1259' as BackupPath)).to.equal(`barman/main-server/base/${ID}/data/base/1/1259`)
  })

  it('C64: have no leading slash and no empty part without a prefix', () => {
    expect(new ArchiveKeys({prefix: '', server: 'pg'}).identity).to.equal('pg/identity.json')
  })

  it('of two servers never meet, whatever their names', () => {
    const prefixes = ['pg', 'pg%', 'pg%25', 'p\\g', 'ü', 'a b'].map((server) => new ArchiveKeys({prefix: 'x', server}).serverPrefix)
    expect(new Set(prefixes).size).to.equal(prefixes.length)
    for (const prefix of prefixes) expect(prefix).to.match(/^x\/[^/\\]+\/$/)
  })

  it('C22: no two paths share a key, and every key is one that stores take', () => {
    fc.assert(fc.property(paths, paths, (left, right) => {
      const [one, two] = [keys.data(ID, left), keys.data(ID, right)]
      expect(one === two).to.equal(left === right)
      expect(Buffer.byteLength(one)).to.be.at.most(479)
      expect(one).not.to.match(/[\u0000-\u001f\u007f-\u009f\\]|\/\/|\/\.\.?(\/|$)/)
      expect(Buffer.from(one).toString()).to.equal(one)
      for (const part of one.split('/')) expect(Buffer.byteLength(part)).to.be.at.most(255)
    }), {numRuns: 2000})
  })

  it('C22: no two paths of the bytes that escapes are made of share a key', () => {
    const tricky = fc.array(fc.constantFrom(0x25, 0x32, 0x35, 0x45, 0x46, 0x2e, 0x01, 0x5c, 0xc3, 0xbc, 0xff, 0x2f), {minLength: 1, maxLength: 6})
      .map((bytes) => Buffer.from(bytes).toString('latin1').split('/').filter((part) => part !== '').join('/') as BackupPath)
    const byKey = new Map<string, string>()
    fc.assert(fc.property(tricky, (path) => {
      const key = keys.data(ID, path)
      expect(byKey.get(key) ?? path, key).to.equal(path)
      byKey.set(key, path)
      expect(Buffer.from(key).toString()).to.equal(key)
    }), {numRuns: 20_000})
    expect(byKey.size).to.be.greaterThan(5000)
  })

  describe('in layout compact', () => {
    const forms = (path: BackupPath) => [true, false].map((isCompressed) => keys.compactData(ID, path, {isCompressed}))
    const numbers = Array.from({length: 12}, (_, index) => keys.pack(ID, index + 1))

    it('C22: no two paths share a key, compressed or not, nor does a pack, and every key is one that stores take', () => {
      fc.assert(fc.property(paths, paths, (left, right) => {
        const all = [...forms(left), ...forms(right)]
        expect(new Set(all).size).to.equal(left === right ? 2 : 4)
        for (const key of all) {
          expect(Buffer.byteLength(key)).to.be.at.most(479)
          expect(key).not.to.match(/[\u0000-\u001f\u007f-\u009f\\]|\/\/|\/\.\.?(\/|$)/)
          expect(numbers).not.to.include(key)
          for (const part of key.split('/')) expect(Buffer.byteLength(part)).to.be.at.most(255)
        }
      }), {numRuns: 2000})
    })

    it('no two paths made of what these keys are made of share one, compressed or not', () => {
      const words = fc.constantFrom('.zst', '%2Ezst', 'packs', '%70acks', '/', 'a', '.', '%', '0001.tar', '%long', '\xff', 'zst', '2E')
      const tricky = fc.array(words, {minLength: 1, maxLength: 5}).map((parts) => parts.join('').split('/').filter((part) => part !== '').join('/') as BackupPath)
        .filter((path) => path !== '' && !/(^|\/)\.\.?(\/|$)/.test(path))
      const byKey = new Map<string, string>()
      fc.assert(fc.property(tricky, (path) => {
        for (const [index, key] of forms(path).entries()) {
          expect(byKey.get(key) ?? `${path} ${index}`, key).to.equal(`${path} ${index}`)
          byKey.set(key, `${path} ${index}`)
          expect(numbers).not.to.include(key)
        }
      }), {numRuns: 20_000})
      expect(byKey.size).to.be.greaterThan(5000)
    })

    for (const [path, isCompressed, expected] of [
      ['data/base/1/2619', false, 'data/base/1/2619'], ['data/base/1/2619', true, 'data/base/1/2619.zst'],
      ['data/x.zst', false, 'data/x%2Ezst'], ['data/x.zst', true, 'data/x%2Ezst.zst'], ['data/.zst/x', true, 'data/%2Ezst/x.zst'], ['a.zst.zst', false, 'a.zst%2Ezst'],
      ['data/x.zsts', false, 'data/x.zsts'], ['packs', false, '%70acks'], ['packs/0001.tar', true, '%70acks/0001.tar.zst'], ['packs2/1', false, 'packs2/1'], ['data/packs/1', false, 'data/packs/1'],
    ] as const) {
      it(`${path}${isCompressed ? ', compressed,' : ''} lies at ${expected}`, () =>
        expect(keys.compactData(ID, backupPathFromText(path), {isCompressed})).to.equal(`${keys.dataPrefix(ID)}${expected}`))
    }

    it('lengths count the suffix: a name of 251 bytes keeps it, one of 252 is named by its digest only when compressed', () => {
      const of = (bytes: number, isCompressed: boolean) => keys.compactData(ID, backupPathFromText('x'.repeat(bytes)), {isCompressed})
      expect(of(251, true)).to.match(/\/x{251}\.zst$/)
      expect(of(252, true)).to.match(/\/%long\/[0-9a-f]{64}\.zst$/)
      expect(of(252, false)).to.match(/\/x{252}$/)
      expect(of(256, false)).to.match(/\/%long\/[0-9a-f]{64}$/)
    })

    it('a whole key of 479 bytes with its suffix fits, one of 480 does not', () => {
      const room = 479 - Buffer.byteLength(keys.dataPrefix(ID)) - '.zst'.length
      const path = (bytes: number) => backupPathFromText(`${'a'.repeat(200)}/${'b'.repeat(bytes - 201)}`)
      expect(Buffer.byteLength(keys.compactData(ID, path(room), {isCompressed: true}))).to.equal(479)
      expect(keys.compactData(ID, path(room + 1), {isCompressed: true})).to.contain('/%long/')
    })

    it('packs have numbers that sort, and more than four digits when there are so many', () => {
      expect([1, 42, 9999, 10_000].map((number) => keys.relative(keys.pack(ID, number)))).to.deep.equal(['0001', '0042', '9999', '10000'].map((number) => `base/${ID}/packs/${number}.tar`))
      for (const key of numbers) expect(keys.classify(key)).to.deep.equal({type: 'data', backupId: ID})
    })
  })

  it('a name of 255 bytes that only just fits, and one that its escapes make too long', () => {
    expect(keys.data(ID, backupPathFromText('x'.repeat(255)))).to.match(/\/x{255}$/)
    const [one, two] = ['\x01', '\x02'].map((byte) => keys.data(ID, backupPathFromText(byte.repeat(100))))
    expect(one).to.match(/%long\/[0-9a-f]{64}$/)
    expect(one).not.to.equal(two)
    expect(keys.data(ID, backupPathFromText('%long/x'))).not.to.contain('/%long/')
  })

  it('a whole key of 479 bytes fits, one of 480 does not', () => {
    const room = 479 - Buffer.byteLength(keys.dataPrefix(ID))
    const path = (bytes: number) => backupPathFromText(`${'a'.repeat(200)}/${'b'.repeat(bytes - 201)}`)
    expect(Buffer.byteLength(keys.data(ID, path(room)))).to.equal(479)
    expect(keys.data(ID, path(room + 1))).to.contain('/%long/')
  })

  it('what is data is told from metadata, whatever its path', () => {
    fc.assert(fc.property(paths, (path) => {
      const {type} = keys.classify(keys.data(ID, path))
      expect(type).to.equal(path === 'backup.info' ? 'backup.info' : path === 'annotations/keep' ? 'keep' : 'data')
    }))
  })

  for (const [name, escaped] of [
    ['PG_VERSION', 'PG_VERSION'], ['a b+c~t', 'a b+c~t'], ['100%', '100%25'], ['a%2Bb', 'a%252Bb'], ['tab\t', 'tab%09'], ['b\\s', 'b%5Cs'], ['..h', '..h'], ['end.', 'end.'], ['ü', Buffer.from('ü').toString('latin1')],
  ] as const) {
    it(`${JSON.stringify(name)} is ${JSON.stringify(escaped)} in its key`, () => expect(escapeKeyPath(backupPathFromText(name))).to.equal(escaped))
  }

  it('bytes that are no UTF-8 are escaped', () => expect(escapeKeyPath(backupPathFromBytes(Buffer.from([0x66, 0xff])))).to.equal('f%FF'))

  it('a path too long for some store is named by its digest', () => {
    const long = keys.data(ID, backupPathFromText(`data/${'x'.repeat(250)}/${'y'.repeat(250)}`))
    expect(long).to.match(new RegExp(`^barman/main-server/base/${ID}/%long/[0-9a-f]{64}$`))
  })

  for (const [relative, type] of [
    ['identity.json', 'identity'], [`barmans3/${ID}.json`, 'record'], [`barmans3/${ID}.started.json`, 'started'], [`barmans3/${ID}.manifest.gz`, 'manifest'],
    [`barmans3/${ID}.deleted.json`, 'deleted'], [`barmans3/${ID}.keep.json`, 'pin'], ['barmans3/other.json', 'other'], [`meta/${ID}-backup.info`, 'backup.info'],
    [`meta/${ID}-keep`, 'keep'], [`base/${ID}/backup.info`, 'backup.info'], [`base/${ID}/annotations/keep`, 'keep'], [`base/${ID}/data/backup.info`, 'data'],
    ['base/nonsense/x', 'other'], ['wals/00000002.history', 'wal'], ['foreign', 'other'],
  ] as const) {
    it(`"${relative}" is ${type}`, () => expect(classifyRelativeKey(relative).type).to.equal(type))
  }

  it('absolute and relative are opposites', () => {
    for (const key of [keys.identity, keys.record(ID), keys.data(ID, 'data/x' as BackupPath)]) expect(keys.absolute(keys.relative(key))).to.equal(key)
  })
})

describe('paths inside a backup', () => {
  it('hold any bytes, and sort by them', () => {
    fc.assert(fc.property(paths, paths, (left, right) => {
      const order = Buffer.compare(Buffer.from(left, 'latin1'), Buffer.from(right, 'latin1'))
      expect(Math.sign(order)).to.equal(left < right ? -1 : left > right ? 1 : 0)
    }))
  })

  it('are text only when they are UTF-8', () => {
    expect(backupPathText(backupPathFromText('dätä'))).to.equal('dätä')
    expect(backupPathText(backupPathFromBytes(Buffer.from([0xff])))).to.equal(undefined)
  })

  it('are shown without raw control characters', () => {
    expect(formatBackupPath(backupPathFromText('a\nb\\c\u007f'))).to.equal('a\\x0ab\\\\c\\x7f')
    expect(formatBackupPath(backupPathFromText('ü'))).to.equal('ü')
  })
})

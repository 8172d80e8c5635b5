import {expect} from 'chai'
import {crc32c} from '@node-rs/crc32'
import {existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync} from 'node:fs'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {createSampleTree} from '../support/sample-tree.ts'

describe('the sample tree', () => {
  let home: string
  beforeEach(() => { home = mkdtempSync(join(tmpdir(), 'barmans3-sample-')) })
  afterEach(() => { rmSync(home, {recursive: true, force: true}) })

  it('is fixture T: one DONE backup from WAL 5 to 6, WALs 5 to 8 of full size, one .backup file, identity.json', () => {
    const tree = createSampleTree(home)
    const info = readFileSync(tree.backupInfoPath('20261101T020000'), 'utf8')
    expect(info).to.include('status=DONE\n').and.include('begin_wal=000000010000000000000005\n')
    expect(info).to.include('end_wal=000000010000000000000006\n').and.include('begin_time=2026-11-01 02:00:00+00:00\n')
    expect(info).to.include('begin_xlog=0/5000028\n').and.include('end_time=2026-11-01 02:04:00+00:00\n')
    expect(readdirSync(join(tree.walsDirectory, '0000000100000000')).sort()).to.deep.equal([
      '000000010000000000000005', '000000010000000000000005.00000028.backup', '000000010000000000000006',
      '000000010000000000000007', '000000010000000000000008',
    ])
    expect(statSync(join(tree.walsDirectory, '0000000100000000/000000010000000000000008')).size).to.equal(16_777_216)
    expect(JSON.parse(readFileSync(join(tree.serverDirectory, 'identity.json'), 'utf8')))
      .to.deep.equal({systemid: '7300000000000000001', version: '16'})
    expect(readFileSync(tree.xlogDbPath, 'utf8').trim().split('\n')).to.have.length(5)
  })

  it('has the empty directories, modes, links and zero-byte files of a real backup', () => {
    const tree = createSampleTree(home)
    const data = tree.dataDirectory('20261101T020000')
    expect(readdirSync(join(data, 'pg_replslot'))).to.deep.equal([])
    expect(statSync(data).mode & 0o777).to.equal(0o700)
    expect(statSync(join(data, 'base/1/1259')).mode & 0o777).to.equal(0o600)
    expect(statSync(join(data, 'base/1/2604')).size).to.equal(0)
    expect(readlinkSync(join(data, 'pg_tblspc/16385'))).to.equal(join(tree.baseDirectory, '20261101T020000/16385'))
    expect(lstatSync(join(data, 'global/pg_control')).size).to.equal(8192)
  })

  it('gives every pg_control other bytes and the same CRC32C, as PostgreSQL does', () => {
    const tree = createSampleTree(home)
    tree.addBackup({id: '20261102T020000'})
    const [first, second] = ['20261101T020000', '20261102T020000']
      .map(id => readFileSync(join(tree.dataDirectory(id), 'global/pg_control'))) as [Buffer, Buffer]
    expect(first.equals(second)).to.equal(false)
    expect(crc32c(first)).to.equal(crc32c(second))
  })

  it('adds backups of every status, after the WAL that is there', () => {
    const tree = createSampleTree(home)
    tree.addBackup({id: '20261102T020000', status: 'EMPTY'})
    tree.addBackup({id: '20261103T020000', status: 'STARTED'})
    tree.addBackup({id: '20261104T020000', status: 'WAITING_FOR_WALS', keep: 'full'})
    expect(existsSync(join(tree.baseDirectory, '20261102T020000'))).to.equal(false)
    const started = readFileSync(tree.backupInfoPath('20261103T020000'), 'utf8')
    expect(started).to.include('end_time=None').and.include('begin_wal=000000010000000000000009\n')
    expect(tree.listFiles('20261103T020000').length).to.be.lessThan(tree.listFiles('20261101T020000').length)
    expect(readFileSync(tree.keepPath('20261104T020000'), 'utf8')).to.equal('full')
    expect(tree.nextWal()).to.equal('00000001000000000000000B')
  })

  it('hard-links the files that are equal to an earlier backup', () => {
    const tree = createSampleTree(home)
    tree.addBackup({id: '20261102T020000', linkTo: '20261101T020000'})
    const links = (id: string, path: string): number => statSync(join(tree.dataDirectory(id), path)).nlink
    expect(links('20261102T020000', 'base/1/1259')).to.equal(2)
    expect(links('20261102T020000', 'global/pg_control')).to.equal(1)
  })

  it('makes a chain of incrementals whose parents name their children', () => {
    const tree = createSampleTree(home, {postgresMajor: 18})
    tree.addBackup({id: '20261102T020000', parentId: '20261101T020000'})
    tree.addBackup({id: '20261103T020000', parentId: '20261102T020000'})
    expect(readFileSync(tree.backupInfoPath('20261101T020000'), 'utf8')).to.include('children_backup_ids=20261102T020000\n')
    expect(readFileSync(tree.backupInfoPath('20261103T020000'), 'utf8')).to.include('parent_backup_id=20261102T020000\n')
    expect(statSync(join(tree.dataDirectory('20261103T020000'), 'base/1/INCREMENTAL.1259')).size).to.equal(12)
    tree.removeBackup('20261103T020000')
    expect(readFileSync(tree.backupInfoPath('20261102T020000'), 'utf8')).to.include('children_backup_ids=None\n')
  })

  it('can have the old place of backup.info, other segment sizes and history files', () => {
    const tree = createSampleTree(home, {metadataPlace: 'base', segmentSizeBytes: 67_108_864, walBytes: 40})
    expect(existsSync(join(tree.baseDirectory, '20261101T020000/backup.info'))).to.equal(true)
    expect(existsSync(tree.metaDirectory)).to.equal(false)
    expect(tree.addWals('00000001000000000000003F', 2)[1]).to.equal('000000010000000100000000')
    tree.addHistoryFile(2, [{timeline: 1, lsn: '1/8000000'}])
    expect(readFileSync(join(tree.walsDirectory, '00000002.history'), 'utf8')).to.equal('1\t1/8000000\tno recovery target specified\n')
  })

  it('has the same bytes twice, and other WAL for another cluster', () => {
    const first = createSampleTree(join(home, 'first'))
    const second = createSampleTree(join(home, 'second'))
    const other = createSampleTree(join(home, 'other'), {systemId: '7300000000000000002'})
    const read = (tree: typeof first): Buffer => readFileSync(join(tree.walsDirectory, '0000000100000000/000000010000000000000006'))
    expect(read(first).equals(read(second))).to.equal(true)
    expect(read(first).equals(read(other))).to.equal(false)
  })
})

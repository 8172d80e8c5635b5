import {expect} from 'chai'
import {spawnSync} from 'node:child_process'
import {chmodSync, mkdirSync, readFileSync, rmSync} from 'node:fs'
import path from 'node:path'
import type {BackupId} from '../../../src/lib/barman/backup-id.ts'
import {backupChain, readBackup, readCatalog} from '../../../src/lib/barman/catalog.ts'
import {serverFromDirectories} from '../../../src/lib/barman/server-directories.ts'
import {BarmanFilesError} from '../../../src/lib/errors.ts'
import {asUnprivilegedUser} from './as-other-user.ts'
import {LABS} from './fixtures.ts'
import {rejectionOf} from './promises.ts'
import {copyLab, infoText, makeTempTree} from './temp-tree.ts'
import type {TempTree} from './temp-tree.ts'

const ID = '20261101T020000' as BackupId
const OTHER = '20261102T020000' as BackupId

describe('the catalogue', () => {
  let tree: TempTree
  beforeEach(() => {
    tree = makeTempTree()
  })
  afterEach(() => tree.remove())

  describe('of real trees', () => {
    for (const lab of LABS) {
      it(`of ${lab} is read without a problem, by begin time, each backup.info byte for byte`, async () => {
        const copy = copyLab(lab)
        try {
          const catalog = await readCatalog(copy.server)
          expect(catalog.problems).to.deep.equal([])
          expect(catalog.backups).to.not.be.empty
          const times = catalog.backups.map((backup) => backup.info?.beginTime?.getTime() ?? Infinity)
          expect(times).to.deep.equal(times.toSorted((left, right) => left - right))
          for (const backup of catalog.backups) {
            expect(backup.infoText?.equals(readFileSync(backup.infoPath))).to.equal(true)
            expect(await readBackup(copy.server, backup.id)).to.deep.equal(backup)
          }
        } finally {
          copy.remove()
        }
      })
    }
    it('finds keep annotations in either place', async () => {
      const keeps: [string, string, string, string][] = [
        ['barman-2.19-postgres', '20261125T074018', 'standalone', 'base/20261125T074018/annotations/keep'],
        ['barman-3.4.0-postgres', '20261125T074027', 'standalone', 'base/20261125T074027/annotations/keep'],
        ['barman-3.13.1-postgres', '20261125T074036', 'standalone', 'base/20261125T074036/annotations/keep'],
        ['barman-3.13.3-postgres', '20261125T074045', 'standalone', 'meta/20261125T074045-keep'],
        ['barman-3.19.1-postgres-states', '20261125T074256', 'full', 'meta/20261125T074256-keep'],
      ]
      for (const [lab, id, target, place] of keeps) {
        const copy = copyLab(lab)
        try {
          const {backups} = await readCatalog(copy.server)
          expect(backups.filter((backup) => backup.keepTarget !== undefined).map((backup) => [backup.id, backup.keepTarget, backup.keepPath]))
            .to.deep.equal([[id, target, path.join(copy.server.directory, place)]])
        } finally {
          copy.remove()
        }
      }
    })
    it('knows the chains of incrementals, root first', async () => {
      const copy = copyLab('barman-3.19.1-postgres18-incremental')
      try {
        const catalog = await readCatalog(copy.server)
        const chain = (time: string) => backupChain(catalog, `20261125T${time}` as BackupId)?.map((backup) => backup.info?.backupName)
        expect(chain('082210')).to.deep.equal(['full1'])
        expect(chain('082215')).to.deep.equal(['full1', 'incr1', 'incr2'])
        expect(chain('082235')).to.deep.equal(['full1', 'incr1b'])
        expect(chain('082545')).to.deep.equal(['full2', 'killedinc'])
        expect(chain('999999')).to.equal(undefined)
        rmSync(path.join(copy.server.metaDirectory, '20261125T082213-backup.info'))
        const holed = await readCatalog(copy.server)
        expect(backupChain(holed, '20261125T082215' as BackupId)).to.equal(undefined)
        expect(backupChain(holed, '20261125T082235' as BackupId)?.length).to.equal(2)
      } finally {
        copy.remove()
      }
    })
  })

  describe('C03: backup.info in either place', () => {
    const waiting = infoText({status: 'WAITING_FOR_WALS'})
    it('only in meta/', async () => {
      const infoPath = tree.write(`meta/${ID}-backup.info`, infoText())
      const {backups} = await readCatalog(tree.server)
      expect(backups.map((backup) => [backup.id, backup.infoPath, backup.oldInfoPath])).to.deep.equal([[ID, infoPath, undefined]])
    })
    it('only in base/', async () => {
      const infoPath = tree.write(`base/${ID}/backup.info`, infoText())
      const {backups} = await readCatalog(tree.server)
      expect(backups.map((backup) => [backup.id, backup.infoPath, backup.oldInfoPath])).to.deep.equal([[ID, infoPath, undefined]])
    })
    it('in both: meta/ wins, and both are known', async () => {
      const infoPath = tree.write(`meta/${ID}-backup.info`, infoText())
      const oldInfoPath = tree.write(`base/${ID}/backup.info`, waiting)
      const {backups} = await readCatalog(tree.server)
      expect(backups.map((backup) => [backup.info?.status, backup.infoPath, backup.oldInfoPath])).to.deep.equal(
        [['DONE', infoPath, oldInfoPath]])
    })
  })

  it('C04: half-born and killed backups are listed, last when they have no begin time', async () => {
    tree.write('meta/20261109T000000-backup.info', infoText({status: 'STARTED', begin_time: '2026-11-09 00:00:00+00:00', end_time: 'None'}))
    tree.write('meta/20261101T000001-backup.info', infoText({status: 'EMPTY', begin_time: 'None'}))
    tree.write('meta/20261101T000000-backup.info', infoText({status: 'EMPTY', begin_time: 'None'}))
    const {backups, problems} = await readCatalog(tree.server)
    expect(backups.map((backup) => [backup.id, backup.info?.status])).to.deep.equal(
      [['20261109T000000', 'STARTED'], ['20261101T000000', 'EMPTY'], ['20261101T000001', 'EMPTY']])
    expect(problems).to.deep.equal([])
  })

  it('C06: the order is by begin time, also in the night the clock is put back', async () => {
    tree.write('meta/20261025T033000-backup.info', infoText({begin_time: '2026-10-25 00:30:00+00:00'}))
    tree.write('meta/20261025T031500-backup.info', infoText({begin_time: '2026-10-25 03:15:00+02:00'}))
    const {backups} = await readCatalog(tree.server)
    expect(backups.map((backup) => backup.id)).to.deep.equal(['20261025T033000', '20261025T031500'])
  })

  it('one unreadable or nonsense backup.info does not hide the others', async () => {
    tree.write(`meta/${OTHER}-backup.info`, infoText())
    tree.write('meta/20261103T000000-backup.info', '')
    tree.write('meta/20261103T000001-backup.info', Buffer.alloc(100))
    tree.write('meta/20261103T000002-backup.info', 'nonsense')
    tree.mkdir('meta/20261103T000003-backup.info')
    spawnSync('mkfifo', [path.join(tree.server.metaDirectory, '20261103T000004-backup.info')])
    const {backups, problems} = await readCatalog(tree.server)
    expect(backups.map((backup) => [backup.id.slice(9), backup.info?.status, /empty|NUL|key=value|regular/.exec(backup.problem ?? '')?.[0]]))
      .to.deep.equal([
        ['020000', 'DONE', undefined], ['000000', undefined, 'empty'], ['000001', undefined, 'NUL'],
        ['000002', undefined, 'key=value'], ['000003', undefined, 'regular'], ['000004', undefined, 'regular'],
      ])
    expect(problems.map((problem) => path.basename(problem.path))).to.deep.equal(
      ['0', '1', '2', '3', '4'].map((digit) => `20261103T00000${digit}-backup.info`))
    expect(backups[3]?.infoText?.toString()).to.equal('nonsense')
  })

  it('a wrong value in one backup.info costs only that value', async () => {
    tree.write(`meta/${ID}-backup.info`, infoText({begin_time: 'sometime', systemid: '7300000000000000001'}))
    const {backups, problems} = await readCatalog(tree.server)
    expect(backups[0]?.info?.systemId).to.equal('7300000000000000001')
    expect(backups[0]?.info?.problems).to.deep.equal(['the value of begin_time is not understood'])
    expect(problems).to.deep.equal([])
  })

  it('foreign and temporary names are no backups', async () => {
    for (const name of ['.tmp', '~', '.bak', '.swp']) tree.write(`meta/${ID}-backup.info${name}`, infoText())
    for (const name of [`x${ID}`, '2026', `.${ID}`, 'pg']) tree.write(`meta/${name}-backup.info`, infoText())
    tree.write('meta/20261101T020000-keep', 'full')
    tree.write('base/.import-aB3xYz/backup.info', infoText())
    tree.write('base/latest/backup.info', infoText())
    tree.write('base/README', 'hello')
    tree.write(`base/${OTHER}`, 'a file, not a directory')
    const {backups, dataOnlyIds, problems} = await readCatalog(tree.server)
    expect([backups, dataOnlyIds, problems]).to.deep.equal([[], [], []])
  })

  it('data without backup.info is no backup, but its id is known', async () => {
    tree.mkdir(`base/${ID}/data`)
    const catalog = await readCatalog(tree.server)
    expect([catalog.backups, catalog.dataOnlyIds]).to.deep.equal([[], [ID]])
    expect(await readBackup(tree.server, ID)).to.equal(undefined)
  })

  it('tells whether the data is there', async () => {
    tree.write(`meta/${ID}-backup.info`, infoText())
    const look = async () => {
      const backup = await readBackup(tree.server, ID)
      return [backup?.hasDataDirectory, backup?.isOrphan]
    }
    expect(await look()).to.deep.equal([false, true])
    tree.mkdir(`base/${ID}/16384`)
    expect(await look()).to.deep.equal([false, false])
    tree.mkdir(`base/${ID}/data`)
    expect(await look()).to.deep.equal([true, false])
  })
  it('knows an orphan in the old layout: nothing but backup.info; an EMPTY one is none', async () => {
    tree.write(`base/${ID}/backup.info`, infoText())
    tree.write(`base/${OTHER}/backup.info`, infoText({status: 'EMPTY'}))
    tree.write('base/20261103T020000/backup.info', infoText())
    tree.mkdir('base/20261103T020000/pgdata')
    const {backups} = await readCatalog(tree.server)
    expect(backups.map((backup) => [backup.isOrphan, backup.hasDataDirectory])).to.deep.equal(
      [[true, false], [false, false], [false, true]])
  })

  it('finds the mark of a delete under way in either place', async () => {
    tree.write(`meta/${ID}-backup.info`, infoText())
    tree.write(`base/${OTHER}/backup.info`, infoText())
    const inMeta = tree.write(`meta/${ID}-delete_this`)
    const inBase = tree.write(`base/${OTHER}/annotations/delete_this`)
    const {backups} = await readCatalog(tree.server)
    expect(backups.map((backup) => backup.deleteMarkerPath)).to.deep.equal([inMeta, inBase])
  })

  it('a keep file that is not understood protects in full and is told; meta/ wins', async () => {
    tree.write(`meta/${ID}-backup.info`, infoText())
    tree.write(`meta/${ID}-keep`, '')
    tree.write(`base/${ID}/annotations/keep`, 'standalone')
    tree.write(`meta/${OTHER}-backup.info`, infoText())
    tree.write(`base/${OTHER}/annotations/keep`, 'standalone\n')
    const {backups, problems} = await readCatalog(tree.server)
    expect(backups.map((backup) => [backup.info?.status, backup.keepTarget])).to.deep.equal([['DONE', 'full'], ['DONE', 'standalone']])
    expect(problems.map((problem) => problem.message)).to.have.length(1).and.match(/-keep is not understood/)
  })

  it('parents that go round in a circle end, and a parent that cannot be read breaks the chain', async () => {
    tree.write(`meta/${ID}-backup.info`, infoText({parent_backup_id: OTHER}))
    tree.write(`meta/${OTHER}-backup.info`, infoText({parent_backup_id: ID}))
    expect(backupChain(await readCatalog(tree.server), ID)).to.equal(undefined)
    tree.write(`meta/${OTHER}-backup.info`, 'nonsense')
    expect(backupChain(await readCatalog(tree.server), ID)).to.equal(undefined)
    tree.write(`meta/${ID}-backup.info`, infoText({parent_backup_id: ID}))
    expect(backupChain(await readCatalog(tree.server), ID)).to.equal(undefined)
  })

  it('works with directories that lie elsewhere, and with a meta/ that is not there yet', async () => {
    const elsewhere = path.join(tree.home, 'worm')
    mkdirSync(path.join(elsewhere, ID), {recursive: true})
    rmSync(tree.server.metaDirectory, {recursive: true})
    rmSync(tree.server.basebackupsDirectory, {recursive: true})
    const server = serverFromDirectories('pg', {directory: tree.server.directory, basebackupsDirectory: elsewhere})
    const catalog = await readCatalog(server)
    expect([catalog.backups, catalog.dataOnlyIds, catalog.problems]).to.deep.equal([[], [ID], []])
  })

  it('a base directory that is not there (a disk that is not mounted) is a problem, not an empty catalogue in silence', async () => {
    tree.write(`meta/${ID}-backup.info`, infoText())
    rmSync(tree.server.basebackupsDirectory, {recursive: true})
    const {backups, problems} = await readCatalog(tree.server)
    expect(backups.map((backup) => backup.id)).to.deep.equal([ID])
    expect(problems).to.deep.equal([{path: tree.server.basebackupsDirectory, message: 'the directory does not exist'}])
  })

  it('stops when told to', async () => {
    tree.write(`meta/${ID}-backup.info`, infoText())
    const reason = new Error('enough')
    expect(await rejectionOf(readCatalog(tree.server, {signal: AbortSignal.abort(reason)}))).to.equal(reason)
  })

  it('changes nothing on disk', async () => {
    const copy = copyLab('barman-3.13.1-postgres', ['20261125T074036'])
    const list = () => spawnSync('find', [copy.home, '-printf', '%p %y %m %s %T@ %C@\n'], {encoding: 'utf8'}).stdout
    try {
      const before = list()
      await readCatalog(copy.server)
      expect(before.split('\n').length).to.be.greaterThan(10)
      expect(list()).to.equal(before)
    } finally {
      copy.remove()
    }
  })

  describe('refuses', () => {
    const expectRefusal = async (reason: RegExp) => {
      const error = await rejectionOf(readCatalog(tree.server))
      expect(error).to.be.instanceOf(BarmanFilesError)
      expect((error as BarmanFilesError).message).to.match(reason)
      expect((error as BarmanFilesError).hint).to.be.a('string')
      return error as BarmanFilesError
    }
    it('a directory that does not exist', async () => {
      rmSync(tree.server.directory, {recursive: true})
      expect((await expectRefusal(/does not exist/)).message).to.include(tree.server.directory)
    })
    it('an empty one', async () => {
      rmSync(tree.server.directory, {recursive: true})
      mkdirSync(tree.server.directory)
      await expectRefusal(/is empty/)
    })
    it('one that is not of Barman', async () => {
      rmSync(tree.server.directory, {recursive: true})
      tree.write('PG_VERSION', '16')
      await expectRefusal(/not of Barman/)
    })
    it('a file in its place', async () => {
      rmSync(tree.server.directory, {recursive: true})
      tree.write('../pg')
      await expectRefusal(/does not exist/)
    })
    for (const place of ['.', 'base', 'meta']) {
      it(`one whose ${place} may not be read, naming path and user`, async () => {
        chmodSync(tree.home, 0o755)
        chmodSync(path.join(tree.server.directory, place), 0)
        const error = await asUnprivilegedUser(() => expectRefusal(/permission denied: user \S+ may not read/))
        chmodSync(path.join(tree.server.directory, place), 0o755)
        expect(error.message).to.include(path.join(tree.server.directory, place))
        expect(error.hint).to.match(/Barman's own user/)
      })
    }
  })

  it('a backup that may not be read is told and does not hide the others', async () => {
    chmodSync(tree.home, 0o755)
    tree.write(`meta/${ID}-backup.info`, infoText())
    const locked = tree.write(`meta/${OTHER}-backup.info`, infoText())
    tree.write('base/20261103T020000/backup.info', infoText())
    chmodSync(locked, 0)
    chmodSync(path.join(tree.server.basebackupsDirectory, '20261103T020000'), 0)
    const {backups, problems} = await asUnprivilegedUser(() => readCatalog(tree.server))
    chmodSync(path.join(tree.server.basebackupsDirectory, '20261103T020000'), 0o755)
    expect(backups.map((backup) => [backup.id, backup.info?.status])).to.deep.equal(
      [[ID, 'DONE'], [OTHER, undefined], ['20261103T020000', undefined]].toSorted())
    expect(problems.map((problem) => problem.message)).to.have.length(2)
    for (const problem of problems) expect(problem.message).to.match(/permission denied/)
  })
})

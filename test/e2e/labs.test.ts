import {expect} from 'chai'
import {existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, statSync} from 'node:fs'
import {join} from 'node:path'
import {installPackage} from '../support/installed.ts'
import type {BarmanLab, LabOptions} from '../support/lab/barman-lab.ts'
import {createLab} from '../support/lab/barman-lab.ts'

/** The labs of the end-to-end tests really make what those tests believe they have. */
describe('a lab of real PostgreSQL and real Barman', function () {
  this.timeout(180_000)
  let lab: BarmanLab
  afterEach(async () => { await lab.stop() })

  async function start(options: LabOptions): Promise<void> {
    lab = await createLab(options)
  }

  function listWals(): string[] {
    const names = readdirSync(lab.walsDirectory, {recursive: true, withFileTypes: true})
    return names.filter(entry => entry.isFile()).map(entry => entry.name).sort()
  }

  it('with Barman 3.19.1, method postgres and a tablespace makes a plain backup with an absolute tablespace link', async () => {
    await start({tablespace: true})
    const id = await lab.backup({name: 'nightly'})
    expect(lab.readBackupInfo(id)).to.match(/^status=DONE$/m).and.match(/^mode=postgres$/m).and.match(/^backup_name=nightly$/m)
    expect(lab.backupInfoPath(id)).to.equal(join(lab.serverDirectory, 'meta', `${id}-backup.info`))
    const oid = /^tablespaces=\[\('ts1', (\d+), /m.exec(lab.readBackupInfo(id))?.[1]
    if (oid === undefined) throw new Error('no tablespace in backup.info')
    const data = join(lab.baseDirectory, id, 'data')
    expect(readlinkSync(join(data, 'pg_tblspc', oid))).to.equal(join(lab.baseDirectory, id, oid))
    expect(statSync(data).mode & 0o777).to.equal(0o700)
    expect(statSync(data).uid).to.equal(lab.user.uid)
    expect(readdirSync(join(data, 'pg_replslot'))).to.deep.equal([])
    expect(existsSync(join(data, 'backup_manifest'))).to.equal(true)
    const beginWal = /^begin_wal=(.*)$/m.exec(lab.readBackupInfo(id))?.[1]
    expect(listWals()).to.include(beginWal).and.to.include('main-server-xlog.db')
    expect(statSync(join(lab.walsDirectory, '0000000100000000', String(beginWal))).size).to.equal(16_777_216)
    const {code, stdout} = await lab.barman('-f', 'json', 'list-backups', 'main-server')
    expect(code).to.equal(0)
    expect(JSON.parse(stdout)['main-server'][0]).to.include({backup_id: id, status: 'DONE'})
  })

  it('with backup_compression gzip makes tarballs, and gzip WAL under plain names', async () => {
    await start({method: 'postgres-tar-gzip', walCompression: 'gzip'})
    const id = await lab.backup()
    expect(lab.readBackupInfo(id)).to.match(/^compression=gzip$/m)
    expect(readdirSync(join(lab.baseDirectory, id, 'data')).sort()).to.deep.equal(['backup_manifest', 'base.tar.gz'])
    const wal = join(lab.walsDirectory, '0000000100000000', String(/^begin_wal=(.*)$/m.exec(lab.readBackupInfo(id))?.[1]))
    expect(readFileSync(wal).subarray(0, 3).toString('hex')).to.equal('1f8b08')
  })

  it('with local-rsync and reuse_backup = link hard-links unchanged files to the backup before', async () => {
    await start({method: 'local-rsync'})
    const first = await lab.backup()
    await lab.insertRow('between the backups')
    const second = await lab.backup()
    const inode = (id: string, path: string): number => lstatSync(join(lab.baseDirectory, id, 'data', path)).ino
    expect(inode(second, 'base/1/1259')).to.equal(inode(first, 'base/1/1259'))
    expect(inode(second, 'global/pg_control')).not.to.equal(inode(first, 'global/pg_control'))
    const files = readdirSync(join(lab.baseDirectory, second, 'data'), {recursive: true, withFileTypes: true})
      .filter(entry => entry.isFile()).map(entry => statSync(join(entry.parentPath, entry.name)))
    const linked = files.filter(({nlink}) => nlink > 1)
    expect(linked.length / files.length).to.be.greaterThan(0.9)
  })

  it('switches its timeline, into the same Barman server', async () => {
    await start({})
    await lab.backup()
    await lab.switchTimeline()
    expect(listWals()).to.include('00000002.history')
    expect(readdirSync(lab.walsDirectory)).to.include.members(['0000000100000000', '0000000200000000'])
    expect(await lab.psql('SELECT timeline_id FROM pg_control_checkpoint()')).to.equal('2')
    const id = await lab.backup()
    expect(lab.readBackupInfo(id)).to.match(/^timeline=2$/m)
  })

  it('goes back in time to another timeline, so that both timelines hold the same segments', async () => {
    await start({})
    await lab.insertRow('before')
    await lab.switchTimeline({diverge: true})
    const segments = listWals().filter(name => /^[\dA-F]{24}$/.test(name))
    const [old, current] = ['00000001', '00000002'].map(timeline =>
      segments.filter(name => name.startsWith(timeline)).map(name => name.slice(8))) as [string[], string[]]
    expect(current).not.to.deep.equal([])
    expect(old).to.include(current[0])
    expect(await lab.psql('SELECT note FROM marker')).to.equal('before')
  })

  it('with PostgreSQL 18 makes a chain full ← incremental ← incremental', async () => {
    await start({postgres: 18, summarizeWal: true, tablespace: true})
    const full = await lab.backup()
    await lab.insertRow('first')
    const first = await lab.backup({incrementalOf: full})
    await lab.insertRow('second')
    const second = await lab.backup({incrementalOf: first})
    expect(lab.readBackupInfo(second)).to.match(new RegExp(`^parent_backup_id=${first}$`, 'm'))
    expect(lab.readBackupInfo(full)).to.match(new RegExp(`^children_backup_ids=${first}$`, 'm'))
    expect(lab.readBackupInfo(second)).to.match(/^status=DONE$/m)
    const names = readdirSync(join(lab.baseDirectory, second, 'data', 'base', '1'))
    const stubs = names.filter(name => name.startsWith('INCREMENTAL.'))
    expect(stubs.length).to.be.greaterThan(100)
  })

  it('can have WAL segments of another size', async () => {
    await start({postgres: 18, walSegmentSizeMiB: 64})
    const id = await lab.backup()
    expect(lab.readBackupInfo(id)).to.match(/^xlog_segment_size=67108864$/m)
  })

  for (const barmanVersion of ['3.13.1', '2.19'] as const) {
    it(`with Barman ${barmanVersion} keeps backup.info under base/`, async () => {
      await start({barmanVersion})
      const id = await lab.backup()
      expect(lab.backupInfoPath(id)).to.equal(join(lab.baseDirectory, id, 'backup.info'))
      expect(lab.readBackupInfo(id)).to.match(/^status=DONE$/m)
      expect(existsSync(join(lab.serverDirectory, 'meta'))).to.equal(false)
      expect(listWals()).to.include(barmanVersion === '2.19' ? 'xlog.db' : 'main-server-xlog.db')
      const {stdout} = await lab.barman('--version')
      expect(stdout).to.include(barmanVersion)
    })
  }

  it('calls post_backup_script with Barman\'s environment; the status there is WAITING_FOR_WALS, with --wait DONE', async () => {
    await start({serverName: 'db-one'})
    const dump = join(lab.directory, 'hook.env')
    const hook = lab.writeScript('hook.sh', `#!/bin/sh\nenv | grep ^BARMAN_ | sort > ${dump}\nexit 1\n`)
    lab.addServerLines(`post_backup_script = ${hook}`)
    const first = await lab.backup({wait: 'no'})
    const environment = readFileSync(dump, 'utf8')
    expect(environment).to.include(`BARMAN_BACKUP_ID=${first}\n`).and.include('BARMAN_STATUS=WAITING_FOR_WALS\n')
    expect(environment).to.include('BARMAN_SERVER=db-one\n').and.include(`BARMAN_BACKUP_DIR=${join(lab.baseDirectory, first)}\n`)
    expect(environment).to.include(`BARMAN_CONFIGURATION=${lab.configurationFile}\n`).and.include('BARMAN_PHASE=post\n')
    const second = await lab.backup({wait: 'in-barman'})
    expect(readFileSync(dump, 'utf8')).to.include(`BARMAN_BACKUP_ID=${second}\n`).and.include('BARMAN_STATUS=DONE\n')
  })

  it('lets its user run the packed and unpacked tool, which root\'s home would hide', async () => {
    await start({})
    const {node, script} = await installPackage()
    const {code, stdout, stderr} = await lab.runAsUser(node, [script, '--version'])
    expect(`${code} ${stdout}${stderr}`).to.match(/^0 barmans3\/\d/)
  })
})

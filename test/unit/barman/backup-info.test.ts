import {expect} from 'chai'
import fc from 'fast-check'
import {backupIdentity, parseBackupInfo, sameIdentity} from '../../../src/lib/barman/backup-info.ts'
import type {BackupIdentity} from '../../../src/lib/barman/backup-info.ts'
import {BarmanFilesError} from '../../../src/lib/errors.ts'
import {LABS, readLabText, serverFiles} from './fixtures.ts'

const MINIMAL = 'begin_time=2026-11-01 02:00:00+00:00\nstatus=DONE\nsystemid=7300000000000000001\n'

function labInfo(lab: string, id: string) {
  const file = serverFiles(lab).find((name) => name.endsWith(`${id}-backup.info`) || name.endsWith(`${id}/backup.info`))
  return parseBackupInfo(readLabText(lab, 'server', file ?? ''))
}

describe('parseBackupInfo on real files', () => {
  /** Every backup.info of every lab: id, status, begin time, whether it has an end time. */
  const expected: readonly [string, string, string, string, boolean][] = [
    ['barman-2.19-postgres', '20261125T074018', 'DONE', '2026-11-25T07:40:19.047Z', true],
    ['barman-3.19.1-postgres-states', '20261125T074256', 'DONE', '2026-11-25T07:42:56.', true],
    ['barman-3.19.1-postgres-states', '20261125T074343', 'WAITING_FOR_WALS', '2026-11-25T07:43:', true],
    ['barman-3.19.1-postgres-states', '20261125T080303', 'FAILED', '2026-11-25T08:03:0', false],
    ['barman-3.19.1-postgres-states', '20261125T080305', 'STARTED', '2026-11-25T08:03:0', false],
    ['barman-3.19.1-passive', '20261125T075437', 'DONE', '2026-11-25T07:54:37.840Z', true],
    ['barman-3.19.1-postgres18-incremental', '20261125T082544', 'FAILED', '2026-11-25T08:25:44.019Z', false],
    ['barman-3.19.1-postgres18-incremental', '20261125T082545', 'STARTED', '2026-11-25T08:25:45.214Z', false],
  ]
  for (const [lab, id, status, begin, hasEnd] of expected) {
    it(`${lab} ${id} is ${status} since ${begin}`, () => {
      const info = labInfo(lab, id)
      expect(info.status).to.equal(status)
      expect(info.beginTime?.toISOString()).to.include(begin)
      expect(info.endTime !== undefined).to.equal(hasEnd)
    })
  }

  for (const lab of LABS) {
    it(`understands every key barmans3 uses in every backup.info of ${lab}, and loses none`, () => {
      const files = serverFiles(lab).filter((name) => name.endsWith('backup.info'))
      expect(files).to.not.be.empty
      for (const file of files) {
        const text = readLabText(lab, 'server', file)
        const info = parseBackupInfo(text)
        expect(info.problems, file).to.deep.equal([])
        expect([...info.fields].map(([key, value]) => `${key}=${value}\n`).join(''), file).to.equal(text)
        const year = info.beginTimeText?.slice(0, 10)
        expect(info.beginTime?.toISOString().slice(0, 10), file).to.equal(year)
        expect(info.status).to.be.oneOf(['DONE', 'WAITING_FOR_WALS', 'FAILED', 'STARTED'])
        expect(info.systemId).to.equal(/^systemid=(\d+)$/m.exec(text)?.[1])
        expect(info.beginWal).to.equal(/^begin_wal=(\w+)$/m.exec(text)?.[1])
        expect(info.xlogSegmentSizeBytes).to.equal(lab.includes('segsize64') ? 67_108_864 : 16_777_216)
        expect(info.version).to.equal(lab.includes('postgres18') ? 180_006 : 150_020)
        expect(info.serverName).to.match(/^s_/)
        if (info.endTime !== undefined) expect(info.endTime.getTime()).to.be.greaterThan(info.beginTime?.getTime() ?? Infinity)
      }
    })
  }

  it('reads the whole of a 2.19 file, which has fewer keys', () => {
    const {fields, problems, beginTime, endTime, backupLabel, ...info} = labInfo('barman-2.19-postgres', '20261125T074018')
    expect([fields.size, problems.length]).to.deep.equal([26, 0])
    expect(beginTime?.getTime()).to.equal(Date.UTC(2026, 10, 25, 7, 40, 19, 47))
    expect(endTime?.getTime()).to.equal(Date.UTC(2026, 10, 25, 7, 40, 21, 101))
    expect(backupLabel).to.equal([
      'START WAL LOCATION: 0/3000028 (file 000000010000000000000003)', 'CHECKPOINT LOCATION: 0/3000060',
      'BACKUP METHOD: streamed', 'BACKUP FROM: primary', 'START TIME: 2026-11-25 07:40:19 UTC',
      'LABEL: pg_basebackup base backup', 'START TIMELINE: 1', '',
    ].join('\n'))
    expect(info).to.deep.equal({
      status: 'DONE',
      beginTimeText: '2026-11-25 07:40:19.047306+00:00',
      endTimeText: '2026-11-25 07:40:21.101050+00:00',
      beginWal: '000000010000000000000003',
      endWal: '000000010000000000000003',
      beginXlog: '0/3000028',
      endXlog: '0/4000000',
      timeline: 1,
      version: 150_020,
      xlogSegmentSizeBytes: 16_777_216,
      systemId: '7712010628118737416',
      mode: 'postgres',
      compression: undefined,
      encryption: undefined,
      backupName: undefined,
      parentBackupId: undefined,
      childrenBackupIds: [],
      tablespaces: [{name: 'ts1', oid: 16_384, location: '/var/lib/postgresql/15/ts1'}],
      sizeBytes: 39_583_174,
      deduplicatedSizeBytes: 39_583_174,
      pgdata: '/var/lib/postgresql/15/main',
      serverName: 's_d-2.19',
      error: undefined,
      hasSnapshots: false,
    })
  })
  it('reads the tree of incrementals from parents and children', () => {
    const lab = 'barman-3.19.1-postgres18-incremental'
    const tree = ['082210', '082213', '082215', '082232', '082234', '082235', '082544', '082545'].map((time) => {
      const info = labInfo(lab, `20261125T${time}`)
      return [info.backupName, info.parentBackupId?.slice(9), info.childrenBackupIds.map((id) => id.slice(9)).join()]
    })
    expect(tree).to.deep.equal([
      ['full1', undefined, '082213,082235'],
      ['incr1', '082210', '082215'],
      ['incr2', '082213', ''],
      ['full2', undefined, '082234,082544'],
      ['incr2a', '082232', ''],
      ['incr1b', '082210', ''],
      ['brokeninc', '082232', ''],
      ['killedinc', '082232', ''],
    ])
    expect(labInfo(lab, '20261125T082213').backupLabel).to.include('INCREMENTAL FROM LSN: ')
  })
  it('unquotes the doubly quoted label of a passive node to that of its primary', () => {
    for (const id of ['20261125T075413', '20261125T075437']) {
      const passive = labInfo('barman-3.19.1-passive', id)
      const primary = labInfo('barman-3.19.1-local-rsync-timelines', id)
      expect(passive.backupLabel).to.match(/^START WAL LOCATION: .*\nSTART TIMELINE: \d\n$/s)
      expect(passive.backupLabel).to.equal(primary.backupLabel)
      expect(passive.mode).to.equal('passive')
      expect(sameIdentity(backupIdentity(passive), backupIdentity(primary))).to.equal(true)
    }
  })
  it('reads the error of a failed backup and its missing end', () => {
    const info = labInfo('barman-3.19.1-postgres-states', '20261125T080303')
    expect(info.error).to.match(/^failure copying files \(data transfer failure on directory /)
    expect([info.endWal, info.endXlog, info.sizeBytes, info.backupLabel]).to.deep.equal([undefined, undefined, undefined, undefined])
  })
  it('reads tablespaces and compression', () => {
    expect(labInfo('barman-3.19.1-local-rsync', '20261125T073828').tablespaces.map(({name, oid}) => [name, oid])).to.deep.equal(
      [['ts1', 16_384], ['ts2', 16_390]])
    expect(labInfo('barman-3.19.1-postgres-tar-gzip', '20261125T073725').compression).to.equal('gzip')
  })
})

describe('parseBackupInfo', () => {
  it('C02: keeps unknown keys, comments out, and values that hold = or quotes', () => {
    const info = parseBackupInfo([
      '# a comment', '  # another', '', 'future_field={\'a\': [1, 2]}', 'gp_segments=4', 'snapshots_info=None',
      'backup_name=nightly "x"', 'config_file=/etc/a=b/postgresql.conf', '  spaced  =  both sides  ', MINIMAL,
    ].join('\n'))
    expect(info.problems).to.deep.equal([])
    expect(info.fields.get('future_field')).to.equal("{'a': [1, 2]}")
    expect(info.fields.get('gp_segments')).to.equal('4')
    expect(info.fields.get('config_file')).to.equal('/etc/a=b/postgresql.conf')
    expect(info.fields.get('spaced')).to.equal('both sides')
    expect(info.backupName).to.equal('nightly "x"')
    expect(info.hasSnapshots).to.equal(false)
    expect(info.fields.has('# a comment')).to.equal(false)
    expect([...info.fields.keys()].slice(0, 2)).to.deep.equal(['future_field', 'gp_segments'])
  })
  it('C04: reads a backup that has just been born: EMPTY and all else None', () => {
    const keys = ['begin_time', 'end_time', 'begin_wal', 'tablespaces', 'timeline', 'version', 'children_backup_ids', 'size', 'systemid']
    const info = parseBackupInfo(`${keys.map((key) => `${key}=None\n`).join('')}status=EMPTY\n`)
    expect(info.problems).to.deep.equal([])
    expect(info.status).to.equal('EMPTY')
    expect([info.beginTime, info.endTime, info.beginWal, info.timeline, info.version, info.sizeBytes, info.systemId]).to.deep.equal(
      Array.from({length: 7}, () => undefined))
    expect([info.tablespaces, info.childrenBackupIds]).to.deep.equal([[], []])
  })
  it('a status word it does not know is UNKNOWN, and its text stays in fields', () => {
    const info = parseBackupInfo('status=PAUSED\n')
    expect([info.status, info.fields.get('status')]).to.deep.equal(['UNKNOWN', 'PAUSED'])
    expect(parseBackupInfo('status=None\n').status).to.equal(undefined)
    for (const status of ['EMPTY', 'STARTED', 'WAITING_FOR_WALS', 'DONE', 'SYNCING', 'FAILED']) {
      expect(parseBackupInfo(`status=${status}\n`).status).to.equal(status)
    }
  })
  it('a wrong value costs only itself and is named without being quoted', () => {
    const wrong = [
      'begin_time=soon', 'end_time=2026-99-99 00:00:00', 'begin_wal=0001', 'end_wal=00000002.history', 'begin_xlog=here', 'end_xlog=1',
      'timeline=one', 'version=15.20', 'xlog_segment_size=1000', 'systemid=0x12', 'parent_backup_id=full1',
      'children_backup_ids=a,b', 'tablespaces=[(1, 2)]', 'size=-1', 'deduplicated_size=99999999999999999999',
    ]
    const info = parseBackupInfo([...wrong, 'status=DONE', 'pgdata=/srv/pg', ''].join('\n'))
    expect(info.problems.toSorted()).to.deep.equal(
      wrong.map((line) => `the value of ${line.split('=')[0]} is not understood`).toSorted())
    expect([info.status, info.pgdata, info.xlogSegmentSizeBytes]).to.deep.equal(['DONE', '/srv/pg', undefined])
    expect([info.tablespaces, info.childrenBackupIds]).to.deep.equal([[], []])
    expect(info.fields.get('begin_time')).to.equal('soon')
  })
  it('takes 16 MiB when an old file does not name the segment size, but not when its end is lost', () => {
    expect(parseBackupInfo('status=DONE\nversion=90603\n').xlogSegmentSizeBytes).to.equal(16_777_216)
    expect(parseBackupInfo('status=DONE\nsystemid=1\n').xlogSegmentSizeBytes).to.equal(undefined)
    expect(parseBackupInfo('status=EMPTY\nversion=None\nxlog_segment_size=None\n').xlogSegmentSizeBytes).to.equal(undefined)
    expect(parseBackupInfo('status=DONE\nxlog_segment_size=1048576\n').xlogSegmentSizeBytes).to.equal(1_048_576)
  })
  it('never makes a number of the system id', () => {
    expect(parseBackupInfo('status=DONE\nsystemid=7712021306369699987\n').systemId).to.equal('7712021306369699987')
    expect(parseBackupInfo("status=DONE\nsystemid='7712021306369699987'\n").systemId).to.equal('7712021306369699987')
  })
  it('reads lists Python 2 or a passive node wrote', () => {
    const info = parseBackupInfo(
      "status=DONE\ntablespaces=[(u'ts \\'1\\'', 16384L, u'/srv/t\\xe4')]\nchildren_backup_ids=['20261125T082234', '20261125T082544']\n")
    expect(info.tablespaces).to.deep.equal([{name: "ts '1'", oid: 16_384, location: '/srv/tä'}])
    expect(info.childrenBackupIds).to.deep.equal(['20261125T082234', '20261125T082544'])
    expect(info.problems).to.deep.equal([])
  })
  it('tells a snapshot backup by its snapshots_info', () => {
    expect(parseBackupInfo("snapshots_info={'provider': 'gcp', 'snapshots': []}\nstatus=DONE\n").hasSnapshots).to.equal(true)
  })
  it('takes line ends of any system and a byte order mark', () => {
    const info = parseBackupInfo(`\uFEFF${MINIMAL.replaceAll('\n', '\r\n')}`)
    expect([info.status, info.systemId, info.problems.length]).to.deep.equal(['DONE', '7300000000000000001', 0])
    expect([...info.fields.keys()]).to.deep.equal(['begin_time', 'status', 'systemid'])
  })
  it('of a key that comes twice the last one counts, as in Barman', () => {
    expect(parseBackupInfo('status=STARTED\nstatus=DONE\n').status).to.equal('DONE')
  })
  const unusable: readonly [string, string, RegExp][] = [
    ['empty', '', /it is empty/],
    ['blank', '\n \n\t\n', /it is empty/],
    ['all NUL, as after a power cut', '\0'.repeat(1024), /NUL/],
    ['binary with a key in it', 'status=DONE\n\0\0', /NUL/],
    ['prose', 'this is not the file you look for\n', /no line is key=value/],
    ['only comments', '# status=DONE\n', /no line is key=value/],
    ['HTML', '<html>\n<a href="x">y</a>\n', /no status/],
    ['cut before the status', MINIMAL.slice(0, 30), /no status/],
    ['a line that only begins with =', '=DONE\n', /no line is key=value/],
  ]
  for (const [what, text, reason] of unusable) {
    it(`refuses a text that is ${what}`, () => expect(() => parseBackupInfo(text)).to.throw(BarmanFilesError, reason))
  }
  it('a file cut after the status is used, and the cut is told', () => {
    const info = parseBackupInfo('begin_time=2026-11-01 02:00:00+00:00\nstatus=DONE\nsystemid=73')
    expect(info.status).to.equal('DONE')
    expect(info.problems).to.deep.equal(['the last line has no line end, so the file may have been cut'])
  })
  it('a line that is no key=value is told and does not hide the others', () => {
    const info = parseBackupInfo(`<<<<<<< HEAD\n${MINIMAL}`)
    expect([info.status, info.problems]).to.deep.equal(['DONE', ['line 1 is not key=value']])
  })
  it('of a real file cut anywhere it either throws BarmanFilesError or gives a status', () => {
    const text = readLabText('barman-3.13.3-postgres', 'server/meta/20261125T074045-backup.info')
    let refused = 0
    for (let length = 0; length < text.length; length++) {
      try {
        const info = parseBackupInfo(text.slice(0, length))
        expect(info.fields.has('status')).to.equal(true)
      } catch (error: unknown) {
        expect(error).to.be.instanceOf(BarmanFilesError)
        refused++
      }
    }
    expect(refused).to.be.greaterThan(text.indexOf('status='))
  })
  it('throws nothing but BarmanFilesError, whatever the text', () => {
    const keys = fc.constantFrom('status', 'begin_time', 'tablespaces', 'children_backup_ids', 'backup_label', 'systemid', 'x')
    const lines = fc.array(fc.oneof(fc.tuple(keys, fc.string()).map(([key, value]) => `${key}=${value}`), fc.string()))
    fc.assert(fc.property(lines, (parts) => {
      try {
        parseBackupInfo(parts.join('\n'))
      } catch (error: unknown) {
        expect(error).to.be.instanceOf(BarmanFilesError)
      }
    }), {numRuns: 500})
  })
})

describe('backup identity', () => {
  const identity: BackupIdentity = {
    systemId: '7300000000000000001', beginTime: '2026-11-01T02:00:00.000000Z', beginXlog: '0/5000028', beginWal: '000000010000000000000005',
  }

  it('is system id, begin time in UTC with microseconds, begin LSN and begin WAL', () => {
    expect(backupIdentity(labInfo('barman-3.19.1-postgres18-incremental', '20261125T082232'))).to.deep.equal({
      systemId: '7712021306369699987', beginTime: '2026-11-25T08:22:32.287139Z', beginXlog: '0/B000028', beginWal: '00000001000000000000000B',
    })
  })
  it('does not change with status, children, zone or notation', () => {
    const before = parseBackupInfo(
      'begin_time=2026-11-01 02:00:00.5+00:00\nbegin_wal=00000001000000000000000A\nbegin_xlog=0/A000028\nstatus=WAITING_FOR_WALS\n')
    const after = parseBackupInfo(
      'begin_time=2026-11-01 04:00:00.500000+02:00\nbegin_wal=00000001000000000000000a\nbegin_xlog=0/0a000028\nchildren_backup_ids=20261102T020000\nstatus=DONE\n')
    expect(backupIdentity(after)).to.deep.equal(backupIdentity(before))
  })
  it('takes the system id of the caller only when the file has none', () => {
    expect(backupIdentity(parseBackupInfo('status=DONE\n'), '42').systemId).to.equal('42')
    expect(backupIdentity(parseBackupInfo(MINIMAL), '42').systemId).to.equal('7300000000000000001')
  })
  it('differs when any known part differs', () => {
    const others: Partial<Record<keyof BackupIdentity, string>> = {
      systemId: '7300000000000000002', beginTime: '2026-11-01T02:00:00.000001Z', beginXlog: '0/5000029', beginWal: '000000010000000000000006',
    }
    for (const [part, value] of Object.entries(others)) {
      expect(sameIdentity(identity, {...identity, [part]: value}), part).to.equal(false)
      expect(sameIdentity({...identity, [part]: value}, identity), part).to.equal(false)
    }
    expect(sameIdentity(identity, {...identity})).to.equal(true)
  })
  it('a part that one side does not know is no difference', () => {
    for (const part of ['systemId', 'beginTime', 'beginXlog', 'beginWal']) {
      expect(sameIdentity(identity, {...identity, [part]: undefined}), part).to.equal(true)
      expect(sameIdentity({...identity, [part]: undefined}, identity), part).to.equal(true)
    }
  })
  it('stays the same when newer Barman adds the zone to an old begin time', () => {
    const old = backupIdentity(parseBackupInfo('begin_time=2014-12-22 09:25:22.561207\nstatus=DONE\n'))
    const rewritten = backupIdentity(parseBackupInfo('begin_time=2014-12-22 09:25:22.561207+01:00\nstatus=DONE\n'))
    const another = backupIdentity(parseBackupInfo('begin_time=2014-12-22 09:25:23.561207+01:00\nstatus=DONE\n'))
    const dayAfter = backupIdentity(parseBackupInfo('begin_time=2014-12-23 09:25:22.561207+01:00\nstatus=DONE\n'))
    expect(old.beginTime).to.equal('2014-12-22T09:25:22.561207')
    expect(sameIdentity(old, rewritten)).to.equal(true)
    expect(sameIdentity(rewritten, old)).to.equal(true)
    expect(sameIdentity(old, another)).to.equal(false)
    expect(sameIdentity(old, dayAfter)).to.equal(false)
  })
  it('tells apart all backups of a lab', () => {
    const infos = serverFiles('barman-3.19.1-postgres').filter((name) => name.endsWith('backup.info'))
    const identities = infos.map((file) => backupIdentity(parseBackupInfo(readLabText('barman-3.19.1-postgres', 'server', file))))
    for (const [left, one] of identities.entries()) {
      for (const [right, other] of identities.entries()) expect(sameIdentity(one, other)).to.equal(left === right)
    }
  })
})

import {createHash} from 'node:crypto'
import {lstatSync, readdirSync, readFileSync, readlinkSync} from 'node:fs'
import {join, relative} from 'node:path'
import {expect} from 'chai'
import {listUserPages, parseBlocks, projectDirectory, readPage} from '../support/doc-pages.ts'
import {openDocSandbox, readExample, requirePrograms, type DocSandbox} from '../support/doc-sandbox.ts'
import {startServerOrSkip} from '../support/s3-servers.ts'

const OLD_BACKUP = '20261101T020000'
const NEW_BACKUP = '20261102T020000'

describe('the command lines of README.md and the guide', function () {
  this.timeout(180_000)
  let sandbox: DocSandbox | undefined
  before(async function () {
    requirePrograms(this)
    await (await startServerOrSkip(this, 'weed')).stop()
  })
  afterEach(async () => {
    await sandbox?.remove()
    sandbox = undefined
  })

  async function open(): Promise<DocSandbox> {
    sandbox = await openDocSandbox()
    return sandbox
  }

  /** With `/etc/barmans3.yaml` and credentials, as after docs/guide/install.md. */
  async function openInstalled(): Promise<DocSandbox> {
    const host = await open()
    const {status, stderr} = await host.runPage('docs/guide/install.md')
    expect(status, stderr).to.equal(0)
    return host
  }

  it('every block says what it is, and every shell block is run by a test or says why not', () => {
    const known = ['sh', 'yaml', 'ini', 'text', 'json', 'cron', 'logrotate', 'systemd']
    for (const page of listUserPages()) {
      for (const {language, line, notRun} of parseBlocks(readPage(page))) {
        expect(known, `${page}:${line}`).to.include(language)
        if (notRun !== undefined) expect(language, `${page}:${line}`).to.equal('sh')
      }
    }
    const skipped = listUserPages().flatMap((page) => parseBlocks(readPage(page)).filter(({notRun}) => notRun !== undefined).map(({text}) => text))
    // What is no set-up of a machine must run: a new reason is looked at here.
    expect(skipped.filter((text) => /^barmans3 /m.test(text))).to.deep.equal([])
  })

  it('README.md: five minutes', async () => {
    const host = await openInstalled()
    const {status, stdout, stderr} = await host.runPage('README.md')
    expect(status, stderr).to.equal(0)
    expect(stdout.match(/complete +yes +yes$/gm), stdout).to.have.length(2)
    expect(shownTable('README.md')).to.deep.equal(tableIn(stdout))
  })

  it('install.md', async () => {
    const host = await open()
    const {status, stdout, stderr} = await host.runPage('docs/guide/install.md')
    expect(status, stderr).to.equal(0)
    expect(stdout).to.match(/^barmans3\/\d/m).and.to.contain('would be uploaded').and.to.contain('not in S3')
    expect(readdirSync(join(host.root, 'var/lib'))).to.include('barmans3')
  })

  it('first-hour.md, and its outputs are real', async () => {
    const host = await openInstalled()
    const {status, stdout, stderr} = await host.runPage('docs/guide/first-hour.md')
    expect(status, stderr).to.equal(0)
    expect(shownTable('docs/guide/first-hour.md')).to.deep.equal(tableIn(stdout))
    for (const line of ['main-server: 8 WAL files (000000010000000000000005 to 00000001000000000000000A), 96.0 MiB would be uploaded; 0 already there',
      `main-server ${NEW_BACKUP}: would be copied, 47 files, 913.8 KiB (it is not in S3)`]) {
      expect(stdout).to.contain(line)
      expect(readPage('docs/guide/first-hour.md')).to.contain(line)
    }
    expect(stdout).to.match(/^main-server +20261102T020000 +run +/m).and.to.match(/^main-server +20261102T020000 +done +/m)
  })

  it('upgrade-from-bash.md: WAL is taken over, old backups are legacy until they are sent again', async () => {
    sandbox = await openDocSandbox({metadataPlace: 'base'})
    const {status: prepared, stderr: complaints} = await sandbox.runScript(AS_THE_SCRIPTS_DID)
    expect(prepared, complaints).to.equal(0)
    const {status, stdout, stderr} = await sandbox.runPage('docs/guide/upgrade-from-bash.md')
    expect(status, stderr).to.equal(0)
    expect(stdout).to.match(/^main-server: 1 WAL file \(00000001000000000000000A\), 16.0 MiB would be uploaded; 7 already there$/m)
    expect(stderr).to.match(/wal sync: done server=main-server uploaded=1 bytes=16777216 alreadyThere=7$/m)
    expect(stdout.indexOf(shownTable('docs/guide/upgrade-from-bash.md').join('\n')), stdout).to.be.at.least(0)
    expect(tableIn(stdout).slice(1).every((line) => / complete +yes +yes$/.test(line)), stdout).to.equal(true)
  })

  it('restore.md: what comes back is what was there, and Barman restores from it', async () => {
    const host = await openInstalled()
    const copied = await host.runScript('barmans3 full-sync main-server')
    expect(copied.status, copied.stderr).to.equal(0)
    const {status, stdout, stderr} = await host.runPage('docs/guide/restore.md')
    expect(status, stderr).to.equal(0)
    expect(stdout).to.contain('true\n').and.to.contain('manifest.gz: OK\n').and.to.contain('47 files are right\n47\n')
    const target = join(host.root, 'srv/restore/main-server')
    expect(describeTree(join(target, 'base', NEW_BACKUP))).to.deep.equal(describeTree(join(host.tree.baseDirectory, NEW_BACKUP)))
    for (const name of [`meta/${NEW_BACKUP}-backup.info`, 'identity.json', 'wals/0000000100000000/00000001000000000000000A']) {
      expect(readFileSync(join(target, name)).equals(readFileSync(join(host.tree.serverDirectory, name))), name).to.equal(true)
    }
    const shown = parseBlocks(readPage('docs/guide/restore.md')).find(({text}) => text.startsWith('{"type":"file"'))?.text ?? ''
    const {offset, ...line} = JSON.parse(shown) as {offset: unknown}
    const printed = stdout.split('\n').find((text) => text.startsWith('{"type":"file"')) ?? 'null'
    expect(offset).to.be.a('number')
    expect({...JSON.parse(printed) as object, offset}).to.deep.equal({...line, offset})
    expect(stdout).to.contain(readFileSync(join(host.tree.dataDirectory(NEW_BACKUP), 'pg_hba.conf'), 'utf8'))
    const listed = parseBlocks(readPage('docs/guide/restore.md')).find(({text}) => text.startsWith("main-server 20261102T020000 'nightly'"))?.text
    expect(stdout.split('\n'), stdout).to.include(listed)
    expect(stdout).to.contain('Your PostgreSQL server has been successfully prepared for recovery!')
    const data = join(host.root, 'srv/restore/data')
    expect(readFileSync(join(data, 'PG_VERSION'), 'utf8')).to.equal('16\n')
    expect(readdirSync(join(data, 'pg_notify'))).to.deep.equal([])
    expect(readlinkSync(join(data, 'pg_tblspc/16385'))).to.equal(join(host.root, 'srv/restore/ts16385'))
    expect(readdirSync(join(data, 'pg_wal'))).to.include('000000010000000000000009')
  })

  it('cron-and-systemd.md shows the files of docs/examples as they are', () => {
    const page = readPage('docs/guide/cron-and-systemd.md')
    const texts = parseBlocks(page).map(({text}) => `${text.replace(/^# \/etc\/systemd.*\n/, '')}\n`)
    for (const name of ['cron.d-barmans3', 'logrotate.d-barmans3', 'systemd/barmans3-wal-sync.service', 'systemd/barmans3-wal-sync.timer']) {
      expect(texts, name).to.include(readExample(name))
    }
  })

  describe('on one host, one after the other', () => {
    let host: DocSandbox
    before(async () => {
      host = await openInstalled()
      // Not the one that afterEach removes.
      sandbox = undefined
    })
    after(async () => await host?.remove())

    it('every line of /etc/cron.d/barmans3 runs as cron runs it, logs what it did, and nothing when there was nothing', async () => {
      const {variables, jobs} = parseCron(readExample('cron.d-barmans3'))
      expect(jobs.map(({when}) => when)).to.deep.equal(['*/15 * * * *', '5 23 * * *', '35 4 * * *', '20 5 1 * *'])
      const logs = join(host.root, 'var/log/barmans3')
      for (const round of [1, 2]) {
        for (const {user, command} of jobs) {
          expect(user).to.equal('barman')
          // cron takes a percent sign for the end of the line.
          expect(command).not.to.contain('%')
          const {status, stdout, stderr} = await host.runScript(command, {...host.cronEnvironment, ...variables, PATH: host.place(variables.PATH ?? '')})
          expect({status, stdout, stderr}, `${command} in round ${round}`).to.deep.equal({status: 0, stdout: '', stderr: ''})
        }
        expect(readdirSync(logs).sort()).to.deep.equal(['base-sync.log', 'full-sync.log', 'queue-prune.log', 'wal-sync.log'])
      }
      const log = (name: string) => host.runScript(`cat /var/log/barmans3/${name}.log`)
      expect((await log('wal-sync')).stdout).to.match(/^\S+Z info wal sync: done server=main-server uploaded=8 .*\n$/)
      expect((await log('base-sync')).stdout.match(/backup copied/g)).to.have.length(2)
      expect((await log('full-sync')).stdout).to.equal('')
    })

    it('a cron line that fails gives cron one line to mail', async () => {
      const {variables, jobs} = parseCron(readExample('cron.d-barmans3'))
      const {stdout, stderr} = await host.runScript(jobs[0]?.command ?? '', {
        ...host.cronEnvironment, PATH: host.place(variables.PATH ?? ''), BARMANS3_S3_URI: 's3://no-such-bucket/barman',
      })
      expect(stderr).to.equal('')
      expect(stdout).to.equal(host.place('barmans3 wal sync ended with 1, see /var/log/barmans3/wal-sync.log\n'))
    })

    it('the ExecStart line of every systemd unit runs with an empty environment', async () => {
      const names = readdirSync(join(projectDirectory, 'docs/examples/systemd')).sort()
      const services = names.filter((name) => name.endsWith('.service'))
      expect(names.filter((name) => name.endsWith('.timer')).map((name) => name.replace('.timer', '.service'))).to.deep.equal(services)
      for (const name of services) {
        const line = /^ExecStart=(.+)$/m.exec(readExample(`systemd/${name}`))?.[1] ?? 'false'
        const {status, stderr} = await host.runScript(line, host.cronEnvironment)
        expect(status, `${name}: ${stderr}`).to.equal(0)
      }
    })

    it('the hook line of README.md and first-hour.md works with the little environment that Barman hands on', async () => {
      const lines = ['README.md', 'docs/guide/first-hour.md', 'docs/guide/upgrade-from-bash.md'].flatMap((page) => parseBlocks(readPage(page)).flatMap(({text}) =>
        [...text.matchAll(/(?<!# delete this line:\n)^post_backup_script = (.+)$/gm)].map((match) => match[1] ?? '')))
      expect(new Set(lines).size).to.equal(1)
      const {status, stdout, stderr} = await host.runScript(lines[0] ?? '', {
        ...host.cronEnvironment, PATH: '/usr/bin:/bin', BARMAN_HOOK: 'backup_script', BARMAN_PHASE: 'post', BARMAN_RETRY: '0',
        BARMAN_SERVER: 'main-server', BARMAN_BACKUP_ID: NEW_BACKUP, BARMAN_STATUS: 'WAITING_FOR_WALS', BARMAN_ERROR: '',
      })
      expect({status, stdout}, stderr).to.deep.equal({status: 0, stdout: `backup ${NEW_BACKUP} of main-server added to the queue\n`})
    })

    it('cron-and-systemd.md: the line to try', async () => {
      // `env -i` takes away what stands for /etc/barmans3.yaml here, so it is put behind it.
      const kept = Object.entries(host.cronEnvironment).filter(([name]) => name !== 'HOME').map(([name, value]) => `${name}='${value}'`).join(' ')
      host.tree.addWals(host.tree.nextWal(), 1)
      const block = parseBlocks(readPage('docs/guide/cron-and-systemd.md')).find(({language, notRun}) => language === 'sh' && notRun === undefined)
      expect(block?.text).to.contain('env -i ')
      const {status, stdout, stderr} = await host.runScript(block?.text.replace('env -i', `env -i ${kept}`) ?? 'false')
      expect({status, stdout}, stderr).to.deep.equal({status: 0, stdout: ''})
      expect(stderr).to.match(/^\S+Z info wal sync: done server=main-server uploaded=1 bytes=16777216 alreadyThere=8$/m)
    })
  })
})

/**
 * A bucket as the bash scripts left it: one backup and its WAL, dummy files in empty directories, their configuration and queue.
 * SeaweedFS lets some of aws-cli's empty PUTs wait for ever; aws-cli then sends them again.
 */
const AS_THE_SCRIPTS_DID = `
touch /etc/cron.d/barmans3
cat >/opt/barmans3/barmans3.conf <<'END'
S3_ENDPOINT_URI="https://s3.example.com"
S3_BUCKET_URI="s3://backup/barman"
BARMAN_ROOTPATH="/var/lib/barman"
WALSYNC_LOGFILE="/var/log/barmans3/walsync.log"
BASESYNC_LOGFILE="/var/log/barmans3/basesync.log"
BASESYNC_QUEUE="/var/run/barmans3/queue.d"
END
mkdir -p /var/run/barmans3/queue.d
echo 'BARMAN_BACKUP_ID="${NEW_BACKUP}"' >/var/run/barmans3/queue.d/${NEW_BACKUP}.run
cd /var/lib/barman/main-server
find base -type d -empty -exec touch '{}/.barmans3' ';'
aws s3 sync --cli-read-timeout 3 --only-show-errors base/${OLD_BACKUP} s3://backup/barman/main-server/base/${OLD_BACKUP}
aws s3 sync --only-show-errors --exclude '*A' wals s3://backup/barman/main-server/wals
`

/** Every path with what a backup has of it: type, mode, time, content or target, relative to the tree. */
function describeTree(root: string): Record<string, string> {
  return Object.fromEntries(readdirSync(root, {recursive: true, encoding: 'utf8'}).sort().map((name) => {
    const path = join(root, name)
    const stat = lstatSync(path)
    if (stat.isSymbolicLink()) return [name, `link ${relative(root, readlinkSync(path))}`]
    const content = stat.isFile() ? createHash('sha256').update(readFileSync(path)).digest('hex') : 'directory'
    return [name, `${(stat.mode & 0o7777).toString(8)} ${stat.mtimeMs} ${content}`]
  }))
}

interface CronJob {
  readonly when: string
  readonly user: string
  readonly command: string
}

/** A file of /etc/cron.d: variables, and lines of five fields, user and command. */
function parseCron(text: string): {variables: Record<string, string>; jobs: CronJob[]} {
  const variables: Record<string, string> = {}
  const jobs: CronJob[] = []
  for (const line of text.split('\n')) {
    const variable = /^(\w+)=(.*)$/.exec(line)
    const job = /^((?:\S+\s+){5})(\S+)\s+(.+)$/.exec(line)
    if (line === '' || line.startsWith('#')) continue
    if (variable?.[1]) variables[variable[1]] = variable[2] ?? ''
    else if (job?.[1] && job[2] && job[3]) jobs.push({when: job[1].trim().replace(/\s+/g, ' '), user: job[2], command: job[3]})
    else throw new Error(`cron would not understand: ${line}`)
  }
  return {variables, jobs}
}

/** The lines of a table of `base ls`. */
function tableIn(text: string): string[] {
  const lines = text.split('\n')
  return lines.slice(lines.findLastIndex((line) => line.startsWith('SERVER       BACKUP ID        NAME'))).slice(0, 3)
}

function shownTable(page: string): string[] {
  const block = parseBlocks(readPage(page)).find(({text}) => text.startsWith('SERVER       BACKUP ID        NAME'))
  return block?.text.split('\n') ?? []
}

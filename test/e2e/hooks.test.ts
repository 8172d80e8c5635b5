import {existsSync, readdirSync, readFileSync, rmSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {installTool, type InstalledTool} from '../support/e2e.ts'
import {createLab, type BarmanLab} from '../support/lab/barman-lab.ts'
import {startServerOrSkip, type TestServer} from '../support/s3-servers.ts'
import type {BaseLsCommandResult} from '../../src/commands/base/ls.ts'
import type {BaseSyncCommandResult} from '../../src/commands/base/sync.ts'
import type {QueueStatus} from '../../src/lib/queue/status.ts'

const SERVER = 'main-server'

/** Each test goes on where the one before it ended. */
describe('queue add as a hook of a real Barman', function () {
  this.timeout(180_000)
  let store: TestServer
  let lab: BarmanLab
  let tool: InstalledTool
  let configuration: string

  before(async function () {
    store = await startServerOrSkip(this, 'versitygw')
    lab = await createLab({isSmall: true})
    tool = await installTool(lab, store)
    configuration = readFileSync(lab.serverConfigurationFile, 'utf8')
  })
  after(async () => {
    await lab?.stop()
    await store?.stop()
  })

  /** These lines and no others of tests before. */
  function setServerLines(...lines: readonly string[]): void {
    lab.writeFile(lab.serverConfigurationFile, configuration)
    lab.addServerLines(...lines)
  }

  async function queued() {
    const {result} = await tool.json<QueueStatus>('queue', 'status')
    return result.tasks.map(({backupId, state}) => [backupId, state])
  }

  async function syncBase() {
    const {code, result, said} = await tool.json<BaseSyncCommandResult>('base', 'sync')
    expect(code, said).to.equal(0)
    return result.servers[0]!.backups.map(({backupId, outcome, origin}) => [backupId, outcome, origin])
  }

  /** What Barman logged since `before`. */
  const logSince = (before: number): string => readFileSync(lab.logFile, 'utf8').slice(before)
  const logLength = (): number => readFileSync(lab.logFile, 'utf8').length

  it('as plain and as retry hook of the same backup: one task, and Barman logs no failure of either', async () => {
    setServerLines(`post_backup_script = ${tool.hookCommand}`, `post_backup_retry_script = ${tool.hookCommand}`)
    const before = logLength()
    const id = await lab.backup()
    expect(await queued()).to.deep.equal([[id, 'run']])
    expect(logSince(before)).not.to.match(/script.*(failed|returned|exit code [1-9])|WARNING.*hook/i)
    expect(await syncBase()).to.deep.equal([[id, 'copied', 'queue']])
  })

  it('C07: as retry hook with a queue that cannot be written: Barman sees 62 and goes on, and the scan finds the backup', async () => {
    setServerLines(`post_backup_retry_script = BARMANS3_QUEUE_DIRECTORY=/proc/nowhere ${tool.hookCommand}`)
    const before = logLength()
    const id = await lab.backup()
    // barman: hooks.py, ABORT_CONTINUE; any code but 0, 62 and 63 would be tried again for ever.
    expect(logSince(before)).to.match(/was aborted \(got exit status 62, Barman resumes\)/)
    expect((await queued()).map(([backupId]) => backupId)).not.to.include(id)
    expect(await syncBase()).to.deep.equal([[id, 'copied', 'scan']])
  })

  it('a backup that fails, with all a shell could trip over in BARMAN_ERROR and BARMAN_BACKUP_DIR, is not queued and breaks nothing', async () => {
    const odd = join(lab.directory, 'base "x" \'y\' `touch z-pwned` $(touch z-pwned) ;& touch z-pwned | <> é€\\n #')
    const programs = join(lab.directory, 'programs')
    await lab.runAsUser('mkdir', [programs])
    lab.writeScript('programs/pg_basebackup', `#!/bin/sh
      [ "$1" = --version ] && exec ${lab.postgres.binDirectory}/pg_basebackup --version
      printf 'not UTF-8: \\377\\376, a control: \\033[31m, a quote: "\\n' >&2
      exit 1`)
    const dump = join(lab.directory, 'hook.env')
    const hook = lab.writeScript('hook.sh', `#!/bin/sh\nenv -0 >> ${dump}\n${tool.hookCommand} 2>> ${dump}.stderr\ncode=$?\necho "exit $code" >> ${dump}.codes\nexit $code\n`)
    setServerLines(
      `path_prefix = ${programs}`, `basebackups_directory = ${odd}`, `post_backup_script = ${hook}`, `post_backup_retry_script = ${hook}`,
    )
    const before = await queued()
    const failed = await lab.barman('backup', SERVER)
    expect(failed.code, failed.stdout + failed.stderr).to.equal(1)
    expect(readFileSync(dump, 'utf8').split('\0').filter((each) => each.startsWith('BARMAN_ERROR=failure copying files') && each.includes(odd))).to.have.length(2)
    expect(readFileSync(`${dump}.codes`, 'utf8')).to.equal('exit 0\nexit 0\n')
    expect(readFileSync(`${dump}.stderr`, 'utf8')).to.equal('')
    expect(await queued()).to.deep.equal(before)
    expect([lab.directory, '/', tool.queueDirectory].flatMap((directory) => readdirSync(directory)).filter((name) => name.includes('pwned') && !name.startsWith('base '))).to.deep.equal([])
    expect(await syncBase()).to.deep.equal([])
    const {backups} = (await tool.json<BaseLsCommandResult>('base', 'ls', SERVER)).result.servers[0]!
    expect(backups.filter(({barmanStatus}) => barmanStatus === 'FAILED').map(({state, restorable}) => [state, restorable])).to.deep.equal([['absent', 'no']])
  })

  it('the next backup, in a directory of that name, is queued by both hooks and copied', async () => {
    lab.writeFile(lab.serverConfigurationFile, readFileSync(lab.serverConfigurationFile, 'utf8').replace(/^path_prefix = .*programs$/m, `path_prefix = ${lab.postgres.binDirectory}`))
    rmSync(join(lab.directory, 'hook.env.codes'))
    const {code, stdout, stderr} = await lab.barman('backup', SERVER)
    expect(code, stdout + stderr).to.equal(0)
    expect(readFileSync(join(lab.directory, 'hook.env.codes'), 'utf8')).to.equal('exit 0\nexit 0\n')
    const [id = ''] = (await queued()).find(([, state]) => state === 'run') ?? []
    expect(id).to.match(/^\d{8}T\d{6}$/)
    expect(await syncBase()).to.deep.equal([[id, 'copied', 'queue']])
    expect(existsSync(join(tool.queueDirectory, SERVER, `${id}.done`))).to.equal(true)
  })
})

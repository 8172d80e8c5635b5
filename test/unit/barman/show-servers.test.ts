import {expect} from 'chai'
import {chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs'
import {tmpdir} from 'node:os'
import path from 'node:path'
import {readAllServers, readServer} from '../../../src/lib/barman/show-servers.ts'
import {BarmanFilesError, BarmansError, UsageError} from '../../../src/lib/errors.ts'
import {LABS, labPath, readLabText} from './fixtures.ts'
import {rejectionOf} from './promises.ts'

const SECRET = 'geheim4711'

/** One `barman` for a test: writes its arguments down, prints what it is told to, ends as it is told to. */
interface FakeBarman {
  readonly command: string
  arguments(): readonly string[]
}

describe('asking barman for its servers', () => {
  let home: string
  beforeEach(() => {
    home = mkdtempSync(path.join(tmpdir(), 'barmans3-show-'))
  })
  afterEach(() => rmSync(home, {recursive: true, force: true}))

  function fakeBarman(answer: {stdout?: string; stderr?: string; exitCode?: number; before?: string}): FakeBarman {
    const command = path.join(home, 'barman')
    writeFileSync(path.join(home, 'stdout'), answer.stdout ?? '')
    writeFileSync(path.join(home, 'stderr'), answer.stderr ?? '')
    writeFileSync(command, [
      '#!/bin/sh', `printf '%s\\0' "$@" > '${home}/arguments'`, answer.before ?? '', `cat '${home}/stdout'`, `cat '${home}/stderr' >&2`,
      `exit ${answer.exitCode ?? 0}`, '',
    ].join('\n'))
    chmodSync(command, 0o755)
    return {command, arguments: () => readFileSync(path.join(home, 'arguments'), 'utf8').split('\0').slice(0, -1)}
  }

  /** The error, after a look that no secret is in anything of it. */
  async function errorOf(promise: Promise<unknown>): Promise<BarmansError> {
    const error = await rejectionOf(promise)
    expect(error).to.be.instanceOf(BarmansError)
    expect(JSON.stringify([error, String(error), (error as Error).stack, (error as BarmansError).hint])).to.not.match(/geheim|REDACTED/)
    return error as BarmansError
  }

  const entry = (more: Readonly<Record<string, unknown>> = {}) => ({
    backup_directory: '/b/pg', conninfo: `host=x password=${SECRET}`, streaming_conninfo: `password=${SECRET}`, primary_conninfo: SECRET, ...more,
  })

  for (const lab of LABS.filter((name) => !name.includes('cloud'))) {
    it(`reads the answer of ${lab}, its lock directory from barman.conf where it must`, async () => {
      const stdout = readLabText(lab, 'json/show-servers.json')
      const name = Object.keys(JSON.parse(stdout) as object)[0] ?? ''
      const fake = fakeBarman({stdout})
      const configurationPath = labPath(lab, 'barman.conf')
      const server = await readServer(name, {command: fake.command, configurationPath})
      expect(server).to.include({name, directory: `/var/lib/barman/${name}`, lockDirectory: '/var/lib/barman', origin: 'barman'})
      expect(fake.arguments()).to.deep.equal(['-c', configurationPath, '-f', 'json', 'show-servers', name])
      expect(JSON.stringify(server)).to.not.match(/REDACTED|password|conninfo/)
      expect((await readAllServers({command: fake.command, configurationPath})).servers).to.deep.equal([server])
      expect(fake.arguments().at(-1)).to.equal('all')
    })
  }
  it('keeps nothing of connection strings', async () => {
    const fake = fakeBarman({stdout: JSON.stringify({pg: entry()})})
    expect(JSON.stringify(await readServer('pg', fake))).to.not.include(SECRET)
    expect(JSON.stringify(await readAllServers(fake))).to.not.include(SECRET)
  })
  it('refuses the cloud lab, and leaves it out of all servers with the reason', async () => {
    const stdout = readLabText('barman-3.19.1-local-to-cloud', 'json/show-servers.json')
    const cloud = JSON.parse(stdout) as object
    const fake = fakeBarman({stdout: JSON.stringify({...cloud, pg: entry(), another: entry({backup_directory: null})})})
    const error = await errorOf(readServer('s_cloud', fake))
    expect(error).to.be.instanceOf(UsageError)
    expect(error.message).to.match(/copies local directories/)
    const all = await readAllServers(fake)
    expect(all.servers.map((server) => server.name)).to.deep.equal(['pg'])
    expect(all.refused.map(({name, error}) => [name, error.code])).to.deep.equal([['another', 'BARMAN_FILES'], ['s_cloud', 'USAGE']])
  })
  it("is not confused by Barman's messages beside the servers", async () => {
    const messages = {_WARNING: ['no backup strategy'], _INFO: ['hello'], _DEBUG: []}
    const fake = fakeBarman({stdout: JSON.stringify({...messages, pg: entry()}), stderr: 'WARNING: something\n'})
    expect((await readServer('pg', fake)).directory).to.equal('/b/pg')
    expect((await readAllServers(fake)).servers.map((server) => server.name)).to.deep.equal(['pg'])
    expect((await readAllServers(fakeBarman({stdout: JSON.stringify(messages)}))).servers).to.deep.equal([])
  })
  it('says when there is no such server', async () => {
    for (const stdout of [`{"_ERROR": ["Unknown server 'nope' ${SECRET}"]}`, '{}']) {
      const error = await errorOf(readServer('nope', fakeBarman({stdout, exitCode: stdout === '{}' ? 0 : 1})))
      expect(error).to.be.instanceOf(UsageError)
      expect([error.message, error.exitCode]).to.deep.equal(['Barman has no server named "nope"', 3])
      expect(error.hint).to.include('barman list-servers')
    }
  })
  it('tells what barman said about its configuration, on one line, without stack trace and secrets', async () => {
    const stderr = `EXCEPTION: File contains no section headers.\nfile: '/etc/barman.conf', line: 1\n'conninfo = password=${SECRET}\\n'\nSee log file.\nTraceback (most recent call last):\n  File "cli.py"\n`
    const error = await errorOf(readServer('pg', fakeBarman({stderr, exitCode: 1})))
    expect(error).to.be.instanceOf(BarmanFilesError)
    expect(error.message).to.match(/ended with exit code 1 and gave no JSON: EXCEPTION: File contains no section headers\. file: '\/etc\/barman\.conf', line: 1/)
    expect(error.message).to.not.match(/Traceback|cli\.py|\n/)
    const long = await errorOf(readAllServers(fakeBarman({stderr: 'x'.repeat(200_000), exitCode: 1})))
    expect(long.message.length).to.be.lessThan(500)
  })
  const unusable: readonly [string, string, number][] = [
    ['an exception', `{"_EXCEPTION": ["password=${SECRET}"], "pg": {"backup_directory": "/b/pg"}}`, 1],
    ['an exception and exit 0', `{"_EXCEPTION": ["x"], "pg": {"backup_directory": "/b/pg"}}`, 0],
    ['another error', `{"_ERROR": ["cannot ${SECRET}"]}`, 1],
    ['nothing', '', 0],
    ['half an answer', '{"pg": {"backup_directory": "/b/pg", "conninfo": "password=geheim4711', 0],
    ['an answer and exit 1', '{"pg": {"backup_directory": "/b/pg"}}', 1],
    ['an array', '[]', 0],
    ['null for the server, and another one', '{"pg": null, "other": {"backup_directory": "/b/pg"}}', 0],
    ['text for the server, and another one', '{"pg": "geheim", "other": {"backup_directory": "/b/pg"}}', 0],
  ]
  for (const [what, stdout, exitCode] of unusable) {
    it(`does not take ${what} for an answer, and does not quote it`, async () => {
      const error = await errorOf(readServer('pg', fakeBarman({stdout, exitCode})))
      expect(error).to.be.instanceOf(BarmanFilesError)
      expect(error.message).to.include(`exit code ${exitCode}`)
    })
  }
  it('works when every key is missing or null but the directory', async () => {
    const fake = fakeBarman({stdout: '{"pg": {"backup_directory": "/b/pg", "wals_directory": null, "active": null}}'})
    expect(await readServer('pg', {...fake, configurationPath: path.join(home, 'none')})).to.include(
      {walsDirectory: '/b/pg/wals', isActive: true, isPassive: undefined, lockDirectory: undefined})
  })
  it('is not stopped by a barman.conf it cannot read: the lock directory is then not known', async () => {
    const fake = fakeBarman({stdout: JSON.stringify({pg: entry()})})
    expect((await readServer('pg', {...fake, configurationPath: home})).lockDirectory).to.equal(undefined)
  })
  for (const name of ['-x', '--help', 'a b', '$(touch hacked)', '`id`', "it's", 'a;b', 'Größe', 'a"b', '*', 'a\nb']) {
    it(`hands the name ${JSON.stringify(name)} over as it is`, async () => {
      const fake = fakeBarman({stdout: JSON.stringify({[name]: entry()})})
      expect((await readServer(name, fake)).name).to.equal(name)
      expect(fake.arguments()).to.deep.equal(['-f', 'json', 'show-servers', ...(name.startsWith('-') ? ['--'] : []), name])
    })
  }
  it('does not start barman for a name no server can have', async () => {
    expect((await errorOf(readServer('all', {command: path.join(home, 'none')}))).message).to.match(/no server named "all"/)
    expect((await errorOf(readServer('../x', {command: path.join(home, 'none')}))).message).to.match(/cannot be the name/)
  })
  it('says when barman is not installed, or may not be run', async () => {
    const missing = await errorOf(readServer('pg', {command: 'barman-that-is-not-there'}))
    expect(missing).to.be.instanceOf(UsageError)
    expect(missing.message).to.match(/cannot be started: it is not installed or not in PATH/)
    expect(missing.hint).to.include('directory')
    const notExecutable = path.join(home, 'plain')
    writeFileSync(notExecutable, '')
    expect(await errorOf(readServer('pg', {command: notExecutable}))).to.be.instanceOf(UsageError)
  })
  it('stops a barman that does not answer, also when a child of it keeps the output open', async () => {
    const begin = Date.now()
    const error = await errorOf(readServer('pg', {...fakeBarman({before: 'sleep 20 & sleep 20'}), timeoutMs: 300}))
    expect(error).to.be.instanceOf(BarmanFilesError)
    expect(error.message).to.match(/did not answer within 0\.3 s/)
    expect(Date.now() - begin).to.be.lessThan(5000)
  })
  it('leaves no barman running when it stops waiting', async () => {
    await errorOf(readServer('pg', {...fakeBarman({before: `echo $$ > '${home}/pid'; exec sleep 20`}), timeoutMs: 500}))
    const pid = Number(readFileSync(path.join(home, 'pid'), 'utf8'))
    const isAlive = () => {
      try {
        return process.kill(pid, 0)
      } catch {
        return false
      }
    }
    expect(pid).to.be.greaterThan(1)
    for (let attempt = 0; attempt < 100 && isAlive(); attempt++) await new Promise((resolve) => setTimeout(resolve, 20))
    expect(isAlive()).to.equal(false)
  })
  it('says when barman was killed', async () => {
    const error = await errorOf(readServer('pg', fakeBarman({before: 'kill -9 $$'})))
    expect(error.message).to.match(/was killed by a signal/)
  })
  it('stops when told to, before and meanwhile', async () => {
    const reason = new Error('enough')
    const fake = fakeBarman({before: 'sleep 20'})
    expect(await rejectionOf(readServer('pg', {...fake, signal: AbortSignal.abort(reason)}))).to.equal(reason)
    const controller = new AbortController()
    setTimeout(() => controller.abort(reason), 200)
    expect(await rejectionOf(readServer('pg', {...fake, signal: controller.signal}))).to.equal(reason)
  })
  it('takes an answer of many servers', async () => {
    const many = Object.fromEntries(Array.from({length: 2000}, (_, index) => [`s${index}`, entry({filler: 'x'.repeat(5000)})]))
    expect((await readAllServers(fakeBarman({stdout: JSON.stringify(many)}))).servers.length).to.equal(2000)
  })
})

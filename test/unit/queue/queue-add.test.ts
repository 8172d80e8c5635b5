import {expect} from 'chai'
import {mkdir, readdir, readFile, writeFile} from 'node:fs/promises'
import {join} from 'node:path'
import {finish, takeNext} from '../../../src/lib/queue/task-store.ts'
import {runChild} from '../../support/child.ts'
import {makeInstallation, type Installation} from '../../support/installation.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'
import {hookEnvironment} from './hook-files.ts'

const plain = hookEnvironment({
  BARMAN_PHASE: 'post', BARMAN_HOOK: 'backup_script', BARMAN_STATUS: 'WAITING_FOR_WALS', BARMAN_VERSION: '3.19.1',
})
const retry = hookEnvironment({
  BARMAN_PHASE: 'post', BARMAN_HOOK: 'backup_retry_script', BARMAN_STATUS: 'WAITING_FOR_WALS', BARMAN_VERSION: '3.19.1',
})
const server = plain['BARMAN_SERVER'] ?? ''
const backupId = plain['BARMAN_BACKUP_ID'] ?? ''

describe('queue add as the hook of Barman (the built program)', function () {
  this.timeout(60_000)
  const directory = useTemporaryDirectory()
  const queue = () => join(directory(), 'queue.d')
  let installation: Installation

  before(async () => {
    installation = await makeInstallation()
  })
  after(async () => {
    await installation.remove()
  })

  const add = (environment: Record<string, string>) => installation.run(['queue', 'add'], {
    BARMANS3_QUEUE_DIRECTORY: queue(), ...environment,
  })
  const tasks = async () => (await readdir(join(queue(), server)).catch(() => [])).filter((name) => name !== '.lock')

  it('C07a: takes WAITING_FOR_WALS for the success it is, as plain and as retry hook', async () => {
    for (const environment of [plain, {...retry, BARMAN_SERVER: server, BARMAN_BACKUP_ID: backupId}]) {
      const {status, stderr} = await add(environment)
      expect([status, stderr]).to.deep.equal([0, ''])
    }
    expect(await tasks()).to.deep.equal([`${backupId}.run`])
    const task = JSON.parse(await readFile(join(queue(), server, `${backupId}.run`), 'utf8'))
    expect(task).to.deep.include({version: 1, server, backupId, state: 'run', attempts: 0})
    expect(task.hook).to.include({status: 'WAITING_FOR_WALS', backupDirectory: plain['BARMAN_BACKUP_DIR']})
  })

  it('C07c: with a queue that cannot be written exits 62 as retry hook and 3 as plain hook, with the reason', async () => {
    await writeFile(queue(), 'a file, so that root cannot write there either')
    const asRetry = await add(retry)
    expect(asRetry.status).to.equal(62)
    expect(asRetry.stderr).to.include('is not a directory').and.include('hint: ')
    const asPlain = await add(plain)
    expect([asPlain.status, asPlain.stdout]).to.deep.equal([3, ''])
  })

  it('exits 62 as retry hook for a read-only file system, and says so', async () => {
    const isRoot = process.geteuid?.() === 0
    const script = 'mount -t tmpfs -o ro tmpfs "$1" || exit 99; exec "$2" "$3" queue add'
    const {status, stderr} = await runChild('unshare', [
      isRoot ? '-m' : '-rm', 'sh', '-c', script, 'sh', directory(), process.execPath, join(installation.directory, 'bin/run.js'),
    ], {env: {PATH: process.env['PATH'], BARMANS3_QUEUE_DIRECTORY: queue(), ...retry}})
    expect(stderr).to.include('the file system is read-only')
    expect(status).to.equal(62)
  })

  it('C09: on a full disk says why and leaves no half file, also where a task is reopened', async () => {
    const isRoot = process.geteuid?.() === 0
    // A tmpfs of 1 MiB in a mount namespace of its own: first filled with a task in it, then emptied, then filled.
    const script = `
      mount -t tmpfs -o size=1m tmpfs "$1" || exit 99
      fill() { dd if=/dev/zero of="$1/fill" bs=4k 2>/dev/null; }
      "$2" "$3" queue add && mv "$4/$5.run" "$4/$5.error" && cp "$4/$5.error" "$1/before" || exit 98
      fill "$1"
      "$2" "$3" queue add; echo "reopened: $?"
      cmp "$4/$5.error" "$1/before" && echo unchanged
      rm "$4/$5.error"; fill "$1"; cat "$1/fill" >> "$1/fill2" 2>/dev/null
      "$2" "$3" queue add; echo "added: $?"
      ls -A "$4"
      rm "$1/fill" "$1/fill2"
      "$2" "$3" queue add; echo "after: $?"`
    const {stdout, stderr, status} = await runChild('unshare', [
      isRoot ? '-m' : '-rm', 'sh', '-c', script, 'sh', directory(), process.execPath,
      join(installation.directory, 'bin/run.js'), join(queue(), server), backupId,
    ], {env: {PATH: process.env['PATH'], BARMANS3_QUEUE_DIRECTORY: queue(), ...plain}})
    expect(status, stderr).to.equal(0)
    expect(stdout.split('\n').slice(1)).to.deep.equal([
      'reopened: 3', 'unchanged', 'added: 3', '.lock', `backup ${backupId} of ${server} added to the queue`, 'after: 0', '',
    ])
    expect(stderr.match(/no space left on the device/g)).to.have.length(2)
    expect(stderr).to.include('hint: free some space there')
  })

  const texts: ReadonlyArray<readonly [string, string]> = [
    ['line breaks', 'one\ntwo\r\nthree'], ['quotes', `"'\`\\`], ['shell code', '$(touch pwned) `touch pwned`; touch pwned #'],
    ['100 kB', 'x'.repeat(100_000)], ['terminal escapes', '\u001b]0;evil\u0007'],
  ]
  for (const [name, text] of texts) {
    it(`survives ${name} in BARMAN_ERROR`, async () => {
      const good = await add({...plain, BARMAN_ERROR: text})
      expect([good.status, good.stderr]).to.deep.equal([0, ''])
      const file = await readFile(join(queue(), server, `${backupId}.run`), 'utf8')
      expect(JSON.parse(file).hook.error.slice(0, 2000)).to.equal(text.slice(0, 2000))
      expect(file.length).to.be.below(4000)
      const failed = await add({...plain, BARMAN_STATUS: 'FAILED', BARMAN_ERROR: text, BARMAN_BACKUP_ID: '20261125T999999'})
      expect(failed.status).to.equal(0)
      expect(failed.stdout.trimEnd()).to.include('failed in Barman').and.not.match(/\p{Cc}/u)
      expect(await tasks()).to.deep.equal([`${backupId}.run`])
      expect(await readdir(directory())).to.deep.equal(['queue.d'])
    })
  }

  it('survives bytes that are no UTF-8 in BARMAN_ERROR and in the server name', async () => {
    const script = `BARMAN_ERROR="$(printf 'a\\377\\376b')" BARMAN_SERVER="$(printf 's\\377')" exec "$0" "$1" queue add`
    const {status, stderr} = await runChild('sh', ['-c', script, process.execPath, join(installation.directory, 'bin/run.js')], {
      env: {PATH: process.env['PATH'], BARMANS3_QUEUE_DIRECTORY: queue(), ...plain},
    })
    expect([status, stderr]).to.deep.equal([0, ''])
    expect(await readdir(queue())).to.deep.equal(['s%EF%BF%BD'])
  })

  it('does not care whether anybody reads what it says', async () => {
    const script = 'exec "$0" "$1" queue add >&- 2>&-'
    const {status} = await runChild('sh', ['-c', script, process.execPath, join(installation.directory, 'bin/run.js')], {
      env: {PATH: process.env['PATH'], BARMANS3_QUEUE_DIRECTORY: queue(), ...plain},
    })
    expect(status).to.equal(0)
    expect(await tasks()).to.deep.equal([`${backupId}.run`])
  })

  it('compares with backup.info when the backup was sent already, in the new and in the old place', async () => {
    const home = join(directory(), 'barman/main')
    await mkdir(join(home, 'meta'), {recursive: true})
    await mkdir(join(home, 'base', backupId), {recursive: true})
    const info = (systemId: string) => `begin_time=2026-11-25 08:02:19.000001+00:00\nstatus=DONE\nsystemid=${systemId}\n`
    const environment: Record<string, string> = {...plain, BARMAN_SERVER: 'main', BARMAN_BACKUP_DIR: join(home, 'base', backupId)}
    const {BARMAN_BACKUP_INFO_PATH: _named, ...old} = environment
    await add(old)
    const now = new Date()
    const task = await takeNext(queue(), 'main', now)
    await finish(queue(), task!, now, {systemId: '7301', beginTime: '2026-11-25T08:02:19.000001Z'})
    expect((await add(old)).stdout).to.include('could not be told here')
    await writeFile(join(home, 'base', backupId, 'backup.info'), info('7301'))
    expect((await add(old)).stdout).to.match(/sent already, nothing added\n$/)
    await writeFile(join(home, 'meta', `${backupId}-backup.info`), info('7302'))
    expect((await add(old)).stdout).to.include('put back into the queue')
  })

  it('takes at most 120 ms, or three bare starts of Node where the machine is so busy that these take longer', async () => {
    const times: number[] = []
    const bareTimes: number[] = []
    for (let second = 10; second < 25; second++) {
      bareTimes.push(await timeOf(() => runChild(process.execPath, ['-e', '0'])))
      times.push(await timeOf(() => add({...plain, BARMAN_BACKUP_ID: `20261125T0734${second}`})))
    }
    expect(medianOf(times)).to.be.below(Math.max(120, 3 * medianOf(bareTimes)))
  })

})

async function timeOf(action: () => Promise<{status: number | null}>): Promise<number> {
  const began = performance.now()
  expect((await action()).status).to.equal(0)
  return performance.now() - began
}

function medianOf(numbers: readonly number[]): number {
  return [...numbers].sort((one, other) => one - other)[Math.floor(numbers.length / 2)] ?? Number.NaN
}

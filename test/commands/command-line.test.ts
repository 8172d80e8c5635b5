import {chmod, mkdir, mkdtemp, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {expect} from 'chai'
import {runChild} from '../support/child.ts'
import {runCli} from '../support/cli.ts'
import {createSampleTree} from '../support/sample-tree.ts'
import {useTemporaryDirectory} from '../support/temporary-directory.ts'

interface ErrorEnvelope {
  readonly status: number
  readonly error: {readonly code: string; readonly message: string; readonly hint?: string}
  readonly warnings: readonly string[]
}

describe('the command line', function () {
  this.timeout(60_000)
  const directory = useTemporaryDirectory()

  async function configure(settings: object = {}): Promise<Record<string, string>> {
    const file = join(directory(), 'config.yaml')
    await writeFile(file, JSON.stringify({
      s3: {uri: 's3://backup/barman', endpoint: 'http://127.0.0.1:9', maxAttempts: 1},
      barman: {home: join(directory(), 'home')}, queue: {directory: join(directory(), 'queue')}, state: {directory: join(directory(), 'state')},
      ...settings,
    }))
    return {BARMANS3_CONFIG: file, AWS_ACCESS_KEY_ID: 'key', AWS_SECRET_ACCESS_KEY: 'secret-of-the-test', AWS_EC2_METADATA_DISABLED: 'true'}
  }

  describe('when it is wrong', () => {
    for (const {line, says} of [
      {line: 'wal sync', says: /no server is named/},
      {line: 'wal sync pg --all', says: /not both/},
      {line: 'wal sync pg --nonsense', says: /Nonexistent flag: --nonsense/},
      {line: 'base sync --backup 20261101T020000', says: /--backup needs the server/},
      {line: 'base sync pg --again', says: /--backup/},
      {line: 'base sync pg --queue-only --backup 20261101T020000', says: /--queue-only/},
      {line: 'queue status --state nonsense', says: /--state/},
      {line: 'queue prune --older-than 30', says: /not a duration/},
      {line: 'full-sync', says: /server/},
      {line: 'wal snc', says: /there is no command "wal snc"; did you mean "wal sync"\?/},
    ]) {
      it(`barmans3 ${line}: says so in a few lines, exit 3, nothing on stdout`, async () => {
        const {status, stdout, stderr} = await runCli(line.split(' '), {environment: await configure()})
        expect({status, stdout}).to.deep.equal({status: 3, stdout: ''})
        expect(stderr).to.match(says)
        expect(stderr).not.to.match(/ at .*\.js:\d+/)
        expect(stderr.trim().split('\n').length).to.be.at.most(3)
      })
    }

    it('--json gives one small document on stdout and the same exit code', async () => {
      const {status, stdout} = await runCli(['wal', 'sync', 'pg', '--nonsense', '--json'], {environment: await configure()})
      expect(status).to.equal(3)
      expect(JSON.parse(stdout)).to.deep.equal({status: 3, error: {code: 'USAGE', message: 'Nonexistent flag: --nonsense'}, warnings: []})
    })
  })

  describe('when the configuration is wrong', () => {
    it('names all problems at once, with path and value, exit 3', async () => {
      const environment = await configure({transfer: {concurrency: 0, partSize: '1MiB'}, bas: {}})
      const {status, stdout} = await runCli(['wal', 'sync', 'pg', '--json'], {environment})
      const {error} = JSON.parse(stdout) as ErrorEnvelope
      expect({status, code: error.code}).to.deep.equal({status: 3, code: 'USAGE'})
      expect(error.message).to.contain('transfer.concurrency').and.contain('transfer.partSize').and.contain('bas')
    })

    it('names what a flag says otherwise: --max-bandwidth is transfer.maxBandwidth of one run', async () => {
      for (const command of ['wal sync pg', 'base sync pg', 'full-sync pg']) {
        const {status, stderr} = await runCli([...command.split(' '), '--max-bandwidth', '1KiB'], {environment: await configure()})
        expect(status, command).to.equal(3)
        expect(stderr, command).to.match(/transfer\.maxBandwidth "1KiB" \(flag\): must be a size per second of at least 64KiB/)
      }
    })

    it('says where it looked when no bucket is configured', async () => {
      const {status, stderr} = await runCli(['wal', 'sync', 'pg'], {environment: {BARMANS3_QUEUE_DIRECTORY: directory()}})
      expect(status).to.equal(3)
      expect(stderr).to.match(/no bucket is configured/).and.match(/\/etc\/barmans3\.yaml/)
    })
  })

  describe("when Barman's directory is wrong", () => {
    it('a server that is not there: exit 13, naming the directory, nothing asked of S3', async () => {
      const {status, stderr} = await runCli(['base', 'sync', 'nosuch'], {environment: await configure()})
      expect(status).to.equal(13)
      expect(stderr).to.contain(join(directory(), 'home/nosuch')).and.contain('mounted')
    })

    it('an empty directory, and one that is not of Barman: exit 13', async () => {
      const environment = await configure()
      await mkdir(join(directory(), 'home/empty'), {recursive: true})
      await mkdir(join(directory(), 'home/foreign/photos'), {recursive: true})
      const empty = await runCli(['base', 'sync', 'empty'], {environment})
      expect(empty.status).to.equal(13)
      expect(empty.stderr).to.match(/is empty/)
      const foreign = await runCli(['base', 'sync', 'foreign'], {environment})
      expect(foreign.status).to.equal(13)
      expect(foreign.stderr).to.match(/not of Barman/)
    })

    for (const url of ['s3://bucket/pg', 'gs://bucket/pg', 'https://account.blob.core.windows.net/c/pg']) {
      it(`${url}: says that barmans3 copies local directories, exit 3`, async () => {
        const {status, stderr} = await runCli(['wal', 'sync', 'pg'], {environment: await configure({servers: {pg: {directory: url}}})})
        expect(status).to.equal(3)
        expect(stderr).to.match(/barmans3 copies directories of this host/)
      })
    }
  })

  describe('when the store cannot be used', () => {
    beforeEach(() => createSampleTree(join(directory(), 'home')))

    it('nobody listens: exit 2, the address and the setting named, the secret not', async () => {
      const environment = await configure()
      for (const line of ['wal sync pg', 'base sync pg', 'full-sync pg', 'base ls pg']) {
        const {status, stderr} = await runCli(line.split(' '), {environment})
        expect(status, line).to.equal(2)
        expect(stderr, line).to.contain('127.0.0.1:9').and.contain('s3.endpoint').and.not.contain('secret-of-the-test')
      }
    })

    it('C58: no credentials anywhere: one message that says where it looked, not one per WAL', async () => {
      const {AWS_ACCESS_KEY_ID: _, AWS_SECRET_ACCESS_KEY: __, ...environment} = await configure()
      const {status, stderr} = await runCli(['wal', 'sync', 'pg'], {environment})
      expect(status).to.equal(3)
      expect(stderr.trim().split('\n')).to.have.length(1)
      expect(stderr).to.match(/credentials/).and.match(/AWS_ACCESS_KEY_ID/)
    })
  })

  describe('its surroundings', () => {
    it('C58: works with an empty environment from a directory that was deleted', async () => {
      const {BARMANS3_CONFIG: file = ''} = await configure()
      const gone = await mkdtemp(join(tmpdir(), 'barmans3-gone-'))
      const script = `cd "$1" && rmdir "$1" && exec env -i PATH=/usr/bin:/bin "$2" bin-run status --config "$3" </dev/null`
      const run = new URL('../../bin/run.js', import.meta.url).pathname
      const {status, stdout, stderr} = await runChild('/bin/sh', ['-c', script.replace('bin-run', `"${run}" queue`), 'sh', gone, process.execPath, file])
      await rm(gone, {recursive: true, force: true})
      expect({status, stderr}).to.deep.equal({status: 0, stderr: ''})
      expect(stdout).to.match(/0 waiting/)
    })

    it('a terminal that says it is no columns wide gets plain lines, not one letter on each', async () => {
      createSampleTree(join(directory(), 'home'))
      const {BARMANS3_CONFIG: file = ''} = await configure()
      const run = new URL('../../bin/run.js', import.meta.url).pathname
      const line = `AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret '${process.execPath}' '${run}' wal sync pg --config '${file}'`
      const {status, stdout} = await runChild('/usr/bin/script', ['-qec', `stty cols 0; ${line}`, '/dev/null'])
      expect(status, stdout).to.equal(2)
      expect(stdout).to.match(/^\S+Z error wal sync: /m)
    })

    it('C55: piping into head ends quietly', async () => {
      const {BARMANS3_CONFIG: file = ''} = await configure()
      const run = new URL('../../bin/run.js', import.meta.url).pathname
      const {status, stdout, stderr} = await runChild('/bin/bash', ['-c', `set -o pipefail; "${process.execPath}" "${run}" queue status --json --config "${file}" | head -1`])
      expect({stdout, stderr}).to.deep.equal({stdout: '{\n', stderr: ''})
      expect(status).to.equal(0)
    })

    it('C55: a reader who is slow for longer than ten seconds gets all of it', async () => {
      const {BARMANS3_CONFIG: file = ''} = await configure()
      await mkdir(join(directory(), 'queue/pg'), {recursive: true})
      for (let index = 0; index < 1500; index++) {
        const backupId = `202611${String(1 + (index % 30)).padStart(2, '0')}T${String(100000 + index)}`
        await writeFile(join(directory(), `queue/pg/${backupId}.done`), JSON.stringify({version: 1, server: 'pg', backupId, addedAt: '2026-11-01T00:00:00.000Z', attempts: 1, endedAt: '2026-11-01T00:01:00.000Z'}))
      }
      const run = new URL('../../bin/run.js', import.meta.url).pathname
      const {status, stdout, stderr} = await runChild('/bin/bash', ['-c', `set -o pipefail; "${process.execPath}" "${run}" queue status --json --config "${file}" | (sleep 11; cat)`])
      expect({status, stderr}).to.deep.equal({status: 0, stderr: ''})
      expect(stdout.length).to.be.greaterThan(200_000)
      expect((JSON.parse(stdout) as {result: {counts: {done: number}}}).result.counts.done).to.equal(1500)
    })

    it('C55: a warning is inside the JSON, never before it', async () => {
      const file = join(directory(), 'writable.yaml')
      await writeFile(file, 'queue: {directory: /run/barmans3-queue}\n')
      await chmod(file, 0o644)
      const {status, stdout} = await runCli(['queue', 'status', '--json', '--config', file])
      const envelope = JSON.parse(stdout) as {status: number; warnings: string[]}
      expect(status).to.equal(0)
      expect(envelope.status).to.equal(0)
      expect(envelope.warnings.join()).to.match(/\/run/)
    })

    it('does not run code of the current directory', async () => {
      await mkdir(join(directory(), '.config'))
      for (const name of ['.config/config.js', '.config/config.mjs', '.config/config.ts', 'barmans3.config.js', '.barmans3rc.js']) {
        await writeFile(join(directory(), name), 'throw new Error("HOSTILE CODE RAN")\n')
      }
      const {status, stdout, stderr} = await runCli(['queue', 'status'], {environment: await configure(), cwd: directory()})
      expect({status, stderr}).to.deep.equal({status: 0, stderr: ''})
      expect(stdout).to.match(/0 waiting/)
    })
  })
})

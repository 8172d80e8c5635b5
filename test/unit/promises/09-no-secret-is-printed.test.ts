import {chmod, mkdir, readdir, readFile, writeFile} from 'node:fs/promises'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {expect} from 'chai'
import {runCli} from '../../support/cli.ts'
import {createSampleTree} from '../../support/sample-tree.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

const SECRETS = ['wJalrXUtnFEMIsecret', 'proxy-pass-word', 'REDACTED', 'session-token-value']

async function readAll(directory: string): Promise<string> {
  let text = ''
  for (const entry of await readdir(directory, {recursive: true, withFileTypes: true})) {
    if (entry.isFile()) text += await readFile(join(entry.parentPath, entry.name), 'latin1')
  }
  return text
}

describe('promise 9: no secret is printed or stored', function () {
  this.timeout(120_000)
  const use = useTemporaryDirectory()

  it("neither Barman's passwords nor S3's keys nor the proxy's, whatever fails", async () => {
    const answer = fileURLToPath(new URL('../../fixtures/barman/barman-3.19.1-postgres/json/show-servers.json', import.meta.url))
    const text = await readFile(answer, 'utf8')
    expect(text).to.contain('password=REDACTED')
    const home = join(use(), 'home')
    createSampleTree(home, {serverName: 's_a-pg'})
    await writeFile(join(use(), 'answer.json'), text.replaceAll('/var/lib/barman', home))
    const barman = join(use(), 'barman')
    await writeFile(barman, `#!/bin/sh\necho 'connection to "password=REDACTED host=x" failed' >&2\ncat ${join(use(), 'answer.json')}\n`)
    await chmod(barman, 0o755)
    await mkdir(join(use(), 'state'))
    await writeFile(join(use(), 'config.yaml'), JSON.stringify({
      s3: {uri: 's3://bucket/p', endpoint: 'http://127.0.0.1:9', maxAttempts: 1}, barman: {command: barman},
      queue: {directory: join(use(), 'queue')}, state: {directory: join(use(), 'state')},
    }))
    const environment = {
      BARMANS3_CONFIG: join(use(), 'config.yaml'), AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE', AWS_SECRET_ACCESS_KEY: SECRETS[0], AWS_SESSION_TOKEN: SECRETS[3],
    }
    let said = ''
    for (const line of ['wal sync s_a-pg', 'wal sync --all', 'base sync', 'base ls --json', 'full-sync s_a-pg --json', 'wal sync nosuch', 'queue status']) {
      const {stdout, stderr} = await runCli(line.split(' '), {environment})
      said += stdout + stderr
    }
    const behindProxy = await runCli(['wal', 'sync', 's_a-pg'], {environment: {...environment, http_proxy: `http://user:${SECRETS[1]}@127.0.0.1:9`, HTTP_PROXY: `http://user:${SECRETS[1]}@127.0.0.1:9`}})
    said += behindProxy.stdout + behindProxy.stderr
    await writeFile(barman, '#!/bin/sh\necho "FATAL: password=REDACTED is wrong" >&2\nexit 1\n')
    const failing = await runCli(['wal', 'sync', 's_a-pg', '--json'], {environment})
    said += failing.stdout + failing.stderr
    expect(said).to.match(/127\.0\.0\.1:9/)
    const stored = (await readAll(join(use(), 'state')))
    for (const secret of SECRETS) {
      expect(said, secret).not.to.contain(secret)
      expect(stored, secret).not.to.contain(secret)
    }
  })
})

/**
 * Where the command lines of the documentation run: a directory that stands for `/`, on a real S3 server with the bucket
 * `backup`. This is the documented substitution; what a page says runs unchanged but for it:
 *
 * - `/etc/…`, `/var/…`, `/opt/…`, `/srv/…`, `/usr/local/bin/…` and `~barman` lie below that directory,
 * - `sudo -u barman` runs the command as the test's own user, and `install`, `chown`, `chgrp` set no owner,
 * - the S3 server's address, the places of queue and state, and Barman's program and configuration come from the environment;
 *   Barman is the real one and knows `main-server`, but its PostgreSQL is not there,
 * - a `yaml` block that begins with `# /etc/barmans3.yaml` is written there, an `ini` block with `# /etc/barman.d/…` or
 *   `# ~barman/.aws/credentials` likewise, with the keys of the server.
 */
import type {Context} from 'mocha'
import {chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync} from 'node:fs'
import {tmpdir, userInfo} from 'node:os'
import {join} from 'node:path'
import {runChild, type ChildExit} from './child.ts'
import {parseBlocks, projectDirectory, readPage, type DocBlock} from './doc-pages.ts'
import {awsCliDirectory, barmanEnvironment} from '../../scripts/test-cache.js'
import {createSampleTree, type SampleTree, type SampleTreeOptions} from './sample-tree.ts'
import {startServer, type TestServer} from './s3-servers.ts'

export const BUCKET = 'backup'
const BARMAN = join(barmanEnvironment('3.19.1'), 'bin/barman')
const PLACES = /(?<![\w.~-])\/(?=(?:etc|var|opt|srv|usr\/local\/bin)(?:[/:\s]|$))|(?<![\w.:-])~barman(?=\/|\s|$)/gm

export interface DocSandbox {
  readonly root: string
  readonly server: TestServer
  readonly tree: SampleTree
  /** A text of the documentation with the paths of this sandbox. */
  place(text: string): string
  /** The environment of a login shell of user barman here. */
  readonly environment: Readonly<Record<string, string>>
  /** As `environment` without anything a cron job has not: settings stand for the files they would come from. */
  readonly cronEnvironment: Readonly<Record<string, string>>
  /** Runs a shell script that holds such a text. */
  runScript(script: string, environment?: Readonly<Record<string, string>>): Promise<ChildExit>
  /** Runs all `sh` blocks of a page in one shell, in order, after writing the files that stand before them. */
  runPage(page: string): Promise<ChildExit>
  remove(): Promise<void>
}

/** Skips tests, loudly, where the programs that the pages take for granted are not installed and CI is not set. */
export function requirePrograms(context: Context): void {
  const missing = [join(awsCliDirectory(), 'bin/aws'), BARMAN].filter((path) => !existsSync(path))
  if (missing.length === 0 || process.env.CI) return
  process.stderr.write(`\n*** SKIPPED: there is no ${missing.join(', no ')}: run node scripts/setup-tests.js\n\n`)
  context.skip()
}

/** Starts SeaweedFS, makes a sample tree of `main-server` with two backups, and the programs the pages take for granted. */
export async function openDocSandbox(options: SampleTreeOptions = {}): Promise<DocSandbox> {
  const root = mkdtempSync(join(tmpdir(), 'barmans3-docs-'))
  const server = await startServer('weed')
  await server.createBucket(BUCKET)
  const home = join(root, 'home/barman')
  const tree = createSampleTree(join(root, 'var/lib/barman'), {
    serverName: 'main-server', backup: {id: '20261101T020000', name: 'before barmans3'}, ...options,
  })
  tree.addBackup({id: '20261102T020000', name: 'nightly'})
  for (const name of ['bin', 'etc', 'usr/local/bin', 'var/log', 'srv', 'home/barman', 'etc/cron.d', 'etc/barman.d', 'opt/barmans3']) mkdirSync(join(root, name), {recursive: true})
  symlinkSync(process.execPath, join(root, 'usr/local/bin/node'))
  symlinkSync(join(projectDirectory, 'bin/run.js'), join(root, 'usr/local/bin/barmans3'))
  writeFileSync(join(root, 'bin/sudo'), '#!/bin/sh\n[ "$1" = -u ] && shift 2\nexec "$@"\n')
  writeFileSync(join(root, 'bin/chown'), '#!/bin/sh\n')
  writeFileSync(join(root, 'bin/chgrp'), '#!/bin/sh\n')
  writeFileSync(join(root, 'bin/install'), INSTALL)
  writeFileSync(join(root, 'bin/aws'), `#!/bin/sh\nPYTHONPATH=${awsCliDirectory()} exec /usr/bin/python3 ${join(awsCliDirectory(), 'bin/aws')} "$@"\n`)
  writeFileSync(join(root, 'bin/barman'), `#!/bin/sh\nexec ${BARMAN} -c ${join(root, 'etc/barman.conf')} "$@"\n`)
  for (const name of ['sudo', 'chown', 'chgrp', 'install', 'aws', 'barman']) chmodSync(join(root, 'bin', name), 0o755)
  writeBarmanConfiguration(root)
  const place = (text: string) => text.replace(PLACES, (found) => (found === '/' ? `${root}/` : home))
  const settings = {
    BARMANS3_S3_ENDPOINT: server.endpoint,
    BARMANS3_QUEUE_DIRECTORY: join(root, 'var/lib/barmans3/queue.d'), BARMANS3_STATE_DIRECTORY: join(root, 'var/lib/barmans3/state'),
    BARMANS3_BARMAN_COMMAND: join(root, 'bin/barman'), BARMANS3_BARMAN_CONFIGURATION: join(root, 'etc/barman.conf'),
    AWS_EC2_METADATA_DISABLED: 'true', NO_PROXY: '127.0.0.1',
  }
  const environment = {
    ...server.environment, ...settings, AWS_ENDPOINT_URL: server.endpoint, HOME: home, TMPDIR: root,
    PATH: [join(root, 'bin'), join(root, 'usr/local/bin'), '/usr/bin', '/bin'].join(':'),
  }
  // cron has no environment; what stands here is read from /etc/barmans3.yaml on a real host.
  const cronEnvironment = {...settings, AWS_REGION: server.region, BARMANS3_CONFIG: join(root, 'etc/barmans3.yaml'), HOME: home, LOGNAME: 'barman', SHELL: '/bin/sh'}
  const runScript = (script: string, env: Readonly<Record<string, string>> = environment) => {
    const file = ['etc/barmans3.yaml', 'opt/barmans3/barmans3.conf'].map((name) => join(root, name)).find((path) => existsSync(path))
    return runChild('/bin/sh', ['-eu', '-c', place(script)], {cwd: root, env: {...(file === undefined ? {} : {BARMANS3_CONFIG: file}), ...env}})
  }
  return {
    root, server, tree, place, environment, cronEnvironment, runScript,
    async runPage(page) {
      const blocks = parseBlocks(readPage(page))
      return await runScript(blocks.map((block) => scriptOf(block, {server, root})).join('\n'))
    },
    async remove() {
      await server.stop()
      rmSync(root, {recursive: true, force: true, maxRetries: 3})
    },
  }
}

/** install(1) without an owner. */
const INSTALL = `#!/bin/sh
set -f
arguments=
while [ $# -gt 0 ]; do
  case "$1" in -o|-g) shift ;; *) arguments="$arguments $1" ;; esac
  shift
done
exec /usr/bin/install $arguments
`

/** A block as a piece of the page's script. A failing line names the block by its line. */
function scriptOf({language, text, line, notRun}: DocBlock, {server, root}: {server: TestServer; root: string}): string {
  if (notRun !== undefined) return ''
  if (language === 'sh') return `echo "=== line ${line}" >&2\n${text}`
  if (language === 'yaml' && text.startsWith('# /etc/barmans3.yaml')) {
    // The old configuration came first in this sandbox, and the new one comes before it from now on.
    return `${writing('/etc/barmans3.yaml', text)}\nexport BARMANS3_CONFIG=${join(root, 'etc/barmans3.yaml')}`
  }
  if (language === 'ini' && text.startsWith('# ~barman/.aws/credentials')) {
    const keys = text.replace('YOUR_KEY_ID', server.accessKeyId).replace('YOUR_SECRET_KEY', server.secretAccessKey)
    return writing('~barman/.aws/credentials', keys)
  }
  const barmanFile = language === 'ini' ? /^# (\/etc\/barman\.d\/\S+\.conf)\n/.exec(text)?.[1] : undefined
  return barmanFile === undefined ? '' : writing(barmanFile, text)
}

/** As Debian's package has it: one file, and one of each server. */
function writeBarmanConfiguration(root: string): void {
  writeFileSync(join(root, 'etc/barman.conf'), [
    '[barman]', `barman_user = ${userInfo().username}`, `barman_home = ${join(root, 'var/lib/barman')}`,
    `configuration_files_directory = ${join(root, 'etc/barman.d')}`, `log_file = ${join(root, 'var/log/barman.log')}`, '',
  ].join('\n'))
  writeFileSync(join(root, 'etc/barman.d/main-server.conf'), [
    '[main-server]', 'description = "Main server"', 'conninfo = host=127.0.0.1 port=1 dbname=postgres', 'backup_method = postgres', 'archiver = on', '',
  ].join('\n'))
}

function writing(path: string, text: string): string {
  return `mkdir -p "$(dirname ${path})"\ncat >${path} <<'END_OF_FILE'\n${text}\nEND_OF_FILE`
}

/** A file of docs/examples. */
export function readExample(name: string): string {
  return readFileSync(join(projectDirectory, 'docs/examples', name), 'utf8')
}

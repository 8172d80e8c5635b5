/** barmans3 as a user has it: the packed tarball with its production packages, where the user of a lab can run it. */
import {execFile} from 'node:child_process'
import {copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync} from 'node:fs'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {promisify} from 'node:util'
import {testCacheDirectory} from '../../scripts/test-cache.js'
import {findTestUser, runAs} from './lab/test-user.ts'
import {removeAtExit} from './temporary-directory.ts'

/** How to start the tool: `spawn(tool.node, [tool.script, …])`. Both paths are absolute and readable for the test user. */
export interface InstalledPackage {
  /** Node as the tests run on it, so that the test user needs none on its PATH. */
  readonly node: string
  /** `bin/run.js` of the unpacked tarball. */
  readonly script: string
}

const project = fileURLToPath(new URL('../../', import.meta.url))
const run = promisify(execFile)

let installed: Promise<InstalledPackage> | undefined

/**
 * Packs the built project and unpacks it beside its production packages, once for each test process; removed when that ends.
 * So the tests see what `files` and `dependencies` of package.json say, a build meanwhile disturbs nobody, and a checkout
 * below a directory that the test user cannot enter (root's home) does not matter. Throws when the project is not built.
 */
export function installPackage(): Promise<InstalledPackage> {
  installed ??= packAndUnpack()
  return installed
}

async function packAndUnpack(): Promise<InstalledPackage> {
  if (!existsSync(join(project, 'dist', 'commands'))) throw new Error('the tool is not built: npm run build')
  const directory = makeDirectory()
  // Without scripts: a build would change dist, which other tests use.
  await run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', directory], {cwd: project})
  const [tarball = ''] = readdirSync(directory)
  await run('tar', ['-xzf', tarball, '--no-same-owner'], {cwd: directory})
  const target = join(directory, 'package')
  await run('cp', ['-R', '--reflink=auto', '--parents', ...productionPackages(), target], {cwd: project})
  await run('chmod', ['-R', 'a+rX', directory])
  return {node: await readableNode(directory), script: join(target, 'bin', 'run.js')}
}

/** In the test cache, which the test user can read: Barman is there, too. */
function makeDirectory(): string {
  const parent = join(testCacheDirectory(), 'installed')
  mkdirSync(parent, {recursive: true})
  for (const name of readdirSync(parent)) {
    const [pid = ''] = name.split('-')
    if (!existsSync(`/proc/${pid}`)) rmSync(join(parent, name), {recursive: true, force: true})
  }
  const directory = mkdtempSync(join(parent, `${process.pid}-`))
  removeAtExit(directory)
  return directory
}

/** Paths of what `npm install --omit=dev` would install, relative to the project; packages inside packages come with them. */
function productionPackages(): string[] {
  interface Lock {
    readonly packages: Readonly<Record<string, {readonly dev?: boolean}>>
  }
  const {packages} = JSON.parse(readFileSync(join(project, 'node_modules', '.package-lock.json'), 'utf8')) as Lock
  return Object.entries(packages).flatMap(([path, {dev}]) => (dev === true || path.split('node_modules/').length > 2 ? [] : [path]))
}

async function readableNode(directory: string): Promise<string> {
  const {code} = await runAs(findTestUser(), process.execPath, ['--version']).catch(() => ({code: -1}))
  if (code === 0) return process.execPath
  const node = join(directory, 'node')
  copyFileSync(process.execPath, node)
  return node
}

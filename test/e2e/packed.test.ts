import {cp, mkdir, readdir, readFile, symlink} from 'node:fs/promises'
import {join} from 'node:path'
import {expect} from 'chai'
import {runChild, type ChildExit} from '../support/child.ts'
import {projectDirectory} from '../support/doc-pages.ts'
import {useTemporaryDirectory} from '../support/temporary-directory.ts'

/**
 * The packed tarball as `npm install -g` unpacks it. The registry is left out: the tarball goes where npm would put it, with
 * the packages that the lock file names, copied from this project.
 */
describe('the packed tarball', function () {
  this.timeout(120_000)
  const directory = useTemporaryDirectory()

  async function run(program: string, parameters: readonly string[], cwd: string): Promise<ChildExit> {
    const path = [join(projectDirectory, 'node_modules/.bin'), process.env.PATH].join(':')
    const result = await runChild(program, parameters, {cwd, env: {PATH: path, HOME: directory()}})
    expect(result.status, `${program} ${parameters.join(' ')}: ${result.stderr}${result.stdout}`).to.equal(0)
    return result
  }

  /** npm pack in a copy: it builds, and the build of this project is in use. */
  async function pack(): Promise<string> {
    const copy = join(directory(), 'project')
    await mkdir(copy)
    const names = ['bin', 'src', 'docs', 'scripts', 'README.md', 'LICENSE', 'package.json', 'tsconfig.json']
    for (const name of names) await cp(join(projectDirectory, name), join(copy, name), {recursive: true})
    await symlink(join(projectDirectory, 'node_modules'), join(copy, 'node_modules'))
    await run('npm', ['pack', '--silent', '--offline'], copy)
    // A manifest of commands that stayed behind would hide new ones.
    expect(await readdir(copy)).not.to.include('oclif.manifest.json')
    return join(copy, 'barmans3-0.1.0.tgz')
  }

  async function unpack(tarball: string): Promise<string> {
    const modules = join(directory(), 'prefix/lib/node_modules')
    const home = join(modules, 'barmans3')
    await mkdir(home, {recursive: true})
    await run('tar', ['xzf', tarball, '--strip-components=1', '-C', home], directory())
    await copyProductionPackages(join(home, 'node_modules'))
    await mkdir(join(directory(), 'prefix/bin'))
    await symlink('../lib/node_modules/barmans3/bin/run.js', join(directory(), 'prefix/bin/barmans3'))
    return home
  }

  it('holds what barmans3 needs and nothing else, and runs where npm installs it', async () => {
    const home = await unpack(await pack())
    expect((await readdir(home)).sort()).to.deep.equal([
      'LICENSE', 'README.md', 'bin', 'dist', 'docs', 'node_modules', 'oclif.manifest.json', 'package.json',
    ])
    const program = join(directory(), 'prefix/bin/barmans3')
    const {version} = JSON.parse(await readFile(join(projectDirectory, 'package.json'), 'utf8')) as {version: string}
    expect((await run(program, ['--version'], '/')).stdout).to.match(new RegExp(`^barmans3/${version.replaceAll('.', '\\.')} linux-`))
    expect((await run(program, ['wal', 'sync', '--help'], '/')).stdout).to.contain('$ barmans3 wal sync')
    const {stdout} = await runChild(program, ['queue', 'status'], {cwd: '/', env: {PATH: process.env.PATH, HOME: directory(), BARMANS3_QUEUE_DIRECTORY: join(directory(), 'queue')}})
    expect(stdout).to.contain('0 waiting, 0 running, 0 done, 0 with an error')
  })

  it('its name is the one that README.md and install.md say', async () => {
    const {name, version} = JSON.parse(await readFile(join(projectDirectory, 'package.json'), 'utf8')) as {name: string; version: string}
    for (const page of ['README.md', 'docs/guide/install.md']) {
      expect(await readFile(join(projectDirectory, page), 'utf8')).to.contain(`npm install -g ./${name}-${version}.tgz`)
    }
  })
})

/** Copies every package that the lock file has for production; development's must not be needed. */
async function copyProductionPackages(to: string): Promise<void> {
  const {packages} = JSON.parse(await readFile(join(projectDirectory, 'package-lock.json'), 'utf8')) as {packages: Record<string, {dev?: boolean}>}
  for (const [path, {dev}] of Object.entries(packages)) {
    const name = /^node_modules\/((?:@[^/]+\/)?[^/]+)$/.exec(path)?.[1]
    if (name === undefined || dev === true) continue
    const from = join(projectDirectory, path)
    if (!(await readdir(from).then(() => true, () => false))) continue
    await mkdir(join(to, name, '..'), {recursive: true})
    await cp(from, join(to, name), {recursive: true})
  }
}

import {cp, mkdir, mkdtemp, readdir, rm, symlink} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {runChild, type ChildExit} from './child.ts'

const project = fileURLToPath(new URL('../../', import.meta.url))

/** barmans3 as a user has it, built into a directory of its own, so that tests can damage it. */
export interface Installation {
  readonly directory: string
  /** Runs `bin/run.js` with exactly this environment beside PATH. */
  run(parameters: readonly string[], environment?: Readonly<Record<string, string>>): Promise<ChildExit>
  remove(): Promise<void>
}

/** Builds `src` of this project; its packages are linked one by one. */
export async function makeInstallation(): Promise<Installation> {
  const directory = await mkdtemp(join(tmpdir(), 'barmans3-installation-'))
  await cp(join(project, 'bin'), join(directory, 'bin'), {recursive: true})
  await cp(join(project, 'package.json'), join(directory, 'package.json'))
  const tsc = join(project, 'node_modules/typescript/bin/tsc')
  const build = await runChild(process.execPath, [tsc, '-p', join(project, 'tsconfig.json'), '--outDir', join(directory, 'dist')])
  if (build.status !== 0) throw new Error(`the build failed:\n${build.stdout}${build.stderr}`)
  await linkPackages(join(project, 'node_modules'), join(directory, 'node_modules'))
  const program = join(directory, 'bin/run.js')
  return {
    directory,
    run: (parameters, environment = {}) => runChild(process.execPath, [program, ...parameters], {
      env: {PATH: process.env['PATH'], ...environment}, cwd: '/',
    }),
    remove: () => rm(directory, {recursive: true, force: true}),
  }
}

/** Links each package (also those with a scope) by itself, so that a test can take single ones away. */
async function linkPackages(from: string, to: string): Promise<void> {
  await mkdir(to)
  for (const name of await readdir(from)) {
    if (name.startsWith('.')) continue
    if (name.startsWith('@')) await linkPackages(join(from, name), join(to, name))
    else await symlink(join(from, name), join(to, name))
  }
}

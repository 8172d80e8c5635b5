/** The built barmans3, in a place where the user of a lab can run it. */

import {cpSync, existsSync, mkdirSync, rmSync, statSync} from 'node:fs'
import {createHash} from 'node:crypto'
import {userInfo} from 'node:os'
import {dirname, join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {testCacheDirectory} from '../../../scripts/test-cache.js'
import type {TestUser} from './test-user.ts'
import {findTestUser, runAs, runAsOrThrow} from './test-user.ts'

/** How to start the tool: `spawn(tool.node, [tool.script, …])`. Both paths are absolute and readable for the test user. */
export interface ToolUnderTest {
  /** Node as the tests run on it, so that the test user needs none on its PATH. */
  readonly node: string
  /** `bin/run.js` of the built tool. */
  readonly script: string
}

let found: Promise<ToolUnderTest> | undefined

/**
 * Returns where the built tool is. A project below a directory that the test user cannot enter (root's home) is copied to the
 * test cache first, once for each test process. Throws when it has not been built.
 */
export function findTool(): Promise<ToolUnderTest> {
  found ??= findOrCopyTool(findTestUser())
  return found
}

async function findOrCopyTool(user: TestUser): Promise<ToolUnderTest> {
  const root = fileURLToPath(new URL('../../../', import.meta.url))
  if (!existsSync(join(root, 'dist'))) throw new Error('the tool is not built: npm run build')
  const here = {node: process.execPath, script: join(root, 'bin', 'run.js')}
  const isReadable = await canRead(user, here.script) && await canRead(user, here.node)
  return isReadable ? here : copyTool(root)
}

async function canRead(user: TestUser, path: string): Promise<boolean> {
  const {code} = await runAs(user, 'test', ['-r', path])
  return code === 0
}

async function copyTool(root: string): Promise<ToolUnderTest> {
  const target = join(testCacheDirectory(), 'tool', createHash('sha256').update(root).digest('hex').slice(0, 12))
  mkdirSync(join(target, 'bin'), {recursive: true})
  for (const name of ['bin', 'dist', 'package.json']) {
    rmSync(join(target, name), {recursive: true, force: true})
    cpSync(join(root, name), join(target, name), {recursive: true})
  }
  const ourselves = {name: userInfo().username, uid: userInfo().uid, gid: userInfo().gid}
  if (installTimeMs(target) < installTimeMs(root)) {
    rmSync(join(target, 'node_modules'), {recursive: true, force: true})
    await runAsOrThrow(ourselves, 'cp', ['-R', '--reflink=auto', join(root, 'node_modules'), join(target, 'node_modules')])
  }
  const node = join(target, 'bin', 'node')
  cpSync(process.execPath, node)
  await runAsOrThrow(ourselves, 'chmod', ['-R', 'a+rX', dirname(target)])
  return {node, script: join(target, 'bin', 'run.js')}
}

/** Time of the last `npm ci` or `npm install` below `directory`; 0 if there was none. */
function installTimeMs(directory: string): number {
  return statSync(join(directory, 'node_modules', '.package-lock.json'), {throwIfNoEntry: false})?.mtimeMs ?? 0
}

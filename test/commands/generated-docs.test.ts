import {cp, mkdir, readdir, readFile, symlink} from 'node:fs/promises'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {expect} from 'chai'
import {runChild} from '../support/child.ts'
import {useTemporaryDirectory} from '../support/temporary-directory.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const COMMANDS = 'docs/reference/commands'

async function readPages(directory: string): Promise<Record<string, string>> {
  const names = (await readdir(directory)).sort()
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await readFile(join(directory, name), 'utf8')])))
}

describe('the generated reference of the commands', () => {
  const directory = useTemporaryDirectory()

  it('is what npm run docs makes of the commands as they are now', async function () {
    this.timeout(30_000)
    const copy = directory()
    for (const name of ['bin', 'dist', 'package.json', 'README.md']) await cp(join(root, name), join(copy, name), {recursive: true})
    await symlink(join(root, 'node_modules'), join(copy, 'node_modules'))
    await mkdir(join(copy, COMMANDS), {recursive: true})
    const {scripts} = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {scripts: {docs: string}}
    const [program, ...parameters] = scripts.docs.split(' ')
    const {status, stderr, stdout} = await runChild(join(root, 'node_modules/.bin', program ?? ''), parameters, {
      cwd: copy, env: {PATH: [join(root, 'node_modules/.bin'), process.env.PATH].join(':'), HOME: copy},
    })
    expect(status, stderr + stdout).to.equal(0)
    expect(await readPages(join(copy, COMMANDS)), 'run npm run docs').to.deep.equal(await readPages(join(root, COMMANDS)))
    expect(await readFile(join(copy, 'README.md'), 'utf8'), 'run npm run docs').to.equal(await readFile(join(root, 'README.md'), 'utf8'))
  })

  it('has a page with every command of ours, and no path of the machine that made it', async () => {
    const pages = await readPages(join(root, COMMANDS))
    expect(Object.keys(pages)).to.include.members(['base.md', 'full-sync.md', 'queue.md', 'wal.md'])
    const text = Object.values(pages).join('')
    for (const command of ['wal sync', 'base sync', 'base ls', 'full-sync', 'queue add', 'queue status', 'queue retry', 'queue prune']) {
      expect(text).to.contain(`## \`barmans3 ${command}`)
    }
    expect(text).not.to.contain(root.replace(/\/$/, ''))
  })
})

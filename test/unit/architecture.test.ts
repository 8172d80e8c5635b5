import {execFile} from 'node:child_process'
import {fileURLToPath} from 'node:url'
import {promisify} from 'node:util'
import {expect} from 'chai'

const root = fileURLToPath(new URL('../../', import.meta.url))

interface Cruise {
  readonly summary: {readonly violations: readonly {rule: {name: string}; from: string; to: string}[]; readonly totalCruised: number}
}

describe('the layers', () => {
  it('import only what lies below them, without a circle', async function () {
    this.timeout(60_000)
    const {stdout} = await promisify(execFile)(
      process.execPath, ['node_modules/.bin/depcruise', '--config', '.dependency-cruiser.cjs', '--output-type', 'json', 'src'],
      {cwd: root, maxBuffer: 64 * 1024 * 1024},
    ).catch((error: {stdout: string}) => error)
    const {summary} = JSON.parse(stdout) as Cruise
    expect(summary.violations.map(({rule, from, to}) => `${rule.name}: ${from} → ${to}`)).to.deep.equal([])
    // A parser that understands nothing would find nothing.
    expect(summary.totalCruised).to.be.greaterThan(100)
  })

  it('keep each source file within 300 lines', async () => {
    const {readdir, readFile} = await import('node:fs/promises')
    const names = (await readdir(`${root}src`, {recursive: true})).filter((name) => name.endsWith('.ts'))
    const lengths = await Promise.all(names.map(async (name) => ({name, lines: (await readFile(`${root}src/${name}`, 'utf8')).split('\n').length - 1})))
    expect(lengths.filter(({lines}) => lines > 300).map(({name, lines}) => `${name}: ${lines}`)).to.deep.equal([])
    expect(names.length).to.be.greaterThan(100)
  })
})

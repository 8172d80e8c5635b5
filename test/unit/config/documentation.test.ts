import {mkdtemp, readFile, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {expect} from 'chai'
import {LEGACY_KEYS} from '../../../src/lib/config/legacy-conf.ts'
import type {LoadedConfig} from '../../../src/lib/config/load.ts'
import {loadConfig} from '../../../src/lib/config/load.ts'
import {SETTINGS} from '../../../src/lib/config/settings.ts'

describe('docs/reference/configuration.md', () => {
  let root: string
  let page: string
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'barmans3-docs-'))
    page = await readFile(new URL('../../../docs/reference/configuration.md', import.meta.url), 'utf8')
  })
  after(() => rm(root, {recursive: true, force: true}))

  /** The rows `| \`setting\` | meaning | default | environment |` of the tables. */
  function rows(): {path: string; fallback: string; environment: string}[] {
    const lines = page.split('\n').filter((line) => /^\| `(s3|barman|servers|base|transfer|queue|state)\./.test(line))
    return lines.map((line) => {
      const [, path = '', , fallback = '', environment = ''] = line.split('|').map((cell) => cell.trim())
      return {path: path.replaceAll('`', ''), fallback, environment}
    })
  }

  it('has one row for each setting, in the order of the table in the code, and no other', () => {
    expect(rows().map(({path}) => path)).to.deep.equal(SETTINGS.map(({path}) => path))
  })

  it('names the environment variable and the default of each setting', () => {
    for (const [index, setting] of SETTINGS.entries()) {
      const row = rows()[index]
      expect(row?.environment, setting.path).to.equal(setting.environment === undefined ? '' : `\`${setting.environment}\``)
      if (setting.default !== undefined) expect(row?.fallback, setting.path).to.equal(`\`${setting.default}\``)
    }
  })

  it('maps the keys of the old file as the code does', () => {
    for (const [key, path] of LEGACY_KEYS) expect(page).to.include(`| \`${key}\` | \`${path}\` |`)
  })

  it('has only examples that load without a warning, and the old file gives the same as the new one beside it', async () => {
    const examples = [...page.matchAll(/^```(yaml|sh)\n(.*?)^```$/gms)]
    expect(examples.length).to.be.greaterThan(5)
    const loaded: LoadedConfig[] = []
    for (const [index, [, language, text = '']] of examples.entries()) {
      const configFile = join(root, `${index}.${language === 'sh' ? 'conf' : 'yaml'}`)
      await writeFile(configFile, text)
      loaded.push(await loadConfig({configFile, environment: {}}))
    }
    expect(loaded.flatMap(({warnings}) => warnings)).to.deep.equal([])
    expect(loaded.at(-1)?.config).to.deep.equal(loaded.at(-2)?.config)
  })
})

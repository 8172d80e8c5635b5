import {readdir, readFile} from 'node:fs/promises'
import {join} from 'node:path'
import {Config} from '@oclif/core'
import {expect} from 'chai'
import {listAllPages, projectDirectory, readPage} from '../support/doc-pages.ts'

interface Line {
  readonly place: string
  readonly text: string
}

/** What stands behind `barmans3` up to the end of the literal, code span or sentence it is in. */
function linesIn(place: string, text: string): Line[] {
  return [...text.matchAll(/(?:barmans3|<%= config\.bin %>) ((?:base|wal|queue|full-sync)\b[^`'"\n|;:,]*)/g)].map((match) => ({place, text: match[1] ?? ''}))
}

describe('command lines in hints, examples and pages', () => {
  it('name commands and flags that there are', async () => {
    const config = await Config.load({root: projectDirectory})
    const commands = new Map(config.commands.filter(({pluginName}) => pluginName === 'barmans3').map(({id, flags}) => [id.replaceAll(':', ' '), Object.keys(flags)]))
    const sources = (await readdir(join(projectDirectory, 'src'), {recursive: true})).filter((name) => name.endsWith('.ts'))
    const lines = [
      ...(await Promise.all(sources.map(async (name) => linesIn(name, await readFile(join(projectDirectory, 'src', name), 'utf8'))))).flat(),
      // Commands of later versions are named in decisions and in the one sentence on restoring; a topic alone heads its page.
      ...listAllPages().filter((page) => !page.startsWith('docs/adr/')).flatMap((page) => linesIn(page, readPage(page))),
    ].filter(({text}) => !/^(base restore|wal get)\b/.test(text) && !/^(base|wal|queue)\s*$/.test(text))
    const wrong = lines.flatMap(({place, text}) => {
      const [first = '', second = ''] = text.trim().split(/\s+/)
      const flags = commands.get(first) ?? commands.get(`${first} ${second}`)
      if (!flags) return [`${place}: there is no barmans3 ${text}`]
      return [...text.matchAll(/ --([a-z][a-z0-9-]*)/g)].flatMap(([, flag = '']) => (flags.includes(flag) || ['help', 'json'].includes(flag) ? [] : [`${place}: ${text}: no --${flag}`]))
    })
    expect(wrong).to.deep.equal([])
    // A pattern that matches nothing would find nothing.
    expect(lines.length).to.be.greaterThan(60)
  })
})

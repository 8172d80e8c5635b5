/** What the pages of README.md and docs/ tell people to type: their fenced blocks, in order. */
import {readdirSync, readFileSync} from 'node:fs'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'

export const projectDirectory = fileURLToPath(new URL('../../', import.meta.url))

export interface DocBlock {
  /** The word behind the fence: `sh`, `yaml`, `text`, … */
  readonly language: string
  readonly text: string
  /** Line of the page where the fence stands, from 1. */
  readonly line: number
  /** The reason of a `<!-- not run: REASON -->` right above the fence. */
  readonly notRun: string | undefined
}

/** README.md and every page of docs/guide, relative to the project. */
export function listUserPages(): string[] {
  return ['README.md', ...readdirSync(join(projectDirectory, 'docs/guide')).sort().map((name) => `docs/guide/${name}`)]
}

/** Every Markdown page of the project that people read. */
export function listAllPages(): string[] {
  const names = readdirSync(join(projectDirectory, 'docs'), {recursive: true, encoding: 'utf8'})
  return ['README.md', 'CONTRIBUTING.md', ...names.filter((name) => name.endsWith('.md')).sort().map((name) => `docs/${name}`)]
}

export function readPage(page: string): string {
  return readFileSync(join(projectDirectory, page), 'utf8')
}

/** The fenced blocks of a page. Throws for a fence that is never closed. */
export function parseBlocks(text: string): DocBlock[] {
  const lines = text.split('\n')
  const blocks: DocBlock[] = []
  for (let index = 0; index < lines.length; index++) {
    const language = /^```(\S*)$/.exec(lines[index] ?? '')?.[1]
    if (language === undefined) continue
    const end = lines.indexOf('```', index + 1)
    if (end < 0) throw new Error(`the fence of line ${index + 1} is never closed`)
    const notRun = /^<!-- not run: (.+) -->$/.exec(lines[index - 1] ?? '')?.[1]
    blocks.push({language, text: lines.slice(index + 1, end).join('\n'), line: index + 1, notRun})
    index = end
  }
  return blocks
}

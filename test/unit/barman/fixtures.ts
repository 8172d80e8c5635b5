import {readdirSync, readFileSync} from 'node:fs'
import path from 'node:path'

/** Real files of one Barman installation each: test/fixtures/barman/<lab>/{server,json,hooks,barman.conf}. */
export const FIXTURES = path.join(import.meta.dirname, '../../fixtures/barman')

export const LABS: readonly string[] = readdirSync(FIXTURES).filter((name) => name.startsWith('barman-')).sort()

export function labPath(lab: string, ...parts: readonly string[]): string {
  return path.join(FIXTURES, lab, ...parts)
}

export function readLabText(lab: string, ...parts: readonly string[]): string {
  return readFileSync(labPath(lab, ...parts), 'utf8')
}

/** Every file of a lab below `server/`, as paths relative to it. */
export function serverFiles(lab: string): readonly string[] {
  const names = readdirSync(labPath(lab, 'server'), {recursive: true, withFileTypes: true})
  return names
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(labPath(lab, 'server'), path.join(entry.parentPath, entry.name)))
    .sort()
}

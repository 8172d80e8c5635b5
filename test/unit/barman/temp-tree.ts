import {cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs'
import {tmpdir} from 'node:os'
import path from 'node:path'
import {serverFromDirectories} from '../../../src/lib/barman/server-directories.ts'
import type {BarmanServer} from '../../../src/lib/barman/server-directories.ts'
import {labPath} from './fixtures.ts'

/** A server directory of its own for each test, below a temporary barman_home. */
export interface TempTree {
  readonly home: string
  readonly server: BarmanServer
  /** Writes a file below the server directory, with the directories above it. Returns its path. */
  write(relativePath: string, content?: string | Buffer): string
  mkdir(relativePath: string): string
  remove(): void
}

/** Makes one, with base/, wals/ and meta/. */
export function makeTempTree(name = 'pg'): TempTree {
  const tree = emptyTree(name)
  for (const directory of ['base', 'wals', 'meta']) tree.mkdir(directory)
  return tree
}

/** Makes one from the files of a lab, with `data/` for each of the named backups. */
export function copyLab(lab: string, idsWithData: readonly string[] = []): TempTree {
  const tree = emptyTree('pg')
  cpSync(labPath(lab, 'server'), tree.server.directory, {recursive: true})
  for (const directory of ['base', 'wals', 'meta']) tree.mkdir(directory)
  for (const id of idsWithData) tree.mkdir(`base/${id}/data`)
  return tree
}

function emptyTree(name: string): TempTree {
  const home = mkdtempSync(path.join(tmpdir(), 'barmans3-barman-'))
  const directory = path.join(home, name)
  mkdirSync(directory)
  const mkdir = (relativePath: string) => {
    mkdirSync(path.join(directory, relativePath), {recursive: true})
    return path.join(directory, relativePath)
  }
  return {
    home,
    server: serverFromDirectories(name, {directory, lockDirectory: home}),
    write(relativePath, content = '') {
      const file = path.join(directory, relativePath)
      mkdirSync(path.dirname(file), {recursive: true})
      writeFileSync(file, content)
      return file
    },
    mkdir,
    remove: () => rmSync(home, {recursive: true, force: true}),
  }
}

/** A backup.info with these fields; what is not given is not in it, but for the status. */
export function infoText(fields: Readonly<Record<string, string>> = {}): string {
  const all = {status: 'DONE', ...fields}
  return Object.entries(all).sort(([left], [right]) => (left < right ? -1 : 1)).map(([key, value]) => `${key}=${value}\n`).join('')
}

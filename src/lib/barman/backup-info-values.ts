import {parseBackupId} from './backup-id.ts'
import type {BackupId} from './backup-id.ts'
import {parsePythonLiteral} from './python-literal.ts'
import type {PythonLiteral} from './python-literal.ts'

/** One tablespace of a backup. Its files lie in `base/<id>/<oid>/`. */
export interface Tablespace {
  readonly name: string
  readonly oid: number
  /** Where it was on the PostgreSQL host. */
  readonly location: string
}

/** How often a value may have been quoted: passive nodes quote once more what the primary had quoted. */
const MAX_QUOTING = 4

/** `text` without the quotes of `repr`, however often they were put around it; unquoted text comes back as it is. */
export function unquote(text: string): string {
  let current = text
  for (let layer = 0; layer < MAX_QUOTING && /^[uUbB]?['"]/.test(current); layer++) {
    const value = parsePythonLiteral(current)
    if (typeof value !== 'string') break
    current = value
  }
  return current
}

/** `tablespaces`: a list of `(name, oid, location)` (barman: `output_tablespace_list`); undefined when it is not one. */
export function parseTablespaces(text: string): readonly Tablespace[] | undefined {
  const value = parsePythonLiteral(text)
  if (value === null) return []
  if (!isSequence(value)) return undefined
  const tablespaces = value.map((item) => toTablespace(item))
  return tablespaces.every((tablespace) => tablespace !== undefined) ? tablespaces : undefined
}

/** Backup ids with commas between (barman: `dump_backup_ids`), or a list of quoted ones; undefined when it is neither. */
export function parseBackupIds(text: string): readonly BackupId[] | undefined {
  const plain = unquote(text)
  const literal = /^[[(]/.test(plain) ? parsePythonLiteral(plain) : undefined
  const parts: readonly unknown[] = isSequence(literal) ? literal : plain.split(',').map((part) => part.trim())
  const ids = parts.map((part) => (typeof part === 'string' ? parseBackupId(part) : undefined))
  return ids.every((id) => id !== undefined) ? ids : undefined
}

/** A whole number that is not negative and that JavaScript holds exactly, else undefined. */
export function parseCount(text: string): number | undefined {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(value) ? value : undefined
}

function toTablespace(item: PythonLiteral): Tablespace | undefined {
  if (!isSequence(item)) return undefined
  const [name, oid, location] = item
  const number = typeof oid === 'string' ? parseCount(oid) : oid
  if (typeof name !== 'string' || typeof number !== 'number' || typeof location !== 'string') return undefined
  return Number.isSafeInteger(number) && number >= 0 ? {name, oid: number, location} : undefined
}

function isSequence(value: PythonLiteral | undefined): value is readonly PythonLiteral[] {
  return Array.isArray(value)
}

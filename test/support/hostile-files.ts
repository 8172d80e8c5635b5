/** Files with the worst names that a file system takes, for a backup of a sample tree. */
import {execFileSync} from 'node:child_process'
import {createHash} from 'node:crypto'
import {chmodSync, lutimesSync, mkdirSync, rmSync, symlinkSync, writeFileSync} from 'node:fs'
import {dirname} from 'node:path'

/** Too large for a pack. */
const LARGE_BYTES = 140 * 1024

/** Parts of a path, one character per byte. */
const NAMES = [
  'plain', 'plain.zst', 'two  spaces', ' before and behind ', "it's", 'say "no"', 'line\nbreak', 'line feeds at the end\n\n', '\n', 'back\\slash', '\\n',
  '-rf', '--help', '-', '50%', 'a%5Cb', '%2Ezst', '$(touch ran)', '`touch ran`', '${p}', '; touch ran #', '* ?[a]', '~', '!!', '{}', '@file', 'tab\tand\rmore\x01\x7f',
  utf8('ünïcödé €'), utf8('c1 \u0085 control'), utf8('e\u0301'), 'no utf8 \xff\xfe', 'no utf8 \xe9\n', utf8('\u2028'), 'x'.repeat(255), '.hidden', '...', "'", '"', '\\',
]

function utf8(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}

/** The file system's form of a path of bytes. */
function raw(path: string): Buffer {
  return Buffer.from(path, 'latin1')
}

/** Compresses to about a half. */
function content(sizeBytes: number, salt: string): Buffer {
  const bytes = Buffer.alloc(sizeBytes)
  for (let position = 0; position < sizeBytes; position += 64) createHash('sha256').update(`${salt}${position}`).digest().copy(bytes, position)
  return bytes
}

/**
 * Puts the names into the backup `id` at `root`: as small and large files, directories, links; with times before 1970 and
 * modes that keep the owner out. A third of the large files differ from backup to backup. PostgreSQL's list of the files goes.
 */
export function addHostileFiles(root: string, id: string): void {
  const put = (path: string, bytes: Buffer, mode = 0o600, time = 1_700_000_000.5) => {
    mkdirSync(raw(dirname(path)), {recursive: true})
    writeFileSync(raw(path), bytes)
    chmodSync(raw(path), mode)
    lutimesSync(raw(path), time, time)
  }
  for (const [index, name] of NAMES.entries()) {
    const salt = index % 3 === 0 ? `${id} ${index}` : String(index)
    put(`${root}/small/${name}`, Buffer.from(`small ${index}`), [0o600, 0o640, 0o400, 0o755][index % 4], index / 8)
    if (index % 2 === 0 || /[^ -~]/.test(name)) put(`${root}/large/${name}`, content(LARGE_BYTES, salt), [0o600, 0o440][index % 2], 1_700_000_000 + index / 8)
    put(`${root}/directories/${name}/${name}`, Buffer.from(name, 'latin1'))
    mkdirSync(raw(`${root}/empty/${name}`), {recursive: true})
    mkdirSync(`${root}/links`, {recursive: true})
    symlinkSync(raw(name), raw(`${root}/links/${name}`))
    lutimesSync(raw(`${root}/links/${name}`), 1_600_000_000 + index, 1_600_000_000 + index)
  }
  put(`${root}/${'deep/'.repeat(100)}small`, Buffer.from('deep'))
  put(`${root}/${'deep/'.repeat(100)}large`, content(LARGE_BYTES, 'deep'))
  put(`${root}/packs/0001.tar`, content(LARGE_BYTES, 'no pack'))
  put(`${root}/packs/0002.tar`, Buffer.from('no pack either'))
  put(`${root}/large/noise`, Buffer.concat(Array.from({length: 3000}, (_, index) => createHash('sha512').update(`${index}`).digest())))
  put(`${root}/large/frames`, content(17 * 1024 ** 2, 'frames'))
  put(`${root}/empty file`, Buffer.alloc(0))
  // More than a pack holds.
  for (let index = 0; index < 140; index++) put(`${root}/many/${index}`, content(120 * 1024, `many ${index}`))
  symlinkSync('/nowhere/'.repeat(30), `${root}/links/long`)
  symlinkSync('../PG_VERSION', `${root}/data/pg_tblspc/no tablespace 16385`)
  for (const [time, name] of [['-1.25', 'small/plain'], ['-1000000000.000000001', 'large/plain'], ['1700000000.123456789', 'small'], ['0.000000001', 'large/it\'s'], ['1', 'empty/plain']]) {
    execFileSync('touch', ['-d', `@${time}`, `${root}/${name}`])
  }
  chmodSync(`${root}/directories/-rf`, 0o500)
  chmodSync(`${root}/empty/plain`, 0o750)
  rmSync(`${root}/data/backup_manifest`)
}

/** Every path with type, mode, time in nanoseconds, and of links the target, relative to the tree where it leads into it. */
export function listTree(root: string): string[] {
  const text = execFileSync('find', [root, '-printf', '%P\\0%y %m %T@ %l\\0\\0'], {encoding: 'latin1', maxBuffer: 16 * 1024 ** 2})
  return text.split('\0\0').map((line) => line.replaceAll(root, '')).sort()
}

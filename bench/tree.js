// A synthetic Barman home with one server, as big as a row needs it: base backups, hard-linked to the one before as
// reuse_backup = link does it, and WAL. Everything in it is two days old. Real trees come from real Barman; this one is for
// sizes that real ones do not have on a test machine.

import {
  chmodSync, closeSync, ftruncateSync, linkSync, lutimesSync, mkdirSync, openSync, readdirSync, writeFileSync, writeSync,
} from 'node:fs'
import {dirname, join} from 'node:path'
import {spawnSync} from 'node:child_process'
import {Content} from './content.js'

export const SERVER = 'main-server'
const NONE = {count: 0, sizeBytes: 0}
const SYSTEM_ID = '7300000000000000001'
const SEGMENT_BYTES = 16 * 1024 ** 2
const SEGMENTS_PER_LOG = 0x1_0000_0000 / SEGMENT_BYTES
const EMPTY_DIRECTORIES = [
  'pg_notify', 'pg_replslot', 'pg_tblspc', 'pg_wal/archive_status', 'pg_snapshots', 'pg_dynshmem', 'pg_twophase',
]

/** One Barman home below a directory, and the steps that fill it. */
export class BarmanTree {
  /** Barman's barman_home. */
  home
  serverDirectory
  #content
  #oldSeconds = Math.floor(Date.now() / 1000) - 2 * 86_400
  #backups = []
  #changed = []

  /** Makes `<directory>/home/<server>`. `content` is a kind of content.js. */
  constructor(directory, {content}) {
    this.home = join(directory, 'home')
    this.serverDirectory = join(this.home, SERVER)
    this.#content = new Content(content)
    for (const name of ['base', 'wals', 'meta', 'incoming', 'streaming', 'errors']) {
      mkdirSync(join(this.serverDirectory, name), {recursive: true})
    }
    writeFileSync(join(this.serverDirectory, 'identity.json'), JSON.stringify({systemid: SYSTEM_ID, version: '15'}))
  }

  /**
   * Adds a finished backup of `small` and `large` files, {count, sizeBytes} each. With `changedEvery` N, only each Nth of
   * the small and of the large files is new and the others are hard links to the backup before.
   * Returns id, directory, and of the backup: files, bytes, newBytes (not hard links) and leastBytes (new and random:
   * whoever sent fewer has not sent it).
   */
  addBackup({small = NONE, large = NONE, changedEvery = 1}) {
    const number = this.#backups.length
    const begin = this.#oldSeconds + number * 3600
    const id = new Date(begin * 1000).toISOString().slice(0, 19).replaceAll(/[-:]/g, '')
    const directory = join(this.serverDirectory, 'base', id)
    for (const name of EMPTY_DIRECTORIES) mkdirSync(join(directory, 'data', name), {recursive: true})
    const randomBefore = this.#content.randomBytes
    const backup = {id, directory, files: 0, bytes: 0, newBytes: 0, leastBytes: 0}
    const previous = this.#backups.at(-1)
    const add = (path, sizeBytes, isLink) => {
      if (isLink) this.#link(join(previous.directory, path), join(directory, path))
      else this.#write(join(directory, path), this.#content.pieces(sizeBytes))
      if (previous && !isLink) this.#changed.push({path: join(directory, path), seconds: begin})
      count(backup, sizeBytes, isLink)
    }
    const isLink = (index) => previous !== undefined && index % changedEvery !== 0
    for (let index = 0; index < small.count; index++) {
      add(`data/base/${16_384 + Math.floor(index / 500)}/${16_400 + index}`, small.sizeBytes, isLink(index))
    }
    for (let index = 0; index < large.count; index++) add(`data/base/5/${90_000 + index}`, large.sizeBytes, isLink(index))
    const label = `START WAL LOCATION: 0/${number + 2}000028 (file ${walName(number + 2)})\n`
    for (const [path, text] of [['PG_VERSION', '15\n'], ['backup_label', label], ['global/pg_control', 'x'.repeat(8192)]]) {
      this.#write(join(directory, 'data', path), [Buffer.from(text)])
      count(backup, text.length, false)
    }
    chmodSync(join(directory, 'data'), 0o700)
    writeFileSync(join(this.serverDirectory, 'meta', `${id}-backup.info`), formatBackupInfo({number, begin, sizeBytes: backup.bytes}))
    this.#backups.push(backup)
    backup.leastBytes = this.#content.randomBytes - randomBefore
    return backup
  }

  /**
   * Adds `count` WAL segments from the first one on. `isSparse` makes them without data on disk and without xlog.db, for
   * comparisons only. Returns directory, segmentBytes, files (xlog.db is one) and bytes of the segments.
   */
  addWals(count, {isSparse = false} = {}) {
    const directory = join(this.serverDirectory, 'wals')
    const names = Array.from({length: count}, (_, index) => walName(index))
    for (const [index, name] of names.entries()) {
      const pieces = isSparse ? [] : this.#content.pieces(SEGMENT_BYTES)
      this.#write(join(directory, name.slice(0, 16), name), pieces, {head: walHead(index), sizeBytes: SEGMENT_BYTES})
    }
    const xlogDb = names.map((name) => `${name}\t${SEGMENT_BYTES}\t${this.#oldSeconds}.00\tNone\tNone\n`)
    if (!isSparse) writeFileSync(join(directory, `${SERVER}-xlog.db`), xlogDb.join(''))
    return {directory, segmentBytes: SEGMENT_BYTES, files: count + (isSparse ? 0 : 1), bytes: count * SEGMENT_BYTES}
  }

  /** Makes everything two days old and sees it written to disk, so that no measurement pays for it. */
  finish() {
    for (const entry of readdirSync(this.serverDirectory, {recursive: true, withFileTypes: true})) {
      lutimesSync(join(entry.parentPath, entry.name), this.#oldSeconds, this.#oldSeconds)
    }
    lutimesSync(this.serverDirectory, this.#oldSeconds, this.#oldSeconds)
    // What changed between two backups has another time, too.
    for (const {path, seconds} of this.#changed) lutimesSync(path, seconds, seconds)
    spawnSync('sync', ['-f', this.serverDirectory])
  }

  /** Writes the pieces, then `head` over their beginning; zeros (no data on disk) up to `sizeBytes`. */
  #write(path, pieces, {head, sizeBytes} = {}) {
    mkdirSync(dirname(path), {recursive: true})
    const file = openSync(path, 'w', 0o600)
    for (const piece of pieces) writeSync(file, piece)
    if (sizeBytes !== undefined) ftruncateSync(file, sizeBytes)
    if (head !== undefined) writeSync(file, head, 0, head.length, 0)
    closeSync(file)
  }

  #link(existing, path) {
    mkdirSync(dirname(path), {recursive: true})
    linkSync(existing, path)
  }
}

function count(backup, sizeBytes, isLink) {
  backup.files++
  backup.bytes += sizeBytes
  if (!isLink) backup.newBytes += sizeBytes
}

/** pg: XLogFileName, timeline 1, segments of 16 MiB. s3null's /__fill makes the same names. */
function walName(segment) {
  return [1, Math.floor(segment / SEGMENTS_PER_LOG), segment % SEGMENTS_PER_LOG]
    .map((part) => part.toString(16).toUpperCase().padStart(8, '0')).join('')
}

/** pg: XLogLongPageHeaderData of PostgreSQL 15, the first 40 bytes of a segment. */
function walHead(segment) {
  const head = Buffer.alloc(40)
  head.writeUInt16LE(0xd1_10, 0)
  head.writeUInt16LE(0x00_02, 2)
  head.writeUInt32LE(1, 4)
  head.writeBigUInt64LE(BigInt(segment) * BigInt(SEGMENT_BYTES), 8)
  head.writeBigUInt64LE(BigInt(SYSTEM_ID), 24)
  head.writeUInt32LE(SEGMENT_BYTES, 32)
  head.writeUInt32LE(8192, 36)
  return head
}

function formatBackupInfo({number, begin, sizeBytes}) {
  const time = (seconds) => `${new Date((begin + seconds) * 1000).toISOString().slice(0, 19).replace('T', ' ')}.000000+00:00`
  const segment = number * 2 + 2
  const hex = (value) => value.toString(16).toUpperCase()
  const fields = {
    backup_label: 'None', begin_offset: 40, begin_time: time(0), begin_wal: walName(segment), begin_xlog: `0/${hex(segment)}000028`,
    children_backup_ids: 'None', compression: 'None', copy_stats: 'None', deduplicated_size: sizeBytes, encryption: 'None',
    end_offset: 256, end_time: time(60), end_wal: walName(segment + 1), end_xlog: `0/${hex(segment + 1)}000100`, error: 'None',
    mode: 'rsync-concurrent', parent_backup_id: 'None', pgdata: '/var/lib/postgresql/15/main', server_name: SERVER, size: sizeBytes,
    status: 'DONE', systemid: SYSTEM_ID, tablespaces: 'None', timeline: 1, version: 150_018, xlog_segment_size: SEGMENT_BYTES,
  }
  return Object.entries(fields).map(([name, value]) => `${name}=${value}\n`).join('')
}

import {execFileSync} from 'node:child_process'
import {mkdirSync, readFileSync, readlinkSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import fc from 'fast-check'
import {backupPathBytes, backupPathFromBytes, backupPathFromText, type BackupPath} from '../../../src/lib/archive/backup-path.ts'
import {PACK_END_BYTES, packHeaderBytes, packMemberBytes, writePackHeader, type PackMember} from '../../../src/lib/archive/pack.ts'
import {useTemporaryDirectory} from '../../support/temporary-directory.ts'

const SECOND = 1_000_000_000n

type Given = Partial<Omit<PackMember, 'path' | 'target'>> & {path: string | Buffer; target?: string; content?: Buffer | string}

function member({path, target, content = '', ...rest}: Given): {member: PackMember; content: Buffer} {
  const bytes = Buffer.from(content)
  return {content: bytes, member: {
    type: 'file', mode: 0o600, mtimeNs: 1_700_000_000n * SECOND, sizeBytes: bytes.length, ...rest,
    path: typeof path === 'string' ? backupPathFromText(path) : backupPathFromBytes(path),
    ...(target === undefined ? {} : {target: backupPathFromText(target)}),
  }}
}

/** A whole pack; memory that was used before, as in a pool. */
function pack(...given: readonly Given[]): Buffer {
  const members = given.map((each) => member(each))
  const sizeBytes = members.reduce((sum, each) => sum + packMemberBytes(each.member), PACK_END_BYTES)
  const memory = Buffer.alloc(sizeBytes, 0xa5)
  let position = 0
  for (const {member: each, content} of members) {
    const begin = writePackHeader(memory, position, each)
    expect(begin - position).to.equal(packHeaderBytes(each))
    content.copy(memory, begin)
    const end = position + packMemberBytes(each)
    memory.fill(0, begin + content.length, end)
    position = end
  }
  memory.fill(0, position)
  expect(memory.length % 512).to.equal(0)
  return memory
}

/** Python's tarfile, an implementation apart from GNU tar's: one line of JSON for each member, names as latin1. */
function readByPython(bytes: Buffer): Record<string, unknown>[] {
  const program = `
import sys, tarfile, json, hashlib
with tarfile.open(fileobj=sys.stdin.buffer, mode='r|', encoding='latin1', ignore_zeros=False) as tar:
    for member in tar:
        content = tar.extractfile(member).read() if member.isreg() else b''
        print(json.dumps({'name': member.name, 'type': member.type.decode(), 'mode': member.mode, 'time': member.mtime, 'size': member.size,
            'link': member.linkname, 'uid': member.uid, 'content': content.decode('latin1'), 'at': member.offset_data}))
`
  const text = execFileSync('python3', ['-c', program], {input: bytes, encoding: 'utf8', maxBuffer: 64 * 1024 ** 2})
  return text.trim().split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as Record<string, unknown>)
}

function list(bytes: Buffer): string[] {
  // No escapes: every name as its bytes.
  const text = execFileSync('tar', ['-t', '--quoting-style=literal', '--show-transformed-names'], {input: bytes, encoding: 'latin1', stdio: ['pipe', 'pipe', 'inherit']})
  return text.split('\n').slice(0, -1)
}

describe('packs', () => {
  const use = useTemporaryDirectory()

  function extract(bytes: Buffer): string {
    const target = join(use(), 'out')
    mkdirSync(target, {recursive: true})
    const stderr = execFileSync('sh', ['-c', 'tar -x -p -f - -C "$0" 2>&1', target], {input: bytes, encoding: 'utf8'})
    expect(stderr).to.equal('')
    return target
  }

  it('of nothing is an empty tar file', () => {
    expect(list(pack())).to.deep.equal([])
  })

  /** A path of so many bytes whose parts are such as a file system takes. */
  function pathOf(bytes: number): string {
    const parts = Math.ceil((bytes + 1) / 201)
    let rest = bytes - (parts - 1)
    return Array.from({length: parts}, (_, index) => {
      const length = Math.ceil(rest / (parts - index))
      rest -= length
      return String.fromCharCode(97 + (index % 26)).repeat(length)
    }).join('/')
  }

  for (const bytes of [1, 99, 100, 101, 155, 156, 255, 256, 511, 512, 513, 4000]) {
    it(`names of ${bytes} bytes, of files, directories and links, are read by tar and by Python`, () => {
      const path = pathOf(bytes)
      expect(path).to.have.length(bytes)
      const whole = pack(
        {path, content: 'first'}, {path: 'after', content: 'second'}, {type: 'directory', path}, {path: 'behind'}, {type: 'symlink', path, target: path}, {path: 'last'},
      )
      expect(list(whole)).to.deep.equal([path, 'after', `${path}/`, 'behind', path, 'last'])
      expect(readByPython(whole).map(({name, type, link, content}) => [name, type, link, content])).to.deep.equal([
        [path, '0', '', 'first'], ['after', '0', '', 'second'], [path, '5', '', ''], ['behind', '0', '', ''], [path, '2', path, ''], ['last', '0', '', ''],
      ])
    })

    it(`a link to ${bytes} bytes is made by tar as it was`, () => {
      const target = pathOf(bytes)
      expect(readlinkSync(join(extract(pack({type: 'symlink', path: 'link', target})), 'link'))).to.equal(target)
    })
  }

  it('a directory whose name fills the field but for its slash', () => {
    for (const bytes of [98, 99, 100]) expect(list(pack({type: 'directory', path: 'd'.repeat(bytes)}, {path: 'x'}))).to.deep.equal([`${'d'.repeat(bytes)}/`, 'x'])
  })

  it('the content begins where the manifest says, and may be cut out with nothing else known', () => {
    const given = [{path: 'a', content: 'one'}, {path: 'x'.repeat(200), content: Buffer.alloc(513, 'b')}, {path: 'empty'}, {path: 'c', content: Buffer.alloc(512, 'c')}]
    const bytes = pack(...given)
    const read = readByPython(bytes)
    let position = 0
    for (const [index, each] of given.entries()) {
      const {member: described, content} = member(each)
      const begin = position + packHeaderBytes(described)
      expect(read[index]).to.include({at: begin, size: content.length})
      expect(bytes.subarray(begin, begin + content.length).equals(content)).to.equal(true)
      position += packMemberBytes(described)
    }
  })

  it('names of any bytes come back as they were', () => {
    const names = [Buffer.from([0x66, 0xff, 0xfe]), Buffer.from('line\nbreak'), Buffer.from('-rf'), Buffer.from(' a '), Buffer.from('ü'), Buffer.from('back\\slash'), Buffer.concat([Buffer.alloc(120, 'l'), Buffer.from([0xe9])])]
    const target = extract(pack(...names.map((path) => ({path, content: path}))))
    for (const name of names) expect(readFileSync(Buffer.concat([Buffer.from(`${target}/`), name])).equals(name)).to.equal(true)
  })

  it('modes keep all their bits and no others, and no owner is told', () => {
    const modes = [0o100600, 0o000, 0o400, 0o600, 0o644, 0o755, 0o4711, 0o2750, 0o1777, 0o7777]
    const read = readByPython(pack(...modes.map((mode) => ({path: mode.toString(8), mode}))))
    expect(read.map(({mode, uid}) => [mode, uid])).to.deep.equal(modes.map((mode) => [mode & 0o7777, 0]))
  })

  it('times are kept to the second; before 1970 it is the epoch, and beyond eleven octal digits the last there is', () => {
    const last = 0o77777777777n
    const times = [
      [1_764_000_000n * SECOND + 999_999_999n, 1_764_000_000n], [0n, 0n], [-500_000_000n, 0n], [-86_400n * SECOND, 0n], [-9_223_372_036n * SECOND, 0n],
      [4_300_000_000n * SECOND, 4_300_000_000n], [last * SECOND, last], [(last + 1n) * SECOND, last], [9_223_372_036n * SECOND, last],
    ] as const
    const bytes = pack(...times.map(([mtimeNs], index) => ({path: String(index), mtimeNs})))
    expect(readByPython(bytes).map(({time}) => time)).to.deep.equal(times.map(([, seconds]) => Number(seconds)))
    expect(list(bytes)).to.have.length(times.length)
  })

  it('the backup itself, empty directories and what is in them keep modes and times', () => {
    const target = extract(pack(
      {type: 'directory', path: '', mode: 0o750}, {type: 'directory', path: 'd', mode: 0o700, mtimeNs: 5n * SECOND}, {type: 'directory', path: 'd/empty', mode: 0o1777},
      {path: 'd/f', content: 'x', mode: 0o640, mtimeNs: 7n * SECOND},
    ))
    const text = execFileSync('find', ['.', '-printf', '%p %m %Ts %y\\n'], {cwd: target, encoding: 'utf8'}).trim().split('\n').sort()
    expect(text).to.deep.equal(['. 750 1700000000 d', './d 700 5 d', './d/empty 1777 1700000000 d', './d/f 640 7 f'])
  })

  it('a file of exactly the largest size that is packed, and one of 0 bytes', () => {
    const content = Buffer.alloc(128 * 1024 - 1, 'z')
    const read = readByPython(pack({path: 'largest', content}, {path: 'zero'}, {path: 'z', content: 'z'}))
    expect(read.map(({name, size}) => [name, size])).to.deep.equal([['largest', content.length], ['zero', 0], ['z', 1]])
  })

  it('whatever the members, Python reads exactly them', () => {
    const names = fc.uint8Array({minLength: 1, maxLength: 150}).map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0 || byte === 0x2f || byte === 0x2e ? 0x61 : byte))))
    const members = fc.array(fc.record({path: names, content: fc.uint8Array({maxLength: 1100}).map((bytes) => Buffer.from(bytes)), mode: fc.integer({min: 0, max: 0o7777})}), {maxLength: 8})
    fc.assert(fc.property(members, (given) => {
      const read = readByPython(pack(...given)).map(({name, mode, content}) => [name, mode, content])
      expect(read).to.deep.equal(given.map(({path, mode, content}) => [path.toString('latin1'), mode, content.toString('latin1')]))
    }), {numRuns: 8})
  })

  it('several packs one behind the other are read with -i, as the format page says', () => {
    const path = join(use(), 'all.tar')
    writeFileSync(path, Buffer.concat([pack({path: 'a'}), pack({path: 'b'})]))
    expect(execFileSync('tar', ['-t', '-i', '-f', path], {encoding: 'utf8'})).to.equal('a\nb\n')
  })

  it('a name is never longer in the pack than its path says', () => {
    const path = 'ü'.repeat(60) as BackupPath
    expect(backupPathBytes(backupPathFromText(path))).to.have.length(120)
    expect(list(pack({path}))).to.deep.equal([Buffer.from(path).toString('latin1')])
  })
})

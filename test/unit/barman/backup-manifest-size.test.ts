import {createHash} from 'node:crypto'
import {closeSync, openSync, readFileSync, writeSync} from 'node:fs'
import path from 'node:path'
import {expect} from 'chai'
import {BackupManifest} from '../../../src/lib/barman/backup-manifest.ts'
import {startModule} from '../../support/child.ts'
import {quickParentDirectory, useTemporaryDirectory} from '../../support/temporary-directory.ts'

const MIB = 1024 * 1024

/** Writes a manifest of so many files, a thousand in each directory, half of them in a tablespace. */
function writeManifest(file: string, count: number, algorithm: 'CRC32C' | 'SHA256'): void {
  const digest = createHash('sha256')
  const descriptor = openSync(file, 'w')
  const write = (text: string) => {
    digest.update(text)
    writeSync(descriptor, text)
  }
  write('{ "PostgreSQL-Backup-Manifest-Version": 1,\n"Files": [')
  let lines: string[] = []
  for (let index = 0; index < count; index++) {
    const root = index % 2000 < 1000 ? 'base' : 'pg_tblspc/16385/PG_15_202209061'
    const checksum = index.toString(16).padStart(algorithm === 'CRC32C' ? 8 : 64, '0')
    const filePath = `${root}/${16384 + Math.floor(index / 1000)}/${index}_fsm`
    lines.push(`${index === 0 ? '' : ','}\n{ "Path": "${filePath}", "Size": ${index * 8192}, `
      + `"Last-Modified": "2026-11-25 13:26:37 GMT", "Checksum-Algorithm": "${algorithm}", "Checksum": "${checksum}" }`)
    if (lines.length < 5000 && index + 1 < count) continue
    write(lines.join(''))
    lines = []
  }
  write('\n],\n"WAL-Ranges": [\n],\n')
  writeSync(descriptor, `"Manifest-Checksum": "${digest.digest('hex')}"}\n`)
  closeSync(descriptor)
}

/** Reads it in a process of its own, checks every second file; the peak of memory is the kernel's count of that process. */
const READ_AND_CHECK = `
  const {readFileSync} = await import('node:fs')
  const {BackupManifest} = await source('lib/barman/backup-manifest.ts')
  const statusKib = (name) => Number.parseInt(readFileSync('/proc/self/status', 'utf8').split(name + ':')[1])
  const before = statusKib('VmRSS')
  const manifest = await BackupManifest.read(process.env.MANIFEST)
  const result = {
    fileCount: manifest.fileCount, peakGrowthBytes: (statusKib('VmHWM') - before) * 1024,
    arrayBytes: process.memoryUsage().arrayBuffers, verdicts: {},
  }
  for (let index = 0; index < manifest.fileCount; index += 2) {
    const root = index % 2000 < 1000 ? 'data/base' : '16385/PG_15_202209061'
    const {verdict} = manifest.check(\`\${root}/\${16384 + Math.floor(index / 1000)}/\${index}_fsm\`, {
      sizeBytes: index * 8192, sha256: index.toString(16).padStart(64, '0'),
      crc32c: Buffer.from(index.toString(16).padStart(8, '0'), 'hex').readUInt32LE(),
    })
    result.verdicts[verdict] = (result.verdicts[verdict] ?? 0) + 1
  }
  console.log(JSON.stringify({...result, missing: manifest.missing(2)}))
`

describe('BackupManifest of a large cluster', function () {
  this.timeout(180_000)
  const directory = useTemporaryDirectory(quickParentDirectory())

  it('promise 8: a million files take less than 120 MiB while they are read, 60 MiB after it, each told apart', async () => {
    const file = path.join(directory(), 'backup_manifest')
    writeManifest(file, 1_000_000, 'CRC32C')
    const {stdout, stderr, status} = await startModule(READ_AND_CHECK, {env: {...process.env, MANIFEST: file}}).exit
    expect(status, stderr).to.equal(0)
    const parsed = JSON.parse(stdout) as {peakGrowthBytes: number; arrayBytes: number}
    const {peakGrowthBytes, arrayBytes, ...result} = parsed
    expect(result).to.deep.equal({
      fileCount: 1_000_000, verdicts: {matches: 500_000},
      missing: {count: 500_000, paths: ['data/base/16384/1_fsm', 'data/base/16384/3_fsm']},
    })
    expect(peakGrowthBytes).to.be.lessThan(120 * MIB)
    expect(arrayBytes).to.be.lessThan(60 * MIB)
  })

  it('is read at the speed of JSON.parse and SHA-256, within a small factor', async () => {
    const file = path.join(directory(), 'backup_manifest')
    writeManifest(file, 100_000, 'SHA256')
    const ours: number[] = []
    const peer: number[] = []
    for (let run = 0; run < 3; run++) {
      const begin = performance.now()
      const bytes = readFileSync(file)
      createHash('sha256').update(bytes).digest()
      const {Files} = JSON.parse(bytes.toString()) as {Files: readonly {Path: string}[]}
      expect(new Map(Files.map((entry) => [entry.Path, entry])).size).to.equal(100_000)
      const middle = performance.now()
      expect((await BackupManifest.read(file))?.fileCount).to.equal(100_000)
      peer.push(middle - begin)
      ours.push(performance.now() - middle)
    }
    expect(Math.min(...ours) / Math.min(...peer)).to.be.lessThan(6)
  })
})

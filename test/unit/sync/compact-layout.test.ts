import {execFileSync} from 'node:child_process'
import {createHash} from 'node:crypto'
import {appendFileSync, linkSync, lstatSync, mkdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, utimesSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import type {ServerContext} from '../../../src/lib/sync/server-context.ts'
import {relativeKeys, useSyncSetting, watchStore, type StoreCall, type SyncSetting} from '../../support/sync-setting.ts'
import {ID, readManifest, record, StoreRefused, sync} from './base-setting.ts'
import {content, expectFaithful, objects} from './faithful.ts'

const MIB = 1024 ** 2
const SECOND = '20261102T020000'
const base = {layout: 'compact', compression: 'zstd', compressionLevel: 3, maxReferenceAgeMs: 30 * 86_400_000} as const
const compact = (changes: Partial<ServerContext> = {}): Partial<ServerContext> => ({base, ...changes})

describe('layout compact', () => {
  const use = useSyncSetting()
  const at = (path: string, id = ID) => join(use().tree.baseDirectory, id, path)

  it('small files go into packs, large ones become objects, and all of it can be read back', async () => {
    const setting = use()
    writeFileSync(at('data/base/1/90001'), content(2 * MIB, 'a'))
    writeFileSync(at('data/base/1/90002'), content(40 * MIB, 'b'))
    writeFileSync(at('data/base/1/90003.gz'), content(MIB, 'c'))
    rmSync(at('data/backup_manifest'))
    expect((await sync(setting, {}, compact())).exitCode).to.equal(0)
    const files = expectFaithful(setting)
    const place = (path: string) => files.find((file) => file.path === path)!
    expect(place('data/PG_VERSION')).to.include({object: `base/${ID}/packs/0001.tar`})
    expect(place('data/base/1/90001')).to.include({object: `base/${ID}/data/base/1/90001.zst`})
    expect(place('data/base/1/90003.gz')).to.include({object: `base/${ID}/data/base/1/90003.gz`})
    expect(objects(setting).get(`base/${ID}/data/base/1/90002.zst`)!.zstd!.offsets).to.have.length(3)
    expect(record(setting)).to.deep.include({layout: 'compact', features: ['packs', 'zstd'], owners: [], vouchers: []})
    const small = files.filter(({offset}) => offset !== undefined)
    expect(small.every(({sizeBytes}) => sizeBytes < 128 * 1024)).to.equal(true)
    expect(relativeKeys(setting).filter((key) => key.includes('/packs/'))).to.deep.equal([`base/${ID}/packs/0001.tar`])
  })

  it('tar, zstd and nothing else bring back the tree: modes, times, empty directories, links, names of any bytes', async () => {
    const setting = use()
    mkdirSync(at(`data/${'long'.repeat(40)}/${'name'.repeat(40)}`), {recursive: true})
    writeFileSync(at(`data/${'long'.repeat(40)}/${'name'.repeat(40)}/file`), 'far down')
    writeFileSync(Buffer.concat([Buffer.from(at('data/')), Buffer.from([0x66, 0xff, 0xfe])]), 'no UTF-8')
    writeFileSync(at('data/line\nbreak'), 'x')
    symlinkSync(`/nowhere/${'deep/'.repeat(40)}`, at('data/link'))
    rmSync(at('data/backup_manifest'))
    expect((await sync(setting, {}, compact())).exitCode).to.equal(0)
    const target = join(setting.root, 'restored')
    mkdirSync(target)
    for (const key of relativeKeys(setting).filter((each) => each.includes('/packs/'))) {
      execFileSync('tar', ['-x', '-p', '-C', target], {input: setting.store.objects.get(setting.keys.absolute(key))!.body})
    }
    for (const file of readManifest(setting).filter((entry) => entry.type === 'file')) {
      if (file.offset !== undefined) continue
      const {body} = setting.store.objects.get(setting.keys.absolute(file.object))!
      writeFileSync(join(target, file.path), file.object.endsWith('.zst') ? execFileSync('zstd', ['-d', '-c'], {input: body, maxBuffer: 64 * MIB}) : body)
    }
    // Files of their own carry neither mode nor time: those are in the manifest.
    execFileSync('diff', ['-r', '--no-dereference', at(''), target])
    const list = (root: string) => execFileSync('find', ['.', '(', '-size', '-129k', '-o', '-not', '-type', 'f', ')', '-printf', '%P\\0%y\\0%m\\0%l\\0%Ts\\n'], {cwd: root, encoding: 'latin1'})
      // Writing the large files has moved the times of their directories.
      .replace(/\0d\0(\d+)\0\0\d+$/gm, '\0d\0$1').split('\n').filter((line) => !line.startsWith('\0')).sort()
    expect(list(target)).to.deep.equal(list(at('')))
  })

  it('thousands of small files take a handful of requests', async () => {
    const setting = use()
    mkdirSync(at('data/many'))
    for (let index = 0; index < 3000; index++) writeFileSync(at(`data/many/${index}`), Buffer.alloc(16 * 1024, `content of ${index}`))
    rmSync(at('data/backup_manifest'))
    expect((await sync(setting, {}, compact())).exitCode).to.equal(0)
    expectFaithful(setting)
    // 3,000 x 16.5 KiB in packs of 16 MiB, one large file of the sample, identity, marker, manifest, backup.info, record.
    expect(setting.store.requestCounts().PutObject).to.be.at.most(4 + 1 + 8)
  })

  it('a pack that the store refuses ends the run, and the next one sends what is missing', async () => {
    const setting = use()
    mkdirSync(at('data/many'))
    for (let index = 0; index < 10_500; index++) writeFileSync(at(`data/many/${index}`), String(index))
    rmSync(at('data/backup_manifest'))
    const isPut = ({method, args}: StoreCall, name: string) => method === 'put' && String(args[0]).endsWith(name)
    let thirdIsThere = () => {}
    const third = new Promise<void>((resolve) => {
      thirdIsThere = resolve
    })
    const store = watchStore(setting.store, {
      before: async (call) => {
        if (!isPut(call, 'packs/0002.tar')) return
        // With directories and links in it.
        await third
        throw new StoreRefused('run')
      },
      after: (call) => {
        if (isPut(call, 'packs/0003.tar')) thirdIsThere()
      },
    })
    expect((await sync(setting, {}, compact({store}))).exitCode).to.equal(1)
    expect(record(setting)).to.equal(undefined)
    const first = relativeKeys(setting).filter((key) => key.includes('/packs/'))
    expect(first).to.deep.equal([`base/${ID}/packs/0001.tar`, `base/${ID}/packs/0003.tar`])
    const puts: string[] = []
    const watched = watchStore(setting.store, {before: ({method, args}) => void (method === 'put' && puts.push(setting.keys.relative(String(args[0]))))})
    expect((await sync(setting, {}, compact({store: watched}))).exitCode).to.equal(0)
    expect(puts.filter((key) => first.includes(key))).to.deep.equal([])
    expectFaithful(setting)
  })

  it('files that do not shrink are stored plain, and with compression none all are', async () => {
    const setting = use()
    const noise = Buffer.concat(Array.from({length: 4096}, (_, index) => createHash('sha512').update(`n${index}`).digest()))
    writeFileSync(at('data/noise'), noise)
    writeFileSync(at('data/large-noise'), Buffer.concat(Array.from({length: 80}, (_, index) => Buffer.concat([Buffer.from([index]), noise]))))
    writeFileSync(at('data/zeros'), Buffer.alloc(3 * MIB))
    rmSync(at('data/backup_manifest'))
    expect((await sync(setting, {}, compact())).exitCode).to.equal(0)
    expectFaithful(setting)
    expect(relativeKeys(setting)).to.include.members([`base/${ID}/data/noise`, `base/${ID}/data/zeros.zst`])
  })

  describe('and the backup after it', () => {
    /** A second backup; `data/base/1/big` and `data/base/1/other` are as large as to be objects. */
    async function prepare({linked}: {linked: boolean}): Promise<SyncSetting> {
      const setting = use()
      for (const name of ['big', 'other']) writeFileSync(at(`data/base/1/${name}`), content(3 * MIB, name))
      writeFileSync(at('data/base/1/huge'), content(18 * MIB, 'huge'))
      rmSync(at('data/backup_manifest'))
      expect((await sync(setting, {}, compact())).exitCode).to.equal(0)
      setting.tree.addBackup({id: SECOND, ...(linked ? {linkTo: ID} : {})})
      rmSync(at('data/backup_manifest', SECOND), {force: true})
      for (const name of ['big', 'other', 'huge']) {
        const path = at(`data/base/1/${name}`, SECOND)
        if (linked) linkSync(at(`data/base/1/${name}`), path)
        else writeFileSync(path, readFileSync(at(`data/base/1/${name}`)))
      }
      return setting
    }

    const owners = (setting: SyncSetting) => Object.fromEntries(
      readManifest(setting, SECOND).flatMap((entry) => (entry.type === 'file' && entry.offset === undefined ? [[entry.path, entry.object.split('/')[1]]] : [])),
    )

    it('refers to hard links without reading them', async () => {
      const setting = await prepare({linked: true})
      const puts = setting.store.requestCounts().PutObject!
      expect((await sync(setting, {}, compact())).exitCode).to.equal(0)
      expectFaithful(setting, SECOND)
      expect(owners(setting)).to.include({'data/base/1/big': ID, 'data/base/1/other': ID, 'data/base/1/huge': ID})
      expect(record(setting, SECOND)).to.deep.include({owners: [ID], vouchers: [ID], features: ['packs', 'references', 'zstd']})
      // A pack, marker, manifest, backup.info, record.
      expect(setting.store.requestCounts().PutObject! - puts).to.be.at.most(6)
      expect(record(setting, SECOND)!.counts.referencedBytes).to.be.greaterThan(0)
    })

    it('refers to equal content of copies, by SHA-256 after reading; what changed with the same size and time is sent', async () => {
      const setting = await prepare({linked: false})
      const path = at('data/base/1/other', SECOND)
      const {atime, mtime} = lstatSync(at('data/base/1/other'))
      writeFileSync(path, content(3 * MIB, 'changed'))
      utimesSync(path, atime, mtime)
      expect((await sync(setting, {}, compact())).exitCode).to.equal(0)
      expectFaithful(setting, SECOND)
      expect(owners(setting)).to.include({'data/base/1/big': ID, 'data/base/1/other': SECOND, 'data/base/1/huge': ID})
    })

    it('may be there first: the one before it, which the hook missed, refers to it', async () => {
      const setting = await prepare({linked: true})
      const forget = [...setting.store.objects.keys()].filter((key) => key.includes(ID))
      for (const key of forget) setting.store.objects.delete(key)
      expect((await sync(setting, {backupIds: [SECOND]}, compact())).exitCode).to.equal(0)
      expect((await sync(setting, {}, compact())).exitCode).to.equal(0)
      expectFaithful(setting)
      expect(record(setting)).to.deep.include({owners: [SECOND], vouchers: [SECOND]})
    })

    it('is flat: a third one refers to the first, and names the second as its voucher', async () => {
      const setting = await prepare({linked: false})
      await sync(setting, {}, compact())
      const third = '20261103T020000'
      setting.tree.addBackup({id: third, linkTo: SECOND})
      rmSync(at('data/backup_manifest', third), {force: true})
      linkSync(at('data/base/1/big', SECOND), at('data/base/1/big', third))
      expect((await sync(setting, {}, compact())).exitCode).to.equal(0)
      expectFaithful(setting, third)
      expect(record(setting, third)).to.deep.include({owners: [ID], vouchers: [SECOND]})
    })

    it('a dry run says what would be sent, referred to and compared, and why; it reads no file and writes nothing', async () => {
      const setting = await prepare({linked: true})
      rmSync(at('data/base/1/other', SECOND))
      writeFileSync(at('data/base/1/other', SECOND), content(3 * MIB, 'other'))
      writeFileSync(at('data/base/1/new', SECOND), content(MIB, 'new'))
      const before = relativeKeys(setting)
      const {backups: [planned]} = await sync(setting, {isDryRun: true}, compact())
      const steps = Object.fromEntries(planned!.plan!.map(({action, reason, files, bytes}) => [`${action}: ${reason}`, [files, bytes]]))
      expect(steps).to.deep.include({
        [`refer: hard link to backup ${ID}`]: [2, 3 * MIB + 18 * MIB], [`compare: same path and size as in backup ${ID}`]: [2, 3 * MIB + 256 * 1024], 'send: new': [1, MIB],
      })
      expect(planned!.files).to.equal(planned!.plan!.reduce((sum, {files}) => sum + files, 0))
      expect(relativeKeys(setting)).to.deep.equal(before)
    })

    it('refers to nothing that is too old, and to nothing at all with maxReferenceAge 0', async () => {
      const setting = await prepare({linked: true})
      const clock = {...setting.context().clock, now: () => new Date(Date.now() + 31 * 86_400_000)}
      expect((await sync(setting, {}, compact({clock}))).exitCode).to.equal(0)
      expect(record(setting, SECOND)).to.deep.include({owners: [], vouchers: []})
      expectFaithful(setting, SECOND)
    })

    it('an object that is gone is named, and its file is sent', async () => {
      const setting = await prepare({linked: true})
      setting.store.objects.delete(setting.keys.absolute(`base/${ID}/data/base/1/big.zst`))
      expect((await sync(setting, {}, compact())).exitCode).to.equal(0)
      expect(setting.said.join('\n')).to.match(/warn: 1 objects of earlier backups are gone.*big\.zst/)
      expect(owners(setting)).to.include({'data/base/1/big': SECOND, 'data/base/1/other': ID})
      expectFaithful(setting, SECOND)
    })

    for (const [what, spoil] of [
      ['cut', (body: Buffer) => body.subarray(0, body.length - 10)],
      ['foreign', () => Buffer.from('something else')],
      ['empty', () => Buffer.alloc(0)],
    ] as const) {
      it(`a manifest that is ${what} is named, and everything is sent`, async () => {
        const setting = await prepare({linked: true})
        const key = setting.keys.manifest(ID)
        const object = setting.store.objects.get(key)!
        setting.store.objects.set(key, {...object, body: spoil(object.body)})
        expect((await sync(setting, {}, compact())).exitCode).to.equal(0)
        expect(setting.said.join('\n')).to.match(/warn: nothing is taken over from backup 20261101T020000/)
        expect(record(setting, SECOND)).to.deep.include({owners: []})
        expectFaithful(setting, SECOND)
      })
    }

    it('a record of a newer format is named, and everything is sent', async () => {
      const setting = await prepare({linked: true})
      const key = setting.keys.record(ID)
      const object = setting.store.objects.get(key)!
      setting.store.objects.set(key, {...object, body: Buffer.from(object.body.toString().replace('"packs"', '"packs", "encryption"'))})
      await sync(setting, {backupIds: [SECOND]}, compact())
      expect(setting.said.join('\n')).to.match(/warn: nothing is taken over from backup 20261101T020000.*encryption/)
      expect(record(setting, SECOND)).to.deep.include({owners: []})
    })
  })

  it('names that look like packs and compressed objects are escaped, and no two files meet', async () => {
    const setting = use()
    writeFileSync(at('data/base/1/x'), content(MIB, 'plain'))
    writeFileSync(at('data/base/1/x.zst'), content(MIB, 'compressed'))
    mkdirSync(at('packs'))
    writeFileSync(at('packs/0001.tar'), content(MIB, 'tar'))
    rmSync(at('data/backup_manifest'))
    expect((await sync(setting, {}, compact())).exitCode).to.equal(0)
    expectFaithful(setting)
    expect(relativeKeys(setting)).to.include.members([`base/${ID}/data/base/1/x.zst`, `base/${ID}/data/base/1/x%2Ezst`, `base/${ID}/%70acks/0001.tar.zst`])
  })

  it('a link keeps its text', async () => {
    const setting = use()
    await sync(setting, {}, compact())
    const link = readManifest(setting).find(({type}) => type === 'symlink')!
    expect(link.type === 'symlink' && link.target).to.equal(readlinkSync(at(link.path)))
  })

  it('a file that changed on Barman\'s disk is damage by PostgreSQL\'s own list: named, and not recorded', async () => {
    const setting = use()
    appendFileSync(at('data/base/1/1259'), 'x')
    const result = await sync(setting, {}, compact())
    expect(result.exitCode).to.equal(13)
    expect(result.backups[0]!.reason).to.match(/1 of \d+ files failed: data\/base\/1\/1259; 1 of them are damaged on Barman's disk/)
    expect(record(setting)).to.equal(undefined)
  })

  it('a file that PostgreSQL\'s list names and the disk does not have is damage, too', async () => {
    const setting = use()
    rmSync(at('data/base/1/1259'))
    const result = await sync(setting, {}, compact())
    expect(result.exitCode).to.equal(13)
    expect(setting.said.join('\n')).to.match(/1259 is damaged on Barman's disk: it is missing/)
    expect(record(setting)).to.equal(undefined)
  })
})

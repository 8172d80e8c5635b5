import {execFileSync} from 'node:child_process'
import {mkdirSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {listBase} from '../../../src/lib/sync/base-list.ts'
import {syncFull} from '../../../src/lib/sync/full-sync.ts'
import {createSyncSetting} from '../../support/sync-setting.ts'

/** Everything a look can tell of a tree: names, inodes, sizes, times (ctime too: no touch, no chmod goes unseen), modes, links, owners. */
function lookAt(directory: string): string {
  return execFileSync('find', [directory, '-printf', '%P|%i|%s|%T@|%C@|%m|%n|%l|%U:%G\n'], {encoding: 'utf8', maxBuffer: 64 * 1024 ** 2}).split('\n').sort().join('\n')
}

describe('promise 1: nothing local is ever changed', () => {
  it("a first and a second full sync and a list leave Barman's directory as it was, to the nanosecond", async () => {
    const setting = createSyncSetting({tree: {backup: {largeFileBytes: 11 * 1024 ** 2}}})
    try {
      setting.tree.addBackup({id: '20261102T020000', linkTo: '20261101T020000', keep: 'full'})
      setting.tree.addBackup({id: '20261103T020000', status: 'FAILED'})
      const before = lookAt(setting.tree.serverDirectory)
      expect(before.split('\n').length).to.be.greaterThan(100)
      for (let run = 0; run < 2; run++) {
        const result = await syncFull(setting.context(), {queue: setting.queue(), isDryRun: false})
        expect(result.exitCode).to.equal(0)
        await listBase(setting.context())
        expect(lookAt(setting.tree.serverDirectory)).to.equal(before)
      }
    } finally {
      setting.remove()
    }
  })

  it('the one exception is a missing lock file of Barman, made 0600 in its lock directory', async () => {
    const setting = createSyncSetting()
    const locks = join(setting.root, 'locks')
    mkdirSync(locks)
    try {
      const {server} = setting.context()
      await syncFull(setting.context({server: {...server, lockDirectory: locks}}), {queue: setting.queue(), isDryRun: false})
      expect(execFileSync('find', [locks, '-type', 'f', '-printf', '%f %m %s\n'], {encoding: 'utf8'})).to.equal('.pg-20261101T020000.lock 600 0\n')
    } finally {
      setting.remove()
    }
  })
})

import {expect} from 'chai'
import {SHOW_SERVERS_KEYS, serverFromDirectories, serverFromShowServers} from '../../../src/lib/barman/server-directories.ts'
import type {ServerDirectories, ShowServersEntry} from '../../../src/lib/barman/server-directories.ts'
import {BarmanFilesError, UsageError} from '../../../src/lib/errors.ts'
import {LABS, readLabText} from './fixtures.ts'

function labEntry(lab: string): {name: string; entry: ShowServersEntry} {
  const [[name, entry]] = Object.entries(JSON.parse(readLabText(lab, 'json/show-servers.json'))) as [[string, ShowServersEntry]]
  return {name, entry}
}

describe('serverFromDirectories', () => {
  it("fills in Barman's defaults below the directory, but guesses no lock directory", () => {
    expect(serverFromDirectories('main-server', {directory: '/var/lib/barman/main-server/'})).to.deep.equal({
      name: 'main-server',
      directory: '/var/lib/barman/main-server',
      basebackupsDirectory: '/var/lib/barman/main-server/base',
      walsDirectory: '/var/lib/barman/main-server/wals',
      metaDirectory: '/var/lib/barman/main-server/meta',
      lockDirectory: undefined,
      xlogDbPath: undefined,
      streamingDirectory: '/var/lib/barman/main-server/streaming',
      isPassive: undefined,
      isActive: true,
      origin: 'configuration',
    })
  })
  it('takes what is given', () => {
    const given = {
      directory: '/a', basebackupsDirectory: '/b', walsDirectory: '/c/./d/../w', lockDirectory: '/e', xlogDbPath: '/f/x.db',
      streamingDirectory: '/g', isPassive: true,
    }
    expect(serverFromDirectories('pg', given)).to.include({...given, walsDirectory: '/c/w', metaDirectory: '/a/meta'})
  })
  const urls = [
    's3://bkt-one/pfx', 'gs://bucket/path', 'https://account.blob.core.windows.net/container', 'S3://x', 'ftp://user:geheim@host/x',
    'https://console.cloud.google.com/storage/browser/b',
  ]
  for (const url of urls) {
    for (const setting of ['directory', 'basebackupsDirectory', 'walsDirectory'] as const) {
      it(`refuses ${url} as ${setting}: barmans3 copies local directories`, () => {
        const settings: ServerDirectories = {directory: '/a', [setting]: url}
        expect(() => serverFromDirectories('pg', settings))
          .to.throw(UsageError, /copies local directories/).with.property('message').that.does.not.include('geheim')
      })
    }
  }
  for (const directory of ['', 'relative/path', './x', '~/barman', '/a\0b']) {
    it(`refuses ${JSON.stringify(directory)}`, () => {
      expect(() => serverFromDirectories('pg', {directory})).to.throw(UsageError, /not an absolute path/)
    })
  }
  for (const name of ['', '.', '..', 'a/b', '/', '../x', 'a\0b']) {
    it(`refuses the server name ${JSON.stringify(name)}`, () => {
      expect(() => serverFromDirectories(name, {directory: '/a'})).to.throw(UsageError, /cannot be the name/)
      expect(() => serverFromShowServers(name, {backup_directory: '/a'})).to.throw(UsageError, /cannot be the name/)
    })
  }
  for (const name of ['-x', 'Größe 1', 'a b', '$(id)', '...', 'x;y', "it's", 'a\nb', '.hidden']) {
    it(`takes the server name ${JSON.stringify(name)}`, () => {
      expect(serverFromDirectories(name, {directory: '/a'}).name).to.equal(name)
    })
  }
})

describe('serverFromShowServers', () => {
  const local = LABS.filter((lab) => !lab.includes('cloud'))
  for (const lab of local) {
    it(`understands what Barman said in ${lab}`, () => {
      const {name, entry} = labEntry(lab)
      const root = `/var/lib/barman/${name}`
      const isOld = /barman-(2|3\.4)/.test(lab)
      const namesLocks = /barman-(2|3\.4|3\.13)/.test(lab)
      expect(serverFromShowServers(name, entry)).to.deep.equal({
        name,
        directory: root,
        basebackupsDirectory: `${root}/base`,
        walsDirectory: `${root}/wals`,
        metaDirectory: `${root}/meta`,
        lockDirectory: namesLocks ? '/var/lib/barman' : undefined,
        xlogDbPath: isOld ? `${root}/wals/xlog.db` : `${root}/wals/${name}-xlog.db`,
        streamingDirectory: `${root}/streaming`,
        isPassive: lab.includes('passive'),
        isActive: true,
        origin: 'barman',
      })
      if (!namesLocks) expect(serverFromShowServers(name, entry, '/run/barman').lockDirectory).to.equal('/run/barman')
    })
  }
  it('refuses the lab whose directories are in a bucket', () => {
    const {name, entry} = labEntry('barman-3.19.1-local-to-cloud')
    expect(() => serverFromShowServers(name, entry)).to.throw(UsageError, /s_cloud is kept in s3:\/\/… .*copies local directories/)
  })
  it('works when every key but the directory is missing, null or of another type', () => {
    const expected = serverFromShowServers('pg', {backup_directory: '/b/pg'})
    expect(expected).to.include({walsDirectory: '/b/pg/wals', isPassive: undefined, isActive: true, lockDirectory: undefined})
    for (const value of [null, 7, '', [], {}]) {
      const entry = {...Object.fromEntries(SHOW_SERVERS_KEYS.map((key) => [key, value])), backup_directory: '/b/pg'}
      expect(serverFromShowServers('pg', entry)).to.deep.equal(expected)
    }
  })
  it('names the missing directory and what to do', () => {
    for (const entry of [{}, {backup_directory: null}, {backup_directory: ''}]) {
      expect(() => serverFromShowServers('pg', entry)).to.throw(BarmanFilesError, /no backup_directory for server pg/)
        .with.property('hint').that.includes('servers.pg.directory')
    }
  })
  it('tells an inactive server', () => {
    expect(serverFromShowServers('pg', {backup_directory: '/b', active: false}).isActive).to.equal(false)
  })
})

import {expect} from 'chai'
import {UsageError} from '../../../src/lib/errors.ts'
import {hookExitCode, parseHookEnvironment} from '../../../src/lib/queue/hook-environment.ts'
import {hookEnvironment, readHookFiles} from './hook-files.ts'

const post = hookEnvironment({
  BARMAN_PHASE: 'post', BARMAN_HOOK: 'backup_script', BARMAN_STATUS: 'WAITING_FOR_WALS', BARMAN_VERSION: '3.19.1',
})

function usageError(environment: Record<string, string>, flags = {}): UsageError {
  try {
    parseHookEnvironment(environment, flags)
  } catch (error) {
    expect(error).to.be.instanceOf(UsageError)
    expect((error as UsageError).hint).to.not.equal(undefined)
    return error as UsageError
  }
  throw new Error('it was accepted')
}

describe('the environment of a hook', () => {
  describe('of every hook that was dumped from a real Barman', () => {
    const files = readHookFiles()
    it('is there in all kinds', () => {
      const kinds = new Set(files.map(({environment: e}) => `${e['BARMAN_PHASE']} ${e['BARMAN_HOOK']} ${e['BARMAN_STATUS'] ?? ''}`))
      expect([...kinds]).to.include.members([
        'pre backup_script EMPTY', 'post backup_script WAITING_FOR_WALS', 'post backup_script DONE',
        'post backup_script FAILED', 'post backup_retry_script WAITING_FOR_WALS', 'post archive_script ',
        'post delete_script DONE',
      ])
    })
    for (const {name, environment} of files) {
      const {BARMAN_HOOK: hook, BARMAN_PHASE: phase, BARMAN_STATUS: status, BARMAN_BACKUP_DIR: place} = environment
      const isBackup = hook === 'backup_script' || hook === 'backup_retry_script'
      if (!isBackup) {
        it(`is refused for another event (${name})`, () => {
          expect(usageError(environment).message).to.include(`Barman called it as ${hook}`)
        })
      } else if (!place?.startsWith('/')) {
        it(`is refused where Barman writes to a bucket itself (${name})`, () => {
          expect(usageError(environment).message).to.include(`no local directory: ${place}`)
        })
      } else if (phase === 'pre' || status === 'FAILED') {
        it(`asks for nothing (${name})`, () => {
          expect(parseHookEnvironment(environment).type).to.equal('ignore')
        })
      } else {
        it(`asks for the backup (${name})`, () => {
          const parsed = parseHookEnvironment(environment)
          if (parsed.type !== 'add') throw new Error(parsed.reason)
          const {server, backupId, hook: told} = parsed.request
          expect([server, backupId]).to.deep.equal([environment['BARMAN_SERVER'], environment['BARMAN_BACKUP_ID']])
          expect(told?.backupDirectory).to.equal(place)
          expect(told?.backupInfoPath).to.equal(environment['BARMAN_BACKUP_INFO_PATH'])
          expect(told).to.not.have.property('error')
        })
      }
    }
  })

  for (const url of ['s3://bucket/pfx', 'gs://b/p', 'https://account.blob.core.windows.net/c', 'pfx/s_cloud/base/1']) {
    it(`is refused with the place ${url}, saying what barmans3 copies`, () => {
      const error = usageError({...post, BARMAN_BACKUP_DIR: url})
      expect(error.message).to.include(url)
      expect(error.hint).to.include('barmans3 copies backups from local directories')
    })
  }

  it('is refused without any variable of Barman, naming both ways to use it', () => {
    expect(usageError({}).hint).to.include('post_backup_script').and.include('barmans3 queue add SERVER BACKUP')
    expect(usageError({BARMAN_RETRY: '1'}).exitCode).to.equal(3)
  })

  it('is refused with a backup id that could be a path or text', () => {
    for (const id of ['', '../../etc/passwd', '20261125T0734', '20261125T073400\n', '20261125T073400/x', 'latest']) {
      expect(usageError({...post, BARMAN_BACKUP_ID: id}).message).to.match(/backup id/)
    }
  })

  it('gives way to flags, and by hand needs no variables', () => {
    const parsed = parseHookEnvironment({}, {server: 'main', backupId: '20261125T073400'})
    expect(parsed).to.deep.equal({type: 'add', request: {server: 'main', backupId: '20261125T073400'}})
    const other = parseHookEnvironment({...post, BARMAN_HOOK: 'archive_script'}, {server: 'main', backupId: '20261125T073400'})
    expect(other).to.deep.equal(parsed)
    const renamed = parseHookEnvironment(post, {server: 'renamed'})
    expect(renamed.type === 'add' && renamed.request.server).to.equal('renamed')
    usageError({}, {server: 'main'})
  })

  it('with status FAILED and any error text asks for nothing and repeats the text on one bounded line', () => {
    const parsed = parseHookEnvironment({...post, BARMAN_STATUS: 'FAILED', BARMAN_ERROR: `a\n\u001b[31m"$(id)\`${'x'.repeat(100_000)}`})
    if (parsed.type !== 'ignore') throw new Error('it was added')
    expect(parsed.reason).to.include('a [31m"$(id)`xxx')
    expect(parsed.reason).to.not.match(/\p{Cc}/u)
    expect(parsed.reason.length).to.be.below(400)
  })

  it('with a status that can become good asks for the backup', () => {
    for (const status of ['WAITING_FOR_WALS', 'DONE', 'EMPTY', 'STARTED', 'SYNCING', 'SOMETHING_NEW']) {
      expect(parseHookEnvironment({...post, BARMAN_STATUS: status}).type, status).to.equal('add')
    }
  })

  it('gives a retry hook only the codes 0 and 62', () => {
    for (const code of [1, 3, 4, 11, 63, 127, 143]) expect(hookExitCode(code, {BARMAN_RETRY: '1'})).to.equal(62)
    expect(hookExitCode(0, {BARMAN_RETRY: '1'})).to.equal(0)
    for (const code of [0, 3, 4]) expect(hookExitCode(code, {BARMAN_RETRY: '0'})).to.equal(code)
  })
})

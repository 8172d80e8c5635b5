/*
 * What bin/run.js does once Node is new enough. No static imports: a module that is missing must be reported by us.
 */

/* Arguments that are exactly the hook's command line; with flags it is an ordinary command. */
function isPlainQueueAdd(words) {
  return words.length === 2 && words[0] === 'queue' && words[1] === 'add'
}

/*
 * Packages that the other commands need and that are not there. The hook itself needs none of them, but it is the one
 * that somebody notices: Barman logs what it says.
 */
function listMissingPackages() {
  const {existsSync, readFileSync} = process.getBuiltinModule('fs')
  const {dirname, join} = process.getBuiltinModule('path')
  const root = join(import.meta.dirname, '..')
  const {dependencies} = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  return Object.keys(dependencies).filter((name) => {
    for (let directory = root; ; directory = dirname(directory)) {
      if (existsSync(join(directory, 'node_modules', name, 'package.json'))) return false
      if (directory === dirname(directory)) return true
    }
  })
}

/*
 * V8 lets the space for young objects grow to 100 MiB and more while thousands of small requests make garbage, for no
 * gain in time that could be measured; it shares a host with Barman and PostgreSQL's backups.
 */
function keepHeapSmall() {
  process.getBuiltinModule('v8').setFlagsFromString('--semi-space-growth-factor=1')
}

/*
 * Compiled code is kept from run to run: two fifths of the time to start. It is run as it is read, so only in a directory
 * that belongs to this user and that nobody else can write to; where there is none, nothing is kept.
 */
function keepCompiledCode() {
  const {enableCompileCache} = process.getBuiltinModule('module')
  const {env} = process
  if (enableCompileCache === undefined || env.NODE_COMPILE_CACHE !== undefined) return
  for (const base of [env.BARMANS3_CACHE_DIR, '/var/lib/barmans3/cache', userCacheDirectory(env)]) {
    if (base && isOwnDirectory(base)) {
      enableCompileCache(base + '/compiled')
      return
    }
  }
}

function userCacheDirectory({XDG_CACHE_HOME, HOME}) {
  if (XDG_CACHE_HOME) return XDG_CACHE_HOME + '/barmans3'
  return HOME ? HOME + '/.cache/barmans3' : undefined
}

/* Made if it is not there; in /var/lib only where the installation has made barmans3's directory. */
function isOwnDirectory(path) {
  const {mkdirSync, lstatSync} = process.getBuiltinModule('fs')
  try {
    mkdirSync(path, {mode: 0o700, recursive: !path.startsWith('/var/lib/')})
  } catch (error) {
    if (error.code !== 'EEXIST') return false
  }
  try {
    const stats = lstatSync(path)
    return stats.isDirectory() && stats.uid === process.geteuid() && (stats.mode & 0o022) === 0
  } catch {
    return false
  }
}

/* cron and systemd may start us where nobody can be any more; oclif would warn of it in each mail. */
function leaveDeletedDirectory() {
  try {
    process.cwd()
  } catch {
    process.chdir('/')
  }
}

/**
 * Runs the command line of this process.
 * @param {(code: number, text: string) => void} fail prints one line and sets the exit code for it
 * @param {(error: unknown) => string} brokenInstallation text for a module that cannot be loaded, else empty
 */
export async function start(fail, brokenInstallation) {
  leaveDeletedDirectory()
  try {
    if (isPlainQueueAdd(process.argv.slice(2))) {
      const {runQueueAddHook} = await import('../dist/lib/cli/queue-add-hook.js')
      process.exitCode = await runQueueAddHook()
      const missing = listMissingPackages()
      if (missing.length > 0) fail(4, `the installation is broken: ${missing.join(', ')} not found; what is in the queue `
        + 'stays there, but cannot be sent; reinstall barmans3')
      return
    }
    keepHeapSmall()
    keepCompiledCode()
    await import('../dist/lib/errors.js')
    const oclif = await import('@oclif/core')
    await run(oclif, fail, brokenInstallation)
  } catch (error) {
    fail(4, brokenInstallation(error) || String(error?.stack ?? error))
  }
}

async function run(oclif, fail, brokenInstallation) {
  try {
    await oclif.run(process.argv.slice(2), import.meta.url)
  } catch (error) {
    const text = brokenInstallation(error)
    if (text) fail(4, text)
    else await oclif.handle(error)
  }
}

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

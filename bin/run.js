#!/usr/bin/env node
/*
 * The start of barmans3. This file stays in the syntax of the oldest Node and imports nothing, so that an old Node or a
 * broken installation ends with one clear line and with an exit code that the caller understands: Barman retries its
 * retry hook for ever on any code but 0, 62 and 63, and PostgreSQL takes 1 to 125 of its restore_command for "no such
 * file". Everything else is in start.js.
 */
var words = process.argv.slice(2).join(' ').replace(/:/g, ' ').split(' ')
var isRetryHook = words[0] === 'queue' && words[1] === 'add' && process.env.BARMAN_RETRY === '1'
var isWalGet = words[0] === 'wal' && words[1] === 'get'

/* The exit code for a failure that would be `code` for a person. */
function failureCode(code) {
  if (isRetryHook) return 62
  return isWalGet && code < 126 ? 126 : code
}

function fail(code, text) {
  try {
    process.stderr.write('barmans3: ' + text + '\n')
  } catch (error) {
    /* Nobody listens; the exit code still tells. */
  }
  process.exitCode = failureCode(code)
}

/* One line about a module that is missing, damaged or not loadable; empty if `error` is something else. */
function brokenInstallation(error) {
  var code = error ? String(error.code) : ''
  var text = error ? String(error.message).split('\n')[0] : ''
  var isModule = /^(ERR_)?MODULE_NOT_FOUND$|^ERR_(PACKAGE_|UNSUPPORTED_|UNKNOWN_FILE_EXTENSION|DLOPEN_FAILED|INVALID_PACKAGE|REQUIRE)/.test(code)
  if (!isModule && !(error instanceof SyntaxError)) return ''
  return 'the installation is broken: ' + text + '; reinstall barmans3'
}

var isCrashing = false
process.on('uncaughtExceptionMonitor', function () {
  isCrashing = true
})
process.on('exit', function (code) {
  if (isRetryHook && code !== 0) process.exitCode = 62
  if (isWalGet && (isCrashing || code > 1)) process.exitCode = failureCode(code)
})

var version = process.versions.node.split('.')
if (Number(version[0]) < 22 || (Number(version[0]) === 22 && Number(version[1]) < 18)) {
  fail(3, 'Node ' + process.versions.node + ' is too old, barmans3 needs 22.18 or newer (' + process.execPath + ')')
} else {
  try {
    var here = process.getBuiltinModule('fs').realpathSync(process.argv[1])
    process.getBuiltinModule('module').createRequire(here)('./start.js').start(fail, brokenInstallation)
  } catch (error) {
    fail(4, brokenInstallation(error) || String((error && error.stack) || error))
  }
}

// Everything `npm test` does: install what the tests need, build, lint, check types, then run the levels one after the other.
//
//   node scripts/test.js [unit|commands|contract|integration|e2e …]
//
// The last line is `N passed, N failed` (`, N skipped` if any). A step before the tests that fails counts as one failure.
// Exit 1 if anything failed, if no test ran, and, when CI is set, if any was skipped or a level has no test at all.

import {spawn} from 'node:child_process'
import {mkdtempSync, readdirSync, readFileSync, rmSync} from 'node:fs'
import {tmpdir} from 'node:os'
import {delimiter, join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {testCacheDirectory} from './test-cache.js'

const LEVELS = ['unit', 'commands', 'contract', 'integration', 'e2e']
const LEVEL_LIMIT_MS = 20 * 60_000
// Every end-to-end test file has servers and labs of its own and mostly waits for them.
const LEVEL_OPTIONS = {e2e: ['--parallel', '--jobs', '2']}
const root = fileURLToPath(new URL('../', import.meta.url))
const isContinuousIntegration = Boolean(process.env.CI)
const environment = testEnvironment()

process.exitCode = await main(process.argv.slice(2))

async function main(names) {
  const unknown = names.filter((name) => !LEVELS.includes(name))
  if (unknown.length > 0) {
    console.error(`no such test level: ${unknown.join(', ')}; known: ${LEVELS.join(', ')}`)
    return 2
  }

  const levels = names.length > 0 ? LEVELS.filter((level) => names.includes(level)) : LEVELS
  const rows = []
  const steps = [
    // Unit tests need neither servers nor Barman.
    ...(levels.join() === 'unit' ? [] : [{name: 'setup', command: 'node', args: ['scripts/setup-tests.js']}]),
    {name: 'build', command: 'npm', args: ['run', '--silent', 'build'], isNeeded: true},
    {name: 'lint', command: 'npm', args: ['run', '--silent', 'lint']},
    {name: 'typecheck', command: 'npm', args: ['run', '--silent', 'typecheck']},
  ]
  for (const step of steps) {
    const row = await runStep(step)
    rows.push(row)
    if (row.failed > 0 && step.isNeeded) return report(rows)
  }

  const directory = mkdtempSync(join(tmpdir(), 'barmans3-counts-'))
  try {
    for (const level of levels) rows.push(await runLevel(level, join(directory, `${level}.json`)))
  } finally {
    rmSync(directory, {recursive: true, force: true})
  }

  return report(rows)
}

async function runStep({name, command, args}) {
  headline(name)
  const begin = Date.now()
  const status = await run(command, args)
  if (status !== 0) console.error(`${name} failed (${status})`)
  return {name, isTests: false, passed: 0, failed: status === 0 ? 0 : 1, skipped: 0, milliseconds: Date.now() - begin}
}

async function runLevel(level, countsFile) {
  headline(`test/${level}`)
  const begin = Date.now()
  const done = (counts) => ({name: level, isTests: true, ...counts, milliseconds: Date.now() - begin})
  if (!hasTests(level)) {
    console.log('no test files')
    return done({passed: 0, failed: isContinuousIntegration ? 1 : 0, skipped: 0})
  }

  const reporter = ['--reporter', 'scripts/count-reporter.cjs', '--reporter-option', `counts=${countsFile}`]
  const color = process.stdout.isTTY ? '--color' : '--no-color'
  const args = ['node_modules/mocha/bin/mocha.js', color, ...reporter, ...(LEVEL_OPTIONS[level] ?? []), `test/${level}/**/*.test.ts`]
  const status = await run('node', args, LEVEL_LIMIT_MS)
  const counts = readCounts(countsFile)
  // Mocha may also end badly without a failed test: a file that cannot be loaded, an error after the last test, our time limit.
  if (status !== 0 && counts.failed === 0) counts.failed = 1
  return done(counts)
}

function readCounts(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    console.error('the test run ended without its counts')
    return {passed: 0, failed: 1, skipped: 0}
  }
}

function hasTests(level) {
  try {
    return readdirSync(join(root, 'test', level), {recursive: true}).some((name) => name.endsWith('.test.ts'))
  } catch {
    return false
  }
}

function report(rows) {
  headline('result')
  for (const {name, isTests, passed, failed, skipped, milliseconds} of rows) {
    const outcome = isTests ? formatCounts({passed, failed, skipped}) : failed > 0 ? 'failed' : 'ok'
    console.log(`${name.padEnd(12)} ${`${(milliseconds / 1000).toFixed(1)} s`.padStart(8)}  ${outcome}`)
  }

  const sum = (key) => rows.reduce((total, row) => total + row[key], 0)
  const [passed, failed, skipped] = ['passed', 'failed', 'skipped'].map(sum)
  console.log(formatCounts({passed, failed, skipped}))
  return failed > 0 || passed === 0 || (isContinuousIntegration && skipped > 0) ? 1 : 0
}

function formatCounts({passed, failed, skipped}) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}

function headline(text) {
  console.log(`\n=== ${text}`)
}

// Resolves with the exit code; -1 for a program that was killed or could not be started.
function run(command, args, limitMs) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {cwd: root, env: environment, stdio: ['ignore', 'inherit', 'inherit']})
    const timer = limitMs === undefined ? undefined : setTimeout(() => {
      console.error(`stopped after ${limitMs / 60_000} minutes`)
      child.kill('SIGKILL')
    }, limitMs)
    child.once('error', (error) => {
      clearTimeout(timer)
      console.error(error.message)
      resolve(-1)
    })
    child.once('exit', (status) => {
      clearTimeout(timer)
      resolve(status ?? -1)
    })
  })
}

// The project's own Node comes first, and nothing of the person who runs the tests gets in: no credentials, no configuration of
// barmans3, no proxy before a server on this machine.
function testEnvironment() {
  const kept = Object.entries(process.env).filter(([name]) =>
    !name.startsWith('AWS_') && (!name.startsWith('BARMANS3_') || /^BARMANS3_(TEST_|KEEP_LABS)/.test(name)))
  const local = [process.env.NO_PROXY ?? process.env.no_proxy, '127.0.0.1,localhost,::1'].filter(Boolean).join(',')
  return {
    ...Object.fromEntries(kept),
    PATH: [join(root, 'node_modules', '.bin'), process.env.PATH].join(delimiter),
    BARMANS3_TEST_CACHE: testCacheDirectory(),
    NO_PROXY: local,
    no_proxy: local,
  }
}

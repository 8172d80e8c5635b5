// `npm run bench`: barmans3 side by side with aws-cli, s5cmd and rclone on the same endpoint, for the rows of the performance
// budget; see USAGE in options.js. Figures are compared within one run only.
//
// Exit 0 when everything was measured (whether the budget is met is in the table), 1 when a command failed or something is
// missing, 3 for a wrong command line, 130 or 143 after a signal. What it makes lies in one temporary directory and is removed.

import {mkdtempSync, rmSync, writeFileSync} from 'node:fs'
import {cpus, release, tmpdir, totalmem} from 'node:os'
import {join, resolve} from 'node:path'
import {fileURLToPath} from 'node:url'
import {findBarmans3} from './barmans3.js'
import {measureBarmans3, measurePeer} from './case.js'
import {formatCondition, formatSeconds} from './format.js'
import {parseOptions, USAGE} from './options.js'
import {renderPage} from './page.js'
import {findPeers} from './peers.js'
import {findS3null} from './s3null.js'
import {createCertificate} from './server.js'
import {alignColumns, formatVerdict, HEADINGS, summarize, tableRows} from './table.js'
import {BarmanTree} from './tree.js'

const project = fileURLToPath(new URL('../', import.meta.url))
const interrupt = new AbortController()
let signalCode

for (const [name, code] of [['SIGINT', 130], ['SIGTERM', 143]]) {
  process.on(name, () => {
    signalCode ??= code
    interrupt.abort(new Error('stopped'))
  })
}

process.exitCode = await main()

async function main() {
  let options
  try {
    options = parseOptions(process.argv.slice(2))
  } catch (error) {
    console.error(`bench: ${error.message}`)
    return 3
  }
  if (options === undefined) {
    console.log(USAGE)
    return 0
  }

  try {
    return await bench(options)
  } catch (error) {
    console.error(`bench: ${error.message}`)
    return signalCode ?? 1
  }
}

async function bench(options) {
  const {signal} = interrupt
  const barmans3 = findBarmans3(options.program ?? join(project, 'bin/run.js'), options.settings)
  const s3null = await findS3null(options.s3null, project, signal)
  const {peers, missing} = await findPeers(options.peers, signal)
  for (const {name, reason} of missing) console.error(`bench: without ${name}: ${reason}`)

  const directory = mkdtempSync(join(options.directory ?? tmpdir(), 'barmans3-bench-'))
  const conditions = []
  try {
    const certificate = options.tls.includes(true) ? createCertificate(directory) : undefined
    for (const row of options.rows) {
      const name = row.name(row.size(options))
      for await (const measured of measureRow({row, name, options, barmans3, peers, s3null, directory, certificate, signal})) {
        const summary = summarize(measured)
        conditions.push({...measured, name, summary})
        printCondition(name, measured, summary)
      }
    }
  } finally {
    rmSync(directory, {recursive: true, force: true, maxRetries: 3})
  }

  const report = {
    date: new Date().toISOString().slice(0, 10), command: commandLine(), machine: machine(),
    clients: [barmans3, ...peers], missing, options, conditions,
  }
  if (options.json) writeFileSync(options.json, formatJson(report))
  const hasFailed = conditions.some(({summary}) => summary.hasFailed)
  if (hasFailed) console.error('bench: a command failed, see above; its row has no verdict')
  if (options.page && hasFailed) console.error(`bench: ${options.page} was not written`)
  else if (options.page) {
    writeFileSync(resolve(project, options.page), renderPage(report))
    console.error(`bench: wrote ${options.page}`)
  }
  if (options.isQuick) console.log('\n--quick: small sizes and one run, so these figures and verdicts mean nothing')
  for (const {name, reason} of missing) console.log(`without ${name}: ${reason.split('\n')[0]}`)
  return hasFailed ? 1 : 0
}

/** Measures a row, condition by condition, the clients in turn. A client that failed in a condition is not measured again in it. */
async function* measureRow({row, name, options, barmans3, peers, s3null, directory, certificate, signal}) {
  console.error(`bench: row ${row.number}: ${name}: making the files`)
  const treeDirectory = mkdtempSync(join(directory, 'tree-'))
  try {
    const tree = new BarmanTree(treeDirectory, {content: options.content})
    const steps = row.prepare(tree, row.size(options))
    tree.finish()
    const conditions = options.tls.flatMap((isTls) => options.latenciesMs.map((latencyMs) => ({isTls, latencyMs})))
    for (const condition of conditions) {
      const {isTls, latencyMs} = condition
      const setting = {steps, tree, directory, s3null, latencyMs, tls: isTls ? certificate : undefined, signal}
      const clients = [
        {name: barmans3.name, samples: [], measure: () => measureBarmans3(barmans3, setting)},
        ...peers.map((peer) => ({
          name: peer.name, samples: [], leftOut: row.leftOut?.[peer.name], measure: () => measurePeer(peer, setting),
        })),
      ]
      for (let run = 1; run <= options.runs; run++) {
        for (const client of clients.filter(({failure, leftOut}) => failure === undefined && leftOut === undefined)) {
          await takeSample(client, `row ${row.number}, ${formatCondition(condition)}, run ${run} of ${options.runs}`, signal)
        }
      }
      yield {row, condition, clients: clients.map(({measure: _, ...client}) => client)}
    }
  } finally {
    rmSync(treeDirectory, {recursive: true, force: true, maxRetries: 3})
  }
}

async function takeSample(client, place, signal) {
  try {
    const {stdout: _, ...sample} = await client.measure()
    client.samples.push(sample)
    console.error(`bench: ${place}: ${client.name}: ${formatSeconds(sample.wallSeconds)} s`)
  } catch (error) {
    signal.throwIfAborted()
    client.failure = error.message
    console.error(`bench: ${place}: ${client.name} FAILED: ${error.message}`)
  }
}

function printCondition(name, {row, condition}, summary) {
  console.log(`\nRow ${row.number}: ${name}, over ${formatCondition(condition)}`)
  for (const line of alignColumns(HEADINGS, tableRows(summary))) console.log(line)
  for (const verdict of summary.verdicts) console.log(`=> ${formatVerdict(verdict, summary.peer)}`)
}

/** What the page tells to type: the options without places on this machine. */
function commandLine() {
  const isLocal = (word) => /^--(s3null|program|directory|json|page)$/.test(word)
  const args = process.argv.slice(2).filter((word, index, all) => !isLocal(word.split('=')[0]) && !(isLocal(all[index - 1] ?? '')))
  return ['npm run bench', ...(args.length > 0 ? ['--', ...args] : [])].join(' ')
}

function machine() {
  const processors = cpus()
  const memory = `${(totalmem() / 1024 ** 3).toFixed(0)} GiB of memory`
  const model = processors[0]?.model.trim() ?? 'unknown'
  return `${processors.length} CPUs (${model}), ${memory}, Linux ${release()}, Node ${process.versions.node}`
}

function formatJson({conditions, clients, ...report}) {
  const figures = {
    ...report,
    options: {...report.options, rows: report.options.rows.map(({number}) => number)},
    clients: clients.map(({name, version, settings}) => ({name, version, settings})),
    conditions: conditions.map(({row, name, condition, clients: measured, summary: {verdicts}}) => (
      {row: row.number, name, condition, clients: measured, verdicts})),
  }
  return `${JSON.stringify(figures, undefined, 2)}\n`
}

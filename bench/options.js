// The command line of the bench.

import {parseArgs} from 'node:util'
import {CONTENTS} from './content.js'
import {PEER_NAMES} from './peers.js'
import {DEFAULT_ROWS, ROWS} from './rows/index.js'

export const USAGE = `usage: npm run bench -- [options]

barmans3 side by side with aws-cli, s5cmd and rclone on one S3 endpoint that keeps nothing (s3null).

  --rows 1,3,5           rows of the performance budget; there are ${ROWS.map(({number}) => number).join(', ')}
  --peers aws-cli,rclone peers to compare with, or none (default: ${PEER_NAMES.join(',')})
  --latency 0,30         milliseconds added to every answer; each is measured
  --tls off,on           plain HTTP, TLS, or both
  --runs 3               runs of each case; the one with the median wall time counts
  --quick                small sizes and one run: tries the bench, measures nothing
  --content blocks       what is in the files: ${Object.keys(CONTENTS).join(', ')}
  --config KEY=VALUE     a setting for barmans3, such as base.layout=mirror; may be given several times
  --program FILE         bin/run.js of another built barmans3
  --s3null PATH          sources of s3null, or the built program (default: BARMANS3_BENCH_S3NULL, else ../shared/bench/s3null)
  --directory DIR        where the trees are made (default: the directory for temporary files)
  --json FILE            every figure of every run
  --write                write docs/benchmarks.md
  --page FILE            write the page there instead
  --help

BARMANS3_BENCH_RCLONE and BARMANS3_BENCH_S5CMD name these programs; else they are built with Go into the cache of the tests.`

const STRINGS = ['rows', 'peers', 'latency', 'tls', 'runs', 'content', 'program', 's3null', 'directory', 'json', 'page']
const FLAGS = ['quick', 'write', 'help']

/**
 * Parses the arguments behind `npm run bench --`. Returns undefined for --help.
 * @throws Error that says what is wrong
 */
export function parseOptions(args, environment = process.env) {
  const options = {
    ...Object.fromEntries(STRINGS.map((name) => [name, {type: 'string'}])),
    ...Object.fromEntries(FLAGS.map((name) => [name, {type: 'boolean', default: false}])),
    config: {type: 'string', multiple: true, default: []},
  }
  const {values} = parseArgs({args, options, strict: true, allowPositionals: false})
  if (values.help) return undefined
  const page = values.page ?? (values.write ? 'docs/benchmarks.md' : undefined)
  if (values.write && values.quick) throw new Error('--quick measures nothing that could be written down; leave out --write or --quick')
  return {
    rows: parseList('rows', values.rows ?? DEFAULT_ROWS.join(), Object.fromEntries(ROWS.map((row) => [row.number, row]))),
    peers: values.peers === 'none' ? [] : parseNames('peers', values.peers ?? PEER_NAMES.join(), PEER_NAMES),
    latenciesMs: (values.latency ?? '0,30').split(',').map((text) => parseWhole('latency', text.replace(/ms$/, ''), 0, 10_000)),
    tls: parseList('tls', values.tls ?? 'off,on', {off: false, on: true}),
    runs: parseWhole('runs', values.runs ?? (values.quick ? '1' : '3'), 1, 99),
    isQuick: values.quick,
    content: parseNames('content', values.content ?? 'blocks', Object.keys(CONTENTS))[0],
    settings: values.config.map(parseSetting),
    program: values.program,
    s3null: values.s3null ?? (environment.BARMANS3_BENCH_S3NULL || undefined),
    directory: values.directory,
    json: values.json,
    page,
  }
}

function parseList(name, text, known) {
  return text.split(',').map((word) => {
    if (!Object.hasOwn(known, word)) throw new Error(`--${name}: there is no ${word}; known: ${Object.keys(known).join(', ')}`)
    return known[word]
  })
}

function parseNames(name, text, known) {
  return parseList(name, text, Object.fromEntries(known.map((word) => [word, word])))
}

function parseWhole(name, text, least, most) {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (value >= least && value <= most) return value
  throw new Error(`--${name}: ${text} is not a whole number from ${least} to ${most}`)
}

function parseSetting(text) {
  const [, key, value] = /^(\w+(?:\.[\w-]+)*)=(.*)$/s.exec(text) ?? []
  if (key === undefined) throw new Error(`--config: ${text} is not KEY=VALUE, such as base.layout=mirror`)
  return [key, value]
}

// docs/benchmarks.md, written from the figures.

import {CONTENTS} from './content.js'
import {formatCondition} from './format.js'
import {formatVerdict, HEADINGS, tableRows} from './table.js'

const COLUMNS = [
  ['wall s', 'seconds from start to end of the process'],
  ['CPU s', 'seconds of user and system time of the process; those of the endpoint are not in it'],
  ['peak MiB', 'largest resident set'],
  ['sent MiB', 'bytes of the bodies that arrived'],
  ['read MiB', 'bytes of all read calls, of files and of sockets, the program\'s own files among them'],
  ['requests', 'requests that arrived, by kind as S3 names them'],
  ['wall ÷ fastest peer', 'wall time over that of the fastest peer in this table, the peers\' own included'],
]

/** The text of the page. `report` has date, command, machine, clients, missing, options and conditions (with summaries). */
export function renderPage(report) {
  const rows = [...new Set(report.conditions.map(({row}) => row))]
  return `${[
    '# Benchmarks', '',
    'barmans3 beside other clients, on the same machine, the same files and the same endpoint, in one run. Read the ratios: the',
    'seconds are of this machine. The endpoint (s3null) keeps nothing and runs on the same machine, so this measures clients, not',
    'stores. This page is written by a program; do not edit it:', '',
    '```sh', report.command, '```', '',
    ...renderSetting(report),
    '## Budget', '',
    ...renderBudget(report),
    ...renderColumns(),
    ...rows.flatMap((row) => renderRow(row, report.conditions.filter((one) => one.row === row))),
  ].join('\n').trimEnd()}\n`
}

function renderSetting({date, machine, clients, missing, options}) {
  const runs = options.runs === 1
    ? 'one run of each case' : `${options.runs} runs of each case, the clients in turn; the run with the median wall time counts`
  const versions = clients.map(({name, version, settings}) => [name, version, settings])
  return [
    '## What was measured with what', '',
    `- ${date}; ${machine}`,
    `- ${runs}`,
    '- the files were just written, so they come from memory, not from the disk',
    `- content \`${options.content}\`: ${CONTENTS[options.content]}`,
    ...(missing.map(({name, reason}) => `- without ${name}: ${reason.split('\n')[0]}`)), '',
    ...markdownTable(['client', 'version', 'settings'], versions),
    '',
  ]
}

function renderBudget({conditions}) {
  const lines = conditions.flatMap(({name, condition, summary}) =>
    summary.verdicts.map(({label, value, limit, verdict}) => [
      name, formatCondition(condition), label, value, label.includes('peer') ? (summary.peer?.name ?? '–') : '', limit,
      verdict === 'met' ? 'met' : `**${verdict}**`,
    ]))
  return [...markdownTable(['work', 'over', 'what', 'barmans3', 'fastest peer', 'budget', 'verdict'], lines), '']
}

function renderColumns() {
  return ['## Figures', '', ...COLUMNS.map(([name, meaning]) => `- **${name}**: ${meaning}`), '',
    'A command that failed, or that cannot have done its work by what arrived, has no figures. For barmans3 the backup record is',
    'looked for in the bucket after each run. Second backups: only barmans3 knows the first one, which it copied before; to a peer',
    'it makes no difference, so the peers copy the second alone.', '']
}

function renderRow(row, conditions) {
  const headings = [...HEADINGS, 'by kind']
  return [`### Row ${row.number}: ${conditions[0].name}`, '', ...conditions.flatMap(({condition, summary}) => [
    `${formatCondition(condition)}:`, '',
    ...markdownTable(headings, tableRows(summary).map((cells) => headings.map((_, column) => cells[column] ?? ''))), '',
    ...summary.verdicts.map((verdict) => `- ${formatVerdict(verdict, summary.peer)}`), ...(summary.verdicts.length > 0 ? [''] : []),
  ])]
}

function markdownTable(headings, rows) {
  const line = (cells) => `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`
  const isNumeric = (column) => rows.some((row) => /^[\d.,]+$/.test(row[column])) && !rows.some((row) => /^\d+ \w/.test(row[column]))
  const ruler = headings.map((_, column) => (column > 0 && isNumeric(column) ? '---:' : '---'))
  return [line(headings), line(ruler).replaceAll(' ', ''), ...rows.map(line)]
}

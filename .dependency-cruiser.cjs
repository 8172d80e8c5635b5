/**
 * The direction of imports (design: code layout), checked by `npm run lint`:
 * commands → cli → {sync, queue, config} → {barman, archive, store, local} → {errors, clock, progress}.
 * @type {import('dependency-cruiser').IConfiguration}
 */
const lib = (names) => `^src/lib/(${names})/`

module.exports = {
  forbidden: [
    {name: 'no-cycle', severity: 'error', from: {}, to: {circular: true}},
    {name: 'not-to-unresolvable', severity: 'error', from: {}, to: {couldNotResolve: true}},
    {name: 'commands-only-use-lib', severity: 'error', from: {path: '^src/commands/'}, to: {path: '^src/commands/'}},
    {name: 'nothing-imports-commands', severity: 'error', from: {path: '^src/lib/'}, to: {path: '^src/commands/'}},
    {name: 'only-cli-and-commands-know-cli', severity: 'error', from: {pathNot: ['^src/lib/cli/', '^src/commands/']}, to: {path: lib('cli')}},
    {name: 'config-is-for-cli', severity: 'error', from: {path: lib('sync|queue|barman|archive|store|local')}, to: {path: lib('config')}},
    {name: 'basics-know-no-engines', severity: 'error', from: {path: lib('barman|archive|store|local|config')}, to: {path: lib('sync|queue|cli')}},
    {name: 'queue-knows-no-sync', severity: 'error', from: {path: lib('queue')}, to: {path: lib('sync')}},
    {name: 'store-knows-no-domain', severity: 'error', from: {path: lib('store')}, to: {path: lib('barman|archive|local')}},
    {name: 'archive-is-pure', severity: 'error', from: {path: lib('archive')}, to: {path: ['^node:fs', '^fs$', 'fs/promises', '^node:net', '^node:child_process']}},
    {
      name: 'plans-and-archive-know-no-clock', severity: 'error',
      from: {path: ['^src/lib/archive/', '^src/lib/barman/', '-plan\\.ts$']}, to: {path: ['^src/lib/clock\\.ts$', 'system-clock']},
    },
    {name: 'aws-sdk-only-in-store-s3', severity: 'error', from: {pathNot: '^src/lib/store/s3/'}, to: {path: ['@aws-sdk/', '@smithy/']}},
    {name: 'engines-know-no-s3', severity: 'error', from: {path: lib('sync|queue|barman|archive|local')}, to: {path: '^src/lib/store/s3/'}},
    {name: 'oclif-only-in-cli', severity: 'error', from: {pathNot: ['^src/lib/cli/', '^src/commands/']}, to: {path: '@oclif/'}},
    {name: 'listr2-only-in-its-view', severity: 'error', from: {pathNot: '^src/lib/cli/progress/listr\\.ts$'}, to: {path: 'node_modules/listr2'}},
    {name: 'cosmiconfig-only-in-load', severity: 'error', from: {pathNot: '^src/lib/config/load\\.ts$'}, to: {path: 'node_modules/cosmiconfig'}},
    {name: 'no-orphans', severity: 'error', from: {orphan: true, pathNot: ['\\.d\\.ts$']}, to: {}},
  ],
  options: {
    doNotFollow: {path: 'node_modules'},
    // TypeScript 7 has no API that dependency-cruiser can use yet; swc sees type imports as well.
    parser: 'swc',
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'], extensions: ['.ts', '.js', '.mjs', '.cjs', '.d.ts']},
  },
}

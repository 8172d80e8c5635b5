/** Types of install-test-servers.js, which is plain JavaScript because it runs before anything is set up. */
export interface ServerSource {
  readonly program: string
  readonly pip?: string
  readonly go?: string
}
export const SERVERS: Readonly<Record<'weed' | 'moto' | 'versitygw', ServerSource>>
export function findProgram(program: string, environment?: NodeJS.ProcessEnv): string | undefined
export function installServer(name: string, environment?: NodeJS.ProcessEnv): 'there' | 'installed'

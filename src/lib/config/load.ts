import type {ConfigLocation} from './config-file.ts'
import {readConfigText} from './config-file.ts'

/** A configuration file as it was read: its settings, unchecked. */
export interface RawConfig {
  readonly path: string
  readonly settings: Readonly<Record<string, unknown>>
  readonly warnings: readonly string[]
}

/** The settings of the configuration file, unchecked; undefined when there is no file. Throws UsageError. */
export async function readRawConfig(location: ConfigLocation): Promise<RawConfig | undefined> {
  const found = await readConfigText(location)
  if (found === undefined) return undefined
  const {defaultLoaders} = await import('cosmiconfig')
  const settings: unknown = defaultLoaders['.yaml'](found.path, found.text)
  return {path: found.path, settings: settings as Record<string, unknown>, warnings: found.warnings}
}

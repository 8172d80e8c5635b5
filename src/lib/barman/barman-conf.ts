import {homedir} from 'node:os'
import path from 'node:path'
import {readSmallFile} from './small-file.ts'

const MAX_INTERPOLATIONS = 10
const OPTION = /^([^=:\s][^=:]*?)\s*[=:]\s*(.*)$/

/** How to find barman.conf, as Barman itself does. */
export interface BarmanConfOptions {
  /** What `barman -c` is given. */
  readonly configurationPath?: string | undefined
  /** For BARMAN_CONFIG_FILE and HOME; the process's own if not given. */
  readonly env?: NodeJS.ProcessEnv | undefined
}

/**
 * The options of one section of an ini file as Python's ConfigParser reads them: names in lower case, `=` or `:`
 * between, `#` and `;` comment lines, indented lines continue the value before, `%(name)s` takes another option of the
 * section, quotes around a value go (barman: `Config.get`). Options without a value or with `None` are left out. Other
 * sections are never kept: they hold connection strings.
 */
export function parseBarmanConfSection(text: string, section: string): ReadonlyMap<string, string> {
  const raw = new Map<string, string>()
  let isInside = false
  let lastName: string | undefined
  for (const line of text.replace(/^\uFEFF/, '').split(/\r?\n/)) {
    const trimmed = line.trim()
    const header = /^\[([^\]]+)\]/.exec(line)
    if (trimmed === '' || /^[#;]/.test(trimmed)) continue
    if (header !== null) {
      isInside = header[1] === section
      lastName = undefined
    } else if (isInside && /^\s/.test(line) && lastName !== undefined) {
      raw.set(lastName, `${raw.get(lastName) ?? ''}\n${trimmed}`)
    } else if (isInside) {
      const option = OPTION.exec(trimmed)
      lastName = option?.[1]?.toLowerCase()
      if (lastName !== undefined) raw.set(lastName, option?.[2] ?? '')
    }
  }
  const options = [...raw].map(([name, value]) => [name, unquote(interpolate(value, raw))] as const)
  return new Map(options.filter(([, value]) => value !== '' && value !== 'None'))
}

/**
 * The directory of Barman's lock files from the `[barman]` section of barman.conf: `barman_lock_directory`, else
 * `barman_home` (barman: `Config._parse_global_config`; files of `configuration_files_directory` do not count for these).
 * Undefined when there is no barman.conf or it names neither as an absolute path. Throws BarmanFilesError when the file
 * cannot be read.
 */
export async function readLockDirectory(options: BarmanConfOptions = {}): Promise<string | undefined> {
  for (const candidate of configurationPaths(options)) {
    const bytes = await readSmallFile(candidate)
    if (bytes === undefined) continue
    const globals = parseBarmanConfSection(bytes.toString('utf8'), 'barman')
    const directory = globals.get('barman_lock_directory') ?? globals.get('barman_home')
    return directory !== undefined && path.isAbsolute(directory) ? path.resolve(directory) : undefined
  }
  return undefined
}

/** Where Barman looks for its configuration, in its order (barman: `Config.CONFIG_FILES`). */
function configurationPaths(options: BarmanConfOptions): readonly string[] {
  const env = options.env ?? process.env
  const given = options.configurationPath ?? env.BARMAN_CONFIG_FILE
  if (given !== undefined && given !== '') return [given]
  return [path.join(env.HOME ?? homedir(), '.barman.conf'), '/etc/barman.conf', '/etc/barman/barman.conf']
}

function interpolate(value: string, options: ReadonlyMap<string, string>): string {
  let current = value
  for (let round = 0; round < MAX_INTERPOLATIONS && /%\([^)]+\)s/.test(current); round++) {
    current = current.replace(/%\(([^)]+)\)s/g, (_match, name: string) => options.get(name.toLowerCase()) ?? '')
  }
  return current.replaceAll('%%', '%')
}

function unquote(value: string): string {
  return /^(["'])(.*)\1$/s.exec(value)?.[2] ?? value
}

import type {Hook} from '@oclif/core'
import {nearestName} from '../config/settings.ts'
import {EXIT} from '../errors.ts'

/** Answers a command that does not exist in one line, with the one that was probably meant. Exit 3. */
const commandNotFound: Hook.CommandNotFound = async function ({id, config}) {
  const typed = id.replaceAll(':', ' ')
  const known = config.commands.filter(({hidden}) => hidden !== true).map((command) => command.id.replaceAll(':', ' '))
  const nearest = nearestName(typed, known)
  process.stderr.write(`barmans3: there is no command "${typed}"${nearest === undefined ? '' : `; did you mean "${nearest}"?`}\n  see barmans3 --help\n`)
  this.exit(EXIT.usage)
}

export default commandNotFound

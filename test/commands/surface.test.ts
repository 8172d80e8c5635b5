import {readFile, writeFile} from 'node:fs/promises'
import {fileURLToPath} from 'node:url'
import {Config, type Command} from '@oclif/core'
import {expect} from 'chai'

const root = fileURLToPath(new URL('../../', import.meta.url))
const snapshot = fileURLToPath(new URL('command-surface.json', import.meta.url))

async function ownCommands(): Promise<Command.Loadable[]> {
  const config = await Config.load({root})
  return config.commands.filter(({pluginName}) => pluginName === 'barmans3').sort((left, right) => (left.id < right.id ? -1 : 1))
}

/** What scripts rely on: names of commands, arguments and flags, and how flags may be written. */
function surfaceOf({id, args, flags, strict}: Command.Loadable): object {
  return {
    command: id.replaceAll(':', ' '),
    args: Object.values(args).map(({name, required}) => (required ? name : `[${name}]`)),
    takesMoreArgs: strict === false,
    flags: Object.fromEntries(Object.entries(flags).sort(([left], [right]) => (left < right ? -1 : 1)).map(([name, flag]) => [name, {
      type: flag.type, ...(flag.char ? {char: flag.char} : {}), ...('multiple' in flag && flag.multiple ? {multiple: true} : {}),
      ...('options' in flag && flag.options ? {options: flag.options} : {}),
      ...('default' in flag && typeof flag.default !== 'function' && flag.default !== undefined && flag.default !== false ? {default: flag.default} : {}),
    }])),
  }
}

describe('the command surface', () => {
  it('is a stable interface: what changes here is announced (write it anew with BARMANS3_TEST_WRITE_SNAPSHOT=1)', async () => {
    const text = `${JSON.stringify((await ownCommands()).map(surfaceOf), undefined, 2)}\n`
    if (process.env.BARMANS3_TEST_WRITE_SNAPSHOT) await writeFile(snapshot, text)
    expect(text).to.equal(await readFile(snapshot, 'utf8'))
  })

  it('every command has a summary, a description with its exit codes, and two examples', async () => {
    const commands = await ownCommands()
    expect(commands.map(({id}) => id)).to.include.members(['wal:sync', 'base:sync', 'base:ls', 'full-sync', 'queue:add', 'queue:status', 'queue:retry', 'queue:prune'])
    for (const {id, summary, description, examples} of commands) {
      expect(summary, id).to.match(/\.$/)
      expect(description, id).to.contain('Exit codes: ')
      expect(examples?.length, id).to.be.at.least(2)
    }
  })

  it('every flag says what it does', async () => {
    for (const {id, flags} of await ownCommands()) {
      for (const [name, flag] of Object.entries(flags)) expect(flag.summary ?? flag.description, `${id} --${name}`).to.be.a('string').and.not.equal('')
    }
  })
})

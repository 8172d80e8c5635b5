// Removes what a build leaves behind. `manifest` as argument removes the packed command manifest only:
// a stale one hides new commands.
import {rmSync} from 'node:fs'

const root = new URL('../', import.meta.url)
if (process.argv[2] !== 'manifest') rmSync(new URL('dist', root), {recursive: true, force: true})
rmSync(new URL('oclif.manifest.json', root), {force: true})

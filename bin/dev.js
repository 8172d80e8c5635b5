#!/usr/bin/env node
// The commands straight from src/, for work on barmans3 itself; a user's command is run.js.
import {execute} from '@oclif/core'

await execute({development: true, dir: import.meta.url})

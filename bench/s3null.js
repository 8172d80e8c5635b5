// Where s3null comes from: a ready program, or its sources, built once.

import {createHash} from 'node:crypto'
import {existsSync, readdirSync, readFileSync, statSync} from 'node:fs'
import {join, resolve} from 'node:path'
import {buildSources, cachedProgram, isProgram} from './go-program.js'

const NAME = 's3null'
const ADVICE = 'name the directory with its sources (main.go, go.mod) or the built program with --s3null PATH or BARMANS3_BENCH_S3NULL'

/**
 * The path of the s3null program. `place` is a directory with its sources or the program itself; without it,
 * `../shared/bench/s3null` beside the project.
 * @throws Error that says what to do when it is not there or cannot be built
 */
export async function findS3null(place, projectDirectory, signal) {
  const path = resolve(place ?? join(projectDirectory, '../shared/bench/s3null'))
  if (!existsSync(path)) throw new Error(`s3null, the S3 endpoint of the bench, is not there (${path}); ${ADVICE}`)
  if (!statSync(path).isDirectory()) {
    if (!isProgram(path)) throw new Error(`${path} is no program; ${ADVICE}`)
    return path
  }

  if (!existsSync(join(path, 'go.mod'))) throw new Error(`there is no go.mod in ${path}; ${ADVICE}`)
  const version = digestOf(path)
  const cached = cachedProgram(NAME, version)
  if (cached !== undefined) return cached
  try {
    return await buildSources(NAME, version, path, signal)
  } catch (error) {
    signal?.throwIfAborted()
    throw new Error(`s3null could not be built from ${path}: ${error.message}\nor name the built program with BARMANS3_BENCH_S3NULL`)
  }
}

function digestOf(directory) {
  const hash = createHash('sha256')
  for (const name of readdirSync(directory).filter((name) => /\.go$|^go\.(mod|sum)$/.test(name)).sort()) {
    hash.update(`${name}\n`).update(readFileSync(join(directory, name)))
  }
  return hash.digest('hex')
}

import {mkdtemp, rm} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {BackupManifest} from '../barman/backup-manifest.ts'
import {BarmanFilesError} from '../errors.ts'
import {EarlierBackups, type EarlierOptions} from './earlier-backups.ts'
import {planFile, type FilePlan} from './file-plan.ts'
import type {ServerContext} from './server-context.ts'
import {walkBackupTree} from './tree-walk.ts'

/**
 * What would be done with files: `pack` and `send` them, `refer` to an earlier backup's object or have it copied inside S3
 * (`copy`), without reading; `compare`: read them, and their SHA-256 decides whether they are sent.
 */
export interface PlannedFiles {
  readonly action: 'pack' | 'send' | 'refer' | 'copy' | 'compare'
  readonly reason: string
  readonly files: number
  readonly bytes: number
}

export interface BackupPlan {
  readonly files: number
  readonly bytes: number
  /** By action and reason, the most bytes first. */
  readonly steps: readonly PlannedFiles[]
}

export interface PlanRequest extends Omit<EarlierOptions, 'directory'> {
  /** Directory of the backup. */
  readonly root: string
  readonly areTimesKept: boolean
}

/** What a copy of a backup would do, from looking only: no file is read, nothing is written but a manifest to a temporary directory. */
export async function planBackup(context: ServerContext, request: PlanRequest): Promise<BackupPlan> {
  const directory = await mkdtemp(join(tmpdir(), 'barmans3-plan-'))
  try {
    const earlier = await EarlierBackups.load(context, {...request, directory})
    try {
      return await addUp(context, request, earlier)
    } finally {
      await earlier.close()
    }
  } finally {
    await rm(directory, {recursive: true, force: true})
  }
}

async function addUp(context: ServerContext, {root, areTimesKept}: PlanRequest, earlier: EarlierBackups): Promise<BackupPlan> {
  const {signal, base: {layout}} = context
  const witness = await readWitness(context, root)
  const steps = new Map<string, {action: PlannedFiles['action']; reason: string; files: number; bytes: number}>()
  let files = 0
  let bytes = 0
  for await (const found of walkBackupTree(root, signal)) {
    if (found.type !== 'file') continue
    const candidates = await earlier.find(found.path, found.local)
    const plan = planFile({...found, knownCrc32c: witness?.crc32cOf(found.path), areTimesKept}, candidates, layout)
    const action = actionOf(plan, layout)
    const key = `${action} ${plan.reason}`
    const step = steps.get(key) ?? {action, reason: plan.reason, files: 0, bytes: 0}
    steps.set(key, {...step, files: step.files + 1, bytes: step.bytes + found.sizeBytes})
    files++
    bytes += found.sizeBytes
  }
  return {files, bytes, steps: [...steps.values()].sort((left, right) => right.bytes - left.bytes)}
}

function actionOf({action}: FilePlan, layout: 'mirror' | 'compact'): PlannedFiles['action'] {
  if (action !== 'use') return action
  return layout === 'mirror' ? 'copy' : 'refer'
}

/** A manifest that cannot be read stops the copy, and says so there. */
async function readWitness(context: ServerContext, root: string): Promise<BackupManifest | undefined> {
  try {
    return await BackupManifest.read(join(root, 'data', 'backup_manifest'), {signal: context.signal})
  } catch (error) {
    if (!(error instanceof BarmanFilesError)) throw error
    context.progress.warn(error.message)
    return undefined
  }
}

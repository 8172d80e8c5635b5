import type {ArchiveKeys} from '../archive/keys.ts'
import type {Writer} from '../archive/backup-record.ts'
import type {BackupLayout} from '../archive/manifest.ts'
import type {BarmanServer} from '../barman/server-directories.ts'
import type {Clock} from '../clock.ts'
import type {Progress} from '../progress.ts'
import type {ObjectStore} from '../store/object-store.ts'
import type {BodyPool} from './body-pool.ts'
import type {HashPool} from './hash-pool.ts'

/** Everything the work on one server needs. Made by `cli/wiring.ts`, in tests by hand. */
export interface ServerContext {
  readonly server: BarmanServer
  readonly store: ObjectStore
  readonly keys: ArchiveKeys
  /** `s3://bucket/prefix`, for messages and to bind local notes to one bucket. */
  readonly archiveUri: string
  readonly writer: Writer
  readonly stateDirectory: string
  /** Requests at the same time. */
  readonly concurrency: number
  readonly partSizeBytes: number
  /** How base backups are stored. */
  readonly base: {
    readonly layout: BackupLayout
    readonly compression: 'zstd' | 'none'
    readonly compressionLevel: number
    /** Nothing of a backup whose record is older is referred to; 0: nothing at all is. */
    readonly maxReferenceAgeMs: number
  }
  /** An upload nobody went on with for so long is given up. */
  readonly abandonAfterMs: number
  /** Memory of request bodies. */
  readonly pool: BodyPool
  /** Memory of content that is being compressed. */
  readonly frames: BodyPool
  readonly hashes: HashPool
  readonly clock: Clock
  readonly progress: Progress
  readonly signal: AbortSignal
  /** How long to wait for the WAL lock: another run or a follower holds it for a batch only. 0 when left out. */
  readonly walLockWaitMs?: number
}

/** One thing that went wrong with one file, backup or task. */
export interface ItemProblem {
  readonly name: string
  readonly message: string
  /** What to do about it. */
  readonly hint?: string
}

/**
 * Bytes of request bodies in flight, whatever the concurrency. The design allows 128 MiB; beside the content that is being
 * compressed, this is what keeps the whole process below 300 MiB (docs/adr/0005).
 */
export const MAX_BODY_BYTES = 48 * 1024 * 1024

/** Of content being compressed, beside the bodies: two frames at a time, which keeps two processors busy. */
export const MAX_FRAME_BYTES = 40 * 1024 * 1024

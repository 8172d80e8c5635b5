import {BarmanFilesError, errnoOf} from '../errors.ts'

/** Why a local file could not be copied. */
export type LocalFileFault = 'vanished' | 'changed' | 'unreadable'

const HINTS: Readonly<Record<LocalFileFault, string>> = {
  vanished: 'see whether something deletes files there, such as retention, while they are copied; then run again',
  changed: 'finished backups and WAL never change: see what writes there, then run again',
  unreadable: 'run barmans3 as the user who owns Barman\'s files (usually barman), and look at the disk if that is not it',
}

/** One file of Barman's that could not be read as a whole and unchanged. */
export class LocalFileError extends BarmanFilesError {
  readonly fault: LocalFileFault
  /** The file as shown to people. */
  readonly shownPath: string

  constructor(fault: LocalFileFault, shownPath: string, options: {detail?: string; cause?: unknown} = {}) {
    const text = {
      vanished: `"${shownPath}" vanished while it was being copied`,
      changed: `"${shownPath}" changed while it was being copied`,
      unreadable: `"${shownPath}" cannot be read`,
    }[fault]
    super(options.detail ? `${text}: ${options.detail}` : text, {cause: options.cause, hint: HINTS[fault]})
    this.fault = fault
    this.shownPath = shownPath
  }
}

/** The fault behind an error of the file system at `shownPath`. */
export function localFileError(error: unknown, shownPath: string): LocalFileError {
  if (error instanceof LocalFileError) return error
  const errno = errnoOf(error)
  if (errno === 'ENOENT' || errno === 'ENOTDIR') return new LocalFileError('vanished', shownPath, {cause: error})
  if (errno === 'ELOOP') return new LocalFileError('changed', shownPath, {detail: 'it is a symbolic link now', cause: error})
  return new LocalFileError('unreadable', shownPath, {detail: describe(errno, error), cause: error})
}

function describe(errno: string | undefined, error: unknown): string {
  if (errno === 'EACCES' || errno === 'EPERM') return `permission denied for uid ${process.geteuid?.() ?? '?'}`
  if (errno === 'EIO') return 'the disk reports a read error (EIO)'
  return errno ?? String(error)
}

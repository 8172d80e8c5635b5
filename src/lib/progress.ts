/** What long work tells whoever watches. The engines know this interface only; `cli/progress` has the renderers. */
export interface Progress {
  /** Begins a phase (one line or one listr2 task), such as "copy 12 WAL files". The latest phase is the current one. */
  phase(title: string): void
  /** What is to be done in this phase, as far as it is known. */
  total(amount: {items?: number; bytes?: number}): void
  /** What has been done since the last call. */
  advance(amount: {items?: number; bytes?: number}): void
  /** Something a person should know that is not an error; also collected for `--json`. */
  warn(message: string): void
  /** A failure of one item; the run goes on. */
  fail(message: string): void
  /** A step worth a line in the log of a cron job (`key=value` fields). */
  event(message: string, fields?: Readonly<Record<string, string | number | boolean>>): void
}

/** Drops everything: for tests and for callers without a terminal. */
export const silentProgress: Progress = {
  phase() {},
  total() {},
  advance() {},
  warn() {},
  fail() {},
  event() {},
}

/** A user id without privileges, as `nobody` has. */
const UNPRIVILEGED = 65_534

/**
 * Runs `work` as a user whom file permissions bind. Root passes them all, so as root the effective user is changed for
 * as long as it runs.
 */
export async function asUnprivilegedUser<T>(work: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return await work()
  process.seteuid?.(UNPRIVILEGED)
  try {
    return await work()
  } finally {
    process.seteuid?.(0)
  }
}

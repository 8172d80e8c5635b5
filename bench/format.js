// Numbers as people read them.

const MIB = 1024 ** 2

/** `5,000` */
export function formatCount(count) {
  return count.toLocaleString('en-US')
}

/** Two decimals below ten seconds, one above. */
export function formatSeconds(seconds) {
  return seconds.toFixed(seconds < 10 ? 2 : 1)
}

/** MiB, with a decimal below ten. */
export function formatMib(bytes) {
  return (bytes / MIB).toFixed(bytes < 10 * MIB ? 1 : 0)
}

/** `32 MiB`, `1 GiB`: whole sizes of files. */
export function formatFileSize(bytes) {
  return bytes < 1024 ** 3 ? `${bytes / MIB} MiB` : `${bytes / 1024 ** 3} GiB`
}

/** `0.45` */
export function formatRatio(ratio) {
  return ratio.toFixed(ratio < 0.1 ? 3 : 2)
}

/** `4.9 %` */
export function formatShare(share) {
  return `${(share * 100).toFixed(1)} %`
}

/** `TLS, 30 ms latency` */
export function formatCondition({isTls, latencyMs}) {
  return [isTls ? 'TLS' : 'HTTP', ...(latencyMs > 0 ? [`${latencyMs} ms latency`] : [])].join(', ')
}

/** `PutObject 12, List 2`, most first. */
export function formatRequests(requests) {
  const mostFirst = Object.entries(requests).sort(([, left], [, right]) => right - left)
  return mostFirst.map(([kind, count]) => `${kind} ${formatCount(count)}`).join(', ')
}

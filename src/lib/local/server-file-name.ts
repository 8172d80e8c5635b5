/** Bytes of a server's name in a file name, so that the longest suffix still fits in 255. */
const MAX_BYTES = 200

/** Everything that is not one ordinary character of a file name. */
const UNUSUAL = /[^A-Za-z0-9_\-+@:,.~]/g

/**
 * The name that stands for a Barman server in file names of the queue and of the state directory. Ordinary names stay
 * as they are; everything but ASCII letters, digits and `_ - + @ : , . ~` is percent-encoded, a leading dot too; a name
 * that would be too long is cut and ends in `%-` and a part of its SHA-256. No two servers share a file name.
 */
export function fileNameForServer(server: string): string {
  const bytes = Buffer.from(server, 'utf8')
  const encoded = bytes.toString('latin1').replace(UNUSUAL, percentEncode).replace(/^\./, '%2E')
  if (encoded === '') return '%'
  if (encoded.length <= MAX_BYTES) return encoded
  // Loaded only here: it would cost the hook 5 ms for names that hardly anybody has.
  const {createHash} = process.getBuiltinModule('node:crypto')
  const digest = createHash('sha256').update(bytes).digest('hex').slice(0, 32)
  return `${encoded.slice(0, MAX_BYTES - 34).replace(/%[\dA-F]?$/, '')}%-${digest}`
}

/** The server whose `fileNameForServer` is `fileName`, or undefined if that name was cut or is none of ours. */
export function serverOfFileName(fileName: string): string | undefined {
  try {
    const server = fileName === '%' ? '' : decodeURIComponent(fileName)
    return fileNameForServer(server) === fileName ? server : undefined
  } catch {
    return undefined
  }
}

function percentEncode(byte: string): string {
  return `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
}

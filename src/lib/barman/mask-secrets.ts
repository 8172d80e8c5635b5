// Repetitions in front of the words are bounded, so that long text costs time in proportion to its length only.
const KEY = String.raw`\b[\w-]{0,40}(?:password|passwd|passphrase|secret|token|access_key)[\w-]{0,40}["']?\s{0,8}[=:]\s{0,8}`
/** Quoted values may have lost their end when the text was cut. */
const VALUE = String.raw`'(?:[^'\\]|\\.)*(?:'|$)|"(?:[^"\\]|\\.)*(?:"|$)|\S+`
const PASSWORD = new RegExp(`(${KEY})(?:${VALUE})`, 'gi')
const URI_CREDENTIALS = /(\b[a-z][a-z0-9+.-]{0,20}:\/\/)\S{0,1000}@/gi

/** `text` with passwords of connection strings (`password=…`, `password = '…'`) and credentials in URIs replaced by `***`. */
export function maskSecrets(text: string): string {
  return text.replace(URI_CREDENTIALS, '$1***@').replace(PASSWORD, '$1***')
}

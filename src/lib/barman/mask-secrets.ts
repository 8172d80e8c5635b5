const PASSWORD = /(\b[\w-]*(?:password|passwd|passphrase|secret|token|access_key)[\w-]*["']?\s*[=:]\s*)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\S+)/gi
const URI_CREDENTIALS = /([a-z][a-z0-9+.-]*:\/\/)\S*@/gi

/** `text` with passwords of connection strings (`password=…`, `password = '…'`) and credentials in URIs replaced by `***`. */
export function maskSecrets(text: string): string {
  return text.replace(URI_CREDENTIALS, '$1***@').replace(PASSWORD, '$1***')
}

/**
 * What of a configuration may be shown. Credentials have no place in it; if they are there by mistake, they stay unseen.
 */

/** True when a thing of this name is likely a secret: keys, passwords, tokens, `conninfo`. */
export function isSecretName(name: string): boolean {
  return /secret|passw|token|credential|conninfo|access_?key|private_?key/i.test(name)
}

/** The value as shown to people: quoted when a text, shortened, without user and password of an address. */
export function formatValue(path: string, value: unknown): string {
  if (isSecretName(path)) return '(hidden)'
  if (value === undefined || (typeof value === 'object' && value !== null)) return ''
  const text = typeof value === 'string' ? redactAddress(value) : value
  const quoted = JSON.stringify(text) ?? ''
  return quoted.length > 120 ? `${quoted.slice(0, 117)}…"` : quoted
}

/** `https://user:password@host` → `https://(hidden)@host`; other text as it is. */
export function redactAddress(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/).*@/is, '$1(hidden)@')
}

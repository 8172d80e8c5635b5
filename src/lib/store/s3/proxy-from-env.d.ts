/** The package ships no types. */
declare module 'proxy-from-env' {
  /** The proxy `process.env` names for this URL, empty for none. */
  export function getProxyForUrl(url: string): string
}

import {UsageError} from '../../errors.ts'

/**
 * The endpoint as a URL without a closing slash. A path in it is kept and used (`https://gateway/s3`).
 * @throws UsageError when it is not `http://` or `https://`, names a user, a query or a fragment.
 */
export function parseEndpoint(text: string): URL {
  const shown = JSON.stringify(text.replace(/\/\/[^/@]*@/, '//…@'))
  if (!/^https?:\/\//i.test(text)) {
    const guess = /^[\w.-]+(:\d+)?(\/|$)/.test(text) ? `https://${text.replace(/\/+$/, '')}` : 'https://host:port'
    throw new UsageError(`the endpoint ${shown} does not begin with https:// or http://`, {hint: `write it as ${guess}`})
  }

  if (!URL.canParse(text)) throw new UsageError(`the endpoint ${shown} is not a URL`, {hint: 'write it as https://host:port'})
  const url = new URL(text)
  if (url.username || url.password) {
    throw new UsageError(`the endpoint ${shown} has a user in it`, {
      hint: 'give keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile',
    })
  }

  if (url.search || url.hash)
    throw new UsageError(`the endpoint ${shown} has a query or a fragment`, {hint: 'write it as https://host:port'})
  url.pathname = url.pathname.replace(/\/+$/, '')
  return url
}

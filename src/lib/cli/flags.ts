import {Flags} from '@oclif/core'

/** Flags of every command. */
export const commonFlags = {
  config: Flags.string({
    summary: 'Configuration file; else BARMANS3_CONFIG, /etc/barmans3.yaml, ~/.config/barmans3/config.yaml, /opt/barmans3/barmans3.conf.',
    helpGroup: 'GLOBAL', helpValue: 'FILE',
  }),
  quiet: Flags.boolean({char: 'q', summary: 'Say nothing but errors.', default: false, helpGroup: 'GLOBAL'}),
}

/** For commands that talk to S3: settings that one run may want otherwise. */
export const storeFlags = {
  's3-uri': Flags.string({summary: 'Bucket and prefix, in place of s3.uri.', helpGroup: 'S3', helpValue: 's3://BUCKET/PREFIX'}),
  's3-endpoint': Flags.string({summary: 'Address of the S3 server, in place of s3.endpoint.', helpGroup: 'S3', helpValue: 'URL'}),
  concurrency: Flags.string({summary: 'Requests at the same time, in place of transfer.concurrency.', helpGroup: 'S3', helpValue: 'N'}),
}

/** For commands that send much. */
export const syncFlags = {
  ...storeFlags,
  'max-bandwidth': Flags.string({
    summary: 'Bytes a second over all connections, such as 50MiB, in place of transfer.maxBandwidth.', helpGroup: 'S3', helpValue: 'SIZE',
  }),
}

export const dryRunFlag = Flags.boolean({char: 'n', summary: 'Show what would be done, change nothing.', default: false})

/** The settings that flags override, by their dotted path. */
export function overridesOf(flags: Readonly<Record<string, unknown>>): Record<string, string> {
  const paths: Readonly<Record<string, string>> = {
    's3-uri': 's3.uri', 's3-endpoint': 's3.endpoint', concurrency: 'transfer.concurrency', 'max-bandwidth': 'transfer.maxBandwidth',
  }
  const overrides: Record<string, string> = {}
  for (const [flag, path] of Object.entries(paths)) {
    const value = flags[flag]
    if (typeof value === 'string') overrides[path] = value
  }
  return overrides
}

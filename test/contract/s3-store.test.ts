import {systemClock} from '../../src/lib/local/system-clock.ts'
import {createS3Store} from '../../src/lib/store/s3/object-store.ts'
import {Throttle} from '../../src/lib/store/throttle.ts'
import {SERVER_KINDS, startServerOrSkip, withBucket, type ServerKind, type TestServer} from '../support/s3-servers.ts'
import {describeObjectStore, type Deviations} from './object-store-suite.ts'

/** Seen on the pinned versions; the suite asserts each, so one that is mended shows as a failure. */
const DEVIATIONS: Readonly<Record<ServerKind, Deviations>> = {
  weed: {spoiltCharacters: ['\\'], keepsEmptyFolders: true},
  versitygw: {refusesKeyBelowKey: true, spoiltCharacters: ['\b']},
  moto: {
    acceptsWrongChecksum: true,
    wrongMultipartSum: true,
    wrongCopySum: true,
    failsAfterAbort: true,
    spoiltCharacters: ['\n'],
  },
}

/** High enough not to hold up the tests, low enough for their parts to go in slices. */
const LIMITED = {throttle: new Throttle({maxBytesPerSecond: 256 * 1024 ** 2, clock: systemClock})}

const CASES = [...SERVER_KINDS.map((kind) => ({kind, what: kind, more: {}})), {kind: 'versitygw', what: 'versitygw and a bandwidth limit', more: LIMITED}] as const

for (const {kind, what, more} of CASES) {
  describe(`with ${what}`, () => {
    let server: TestServer
    before(async function () {
      server = await startServerOrSkip(this, kind)
    })
    after(() => server?.stop())

    describeObjectStore(`S3 at ${what}`, {
      open: () =>
        withBucket(server, async (bucket) =>
          createS3Store({
            bucket,
            endpoint: server.endpoint,
            environment: {...server.environment},
            clock: systemClock,
            maxAttempts: 3,
            ...more,
          }),
        ),
      partBytes: 5 * 1024 * 1024,
      deviations: DEVIATIONS[kind],
    })
  })
}

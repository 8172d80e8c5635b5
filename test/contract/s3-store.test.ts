import {systemClock} from '../../src/lib/local/system-clock.ts'
import {createS3Store} from '../../src/lib/store/s3/object-store.ts'
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

for (const kind of SERVER_KINDS) {
  describe(`with ${kind}`, () => {
    let server: TestServer
    before(async function () {
      server = await startServerOrSkip(this, kind)
    })
    after(() => server?.stop())

    describeObjectStore(`S3 at ${kind}`, {
      open: () =>
        withBucket(server, async (bucket) =>
          createS3Store({
            bucket,
            endpoint: server.endpoint,
            environment: {...server.environment},
            clock: systemClock,
            maxAttempts: 3,
          }),
        ),
      partBytes: 5 * 1024 * 1024,
      deviations: DEVIATIONS[kind],
    })
  })
}

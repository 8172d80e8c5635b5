/**
 * What every ObjectStore must do. Run by the files beside this one on the memory store, the dry-run decorator (its reads)
 * and the S3 store on real servers. Where a server cannot do it, its file declares a deviation, and the suite then asserts
 * the deviating behaviour: a server that is mended makes the test fail, so the list stays true.
 */
import type {ObjectStore} from '../../src/lib/store/object-store.ts'
import {describeLists} from './suite/lists.ts'
import {describeObjects} from './suite/objects.ts'
import {describeOtherRequests} from './suite/other-requests.ts'
import {key, type Subject, type Suite} from './suite/suite.ts'
import {describeUploads} from './suite/uploads.ts'

export type {Deviations, Subject} from './suite/suite.ts'

/** Declares the tests of the contract for one store. */
export function describeObjectStore(name: string, subject: Subject): void {
  let store: ObjectStore
  const suite: Suite = {
    get store() {
      return store
    },
    partBytes: subject.partBytes,
    deviations: subject.deviations ?? {},
    put: (at, body, more = {}) => store.put(key(at), Buffer.from(body), {kind: 'wal', ...more}),
  }

  describe(`the object store contract on ${name}`, () => {
    beforeEach(async () => {
      store = await subject.open()
    })
    afterEach(() => store?.close())

    describeObjects(suite)
    describeLists(suite)
    describeUploads(suite)
    describeOtherRequests(suite)
  })
}

import {createMemoryStore} from '../../src/lib/store/memory.ts'
import {describeObjectStore} from './object-store-suite.ts'

describeObjectStore('the memory store', {
  open: async () => createMemoryStore({limits: {minPartBytes: 1000}, pageSize: 100}),
  partBytes: 1000,
})

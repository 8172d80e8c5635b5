import {StoreRefusedError} from '../errors.ts'
import type {ObjectKey} from '../store/object-store.ts'
import type {ServerContext} from './server-context.ts'

/**
 * Deletes one of our small documents.
 * @param consequence what it means that it stayed, for the error
 * @throws StoreRefusedError when the store keeps it
 */
export async function deleteObject({store, signal}: Pick<ServerContext, 'store' | 'signal'>, key: ObjectKey, consequence: string): Promise<void> {
  const [failure] = await store.delete([key], {signal})
  if (!failure) return
  throw new StoreRefusedError(`the store did not delete "${key}": ${failure.message}`, {
    storeCode: failure.storeCode, scope: 'request', hint: consequence,
  })
}

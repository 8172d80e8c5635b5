import type {ObjectKind, UploadOptions} from '../object-store.ts'
import {assertMetadata} from '../request-rules.ts'
import type {S3StoreOptions} from './options.ts'

/** What every request that makes an object carries. */
export interface WriteHeaders {
  readonly StorageClass?: 'STANDARD'
  readonly Tagging?: string
  readonly ServerSideEncryption?: 'AES256' | 'aws:kms'
  readonly SSEKMSKeyId?: string
  readonly Metadata?: Record<string, string>
  readonly ContentType?: string
}

/** Storage class, tags, encryption and metadata of an object of this kind. @throws TypeError for metadata that stores spoil. */
export function writeHeaders(options: S3StoreOptions, {kind, metadata, contentType}: UploadOptions): WriteHeaders {
  assertMetadata(metadata)
  const tags = new URLSearchParams(options.tags).toString()
  const {encryption} = options
  return {
    ...storageClassOf(options, kind),
    ...(tags === '' ? {} : {Tagging: tags}),
    ...(encryption ? {ServerSideEncryption: encryption.type} : {}),
    ...(encryption?.keyId === undefined ? {} : {SSEKMSKeyId: encryption.keyId}),
    ...(metadata === undefined ? {} : {Metadata: {...metadata}}),
    ...(contentType === undefined ? {} : {ContentType: contentType}),
  }
}

function storageClassOf({storageClass}: S3StoreOptions, kind: ObjectKind): {StorageClass?: 'STANDARD'} {
  // Not named for `meta`: STANDARD is what a store takes when nothing is said, and some know no classes at all.
  const name = kind === 'meta' ? undefined : storageClass?.[kind]
  // The SDK's type lists AWS's classes; other stores have their own words.
  return name === undefined ? {} : {StorageClass: name as 'STANDARD'}
}

import {ConflictError} from '../errors.ts'

/** Our small JSON objects in S3 all say what they are, so that a foreign or newer one is refused by name. */
export interface DocumentKind {
  readonly format: string
  readonly version: number
}

const LOOK = 'look at that object; barmans3 never replaces it'

export type JsonFields = Readonly<Record<string, unknown>>

/** The text of a document of `kind`, with a final line break. */
export function formatDocument(kind: DocumentKind, fields: object): Buffer {
  return Buffer.from(`${JSON.stringify({format: kind.format, version: kind.version, ...fields}, undefined, 2)}\n`)
}

/**
 * The fields of a document.
 * @param name key or path, for the error
 * @throws ConflictError when it is cut, foreign or of a newer major version
 */
export function parseDocument(kind: DocumentKind, bytes: Uint8Array, name: string): JsonFields {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', {fatal: true}).decode(bytes))
  } catch (error) {
    throw new ConflictError(`"${name}" is cut or foreign: it is no JSON`, {cause: error, hint: LOOK})
  }
  if (typeof value !== 'object' || value === null || !('format' in value) || value.format !== kind.format) {
    throw new ConflictError(`"${name}" is not a ${kind.format} of barmans3`, {hint: LOOK})
  }
  const fields = value as JsonFields
  if (fields.version !== kind.version) {
    throw new ConflictError(`"${name}" is of version ${String(fields.version)}, this barmans3 reads version ${kind.version}`, {
      hint: 'install the barmans3 that wrote it, or a newer one',
    })
  }
  return fields
}

/** A string field, or a ConflictError naming the document. */
export function requireText(fields: JsonFields, field: string, name: string): string {
  const value = fields[field]
  if (typeof value !== 'string') throw unreadable(field, name)
  return value
}

/** A number that is a size or count, or a ConflictError naming the document. */
export function requireSize(fields: JsonFields, field: string, name: string): number {
  const value = fields[field]
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw unreadable(field, name)
  return value
}

/** The strings of an array field, or a ConflictError naming the document when it is anything else. */
export function requireTextList(fields: JsonFields, field: string, name: string): string[] {
  const value = fields[field]
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) throw unreadable(field, name)
  return value as string[]
}

/** A field that is an object, or a ConflictError naming the document. */
export function requireFields(fields: JsonFields, field: string, name: string): JsonFields {
  const value = fields[field]
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw unreadable(field, name)
  return value as JsonFields
}

export function optionalText(fields: JsonFields, field: string): string | undefined {
  const value = fields[field]
  return typeof value === 'string' ? value : undefined
}

export function optionalNumber(fields: JsonFields, field: string): number | undefined {
  const value = fields[field]
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}

function unreadable(field: string, name: string): ConflictError {
  return new ConflictError(`"${name}" has no "${field}" that can be understood`, {hint: LOOK})
}

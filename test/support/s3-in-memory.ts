/** What an S3 server answers, over a map of objects: the honest part of the fault server. */
import {createHash} from 'node:crypto'
import {crc32c, formatCrc32c} from '../../src/lib/store/checksum.ts'
import {compareKeys} from '../../src/lib/store/key-order.ts'

export interface StoredObject {
  readonly body: Buffer
  readonly etag: string
  readonly lastModified: Date
  /** Headers of the PUT that are kept: `x-amz-meta-*`, content type, storage class, tags, encryption, checksum. */
  readonly headers: Readonly<Record<string, string>>
}

export interface StoredUpload {
  readonly key: string
  readonly headers: Readonly<Record<string, string>>
  readonly parts: Map<number, {readonly body: Buffer; readonly etag: string}>
}

export interface S3Request {
  readonly method: string
  /** S3's name of the operation, as `PutObject`. */
  readonly operation: string
  readonly bucket: string
  readonly key: string
  readonly query: URLSearchParams
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

export interface S3Answer {
  status: number
  headers: Record<string, string>
  body: Buffer
}

export interface S3InMemoryOptions {
  /** Keys in one list answer; default 1000. */
  readonly pageSize?: number
  /** How `encoding-type=url` is followed: space as `+` (AWS), as `%20`, or not at all. Default `plus`. */
  readonly encoding?: 'plus' | 'percent' | 'ignored'
  /** False for a store that ignores `If-None-Match`. Default true. */
  readonly honoursConditions?: boolean
  /** False for a store that neither checks nor keeps checksums. Default true. */
  readonly keepsChecksums?: boolean
}

/** One bucket of an S3 server without authentication. */
export class S3InMemory {
  readonly objects = new Map<string, StoredObject>()
  readonly uploads = new Map<string, StoredUpload>()
  readonly #bucket: string
  readonly #options: S3InMemoryOptions
  #lastUpload = 0

  constructor(bucket: string, options: S3InMemoryOptions) {
    this.#bucket = bucket
    this.#options = options
  }

  /** Does what the request asks and says what an honest server would. */
  serve(request: S3Request): S3Answer {
    if (request.bucket !== this.#bucket) return errorAnswer(404, 'NoSuchBucket')
    const {key, query, headers, body} = request
    const sum = headers['x-amz-checksum-crc32c']
    const isSumWrong = sum !== undefined && body.length > 0 && sum !== formatCrc32c(crc32c(body))
    if (this.#keepsChecksums && isSumWrong && request.method === 'PUT') return errorAnswer(400, 'BadDigest')
    switch (request.operation) {
      case 'PutObject':
        if (headers['if-none-match'] === '*' && (this.#options.honoursConditions ?? true) && this.objects.has(key)) {
          return errorAnswer(412, 'PreconditionFailed')
        }

        return answer(200, {etag: this.#store(key, body, md5(body), headers)})
      case 'HeadObject':
      case 'GetObject':
        return this.#read(request)
      case 'ListObjectsV2':
        return this.#list(query)
      case 'CopyObject':
        return this.#copy(key, headers)
      case 'DeleteObject':
        this.objects.delete(key)
        return answer(204)
      case 'DeleteObjects': {
        const quiet = body.includes('<Quiet>true</Quiet>')
        const keys = [...body.toString().matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, text = '']) => unescapeXml(text))
        for (const deleted of keys) this.objects.delete(deleted)
        const shown = quiet ? '' : keys.map((deleted) => `<Deleted><Key>${escapeXml(deleted)}</Key></Deleted>`).join('')
        return xmlAnswer(`<DeleteResult>${shown}</DeleteResult>`)
      }

      case 'ListMultipartUploads': {
        const found = [...this.uploads].filter(([, upload]) => upload.key.startsWith(query.get('prefix') ?? ''))
        const entries = found.map(
          ([id, upload]) => `<Upload><Key>${escapeXml(upload.key)}</Key><UploadId>${id}</UploadId></Upload>`,
        )
        return xmlAnswer(
          `<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>${entries.join('')}</ListMultipartUploadsResult>`,
        )
      }

      default:
        return this.#multipart(request)
    }
  }

  get #keepsChecksums(): boolean {
    return this.#options.keepsChecksums ?? true
  }

  #store(key: string, body: Buffer, etag: string, headers: Readonly<Record<string, string>>): string {
    const kept = Object.entries(headers).filter(([name]) =>
      /^(x-amz-(meta-.*|storage-class|tagging|server-side-encryption.*)|content-type)$/.test(name),
    )
    const sum: Record<string, string> = this.#keepsChecksums
      ? {'x-amz-checksum-crc32c': formatCrc32c(crc32c(body)), 'x-amz-checksum-type': 'FULL_OBJECT'}
      : {}
    this.objects.set(key, {body, etag, lastModified: new Date(), headers: {...Object.fromEntries(kept), ...sum}})
    return etag
  }

  #read({method, key, headers}: S3Request): S3Answer {
    const object = this.objects.get(key)
    if (!object) return method === 'HEAD' ? answer(404) : errorAnswer(404, 'NoSuchKey')
    const all = {
      ...object.headers,
      etag: object.etag,
      'last-modified': object.lastModified.toUTCString(),
      'accept-ranges': 'bytes',
    }
    const range = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '')
    if (!range) return answer(200, all, object.body)
    const begin = Number(range[1])
    if (begin >= object.body.length) return errorAnswer(416, 'InvalidRange')
    const end = Math.min(range[2] ? Number(range[2]) : Infinity, object.body.length - 1)
    return answer(
      206,
      {...all, 'content-range': `bytes ${begin}-${end}/${object.body.length}`},
      object.body.subarray(begin, end + 1),
    )
  }

  #copy(key: string, headers: Readonly<Record<string, string>>): S3Answer {
    const source = decodeURIComponent(headers['x-amz-copy-source'] ?? '').replace(/^\/?[^/]+\//, '')
    const object = this.objects.get(source)
    if (!object) return errorAnswer(404, 'NoSuchKey')
    const etag = this.#store(key, object.body, md5(object.body), headers)
    return xmlAnswer(
      `<CopyObjectResult><ETag>${escapeXml(etag)}</ETag><LastModified>${new Date().toISOString()}</LastModified></CopyObjectResult>`,
    )
  }

  #list(query: URLSearchParams): S3Answer {
    const prefix = query.get('prefix') ?? ''
    const delimiter = query.get('delimiter') ?? ''
    const token = query.get('continuation-token')
    const after = token === null ? (query.get('start-after') ?? '') : Buffer.from(token, 'base64url').toString()
    const pageSize = Math.min(Number(query.get('max-keys') ?? 1000), this.#options.pageSize ?? 1000)
    const names = new Map<string, StoredObject | undefined>()
    for (const [key, object] of this.objects) {
      const end = key.startsWith(prefix) && delimiter !== '' ? key.indexOf(delimiter, prefix.length) : -1
      const name = end < 0 ? key : key.slice(0, end + delimiter.length)
      if (key.startsWith(prefix) && compareKeys(name, after) > 0) names.set(name, end < 0 ? object : undefined)
    }

    const page = [...names].sort(([a], [b]) => compareKeys(a, b)).slice(0, pageSize)
    const isTruncated = names.size > page.length
    const isEncoded = query.get('encoding-type') === 'url' && this.#options.encoding !== 'ignored'
    const encode = (text: string) => (isEncoded ? this.#encode(text) : escapeXml(text))
    const entries = page.map(([name, object]) =>
      object
        ? `<Contents><Key>${encode(name)}</Key><LastModified>${object.lastModified.toISOString()}</LastModified><ETag>${escapeXml(object.etag)}</ETag><Size>${object.body.length}</Size></Contents>`
        : `<CommonPrefixes><Prefix>${encode(name)}</Prefix></CommonPrefixes>`,
    )
    const next = isTruncated
      ? `<NextContinuationToken>${Buffer.from(page.at(-1)?.[0] ?? '').toString('base64url')}</NextContinuationToken>`
      : ''
    return xmlAnswer(
      `<ListBucketResult><Name>${this.#bucket}</Name><Prefix>${encode(prefix)}</Prefix>${isEncoded ? '<EncodingType>url</EncodingType>' : ''}` +
        `<KeyCount>${page.length}</KeyCount><MaxKeys>${pageSize}</MaxKeys><IsTruncated>${isTruncated}</IsTruncated>${next}${entries.join('')}</ListBucketResult>`,
    )
  }

  #encode(text: string): string {
    const percent = encodeURIComponent(text).replace(
      /[!'()*]/g,
      (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
    )
    return this.#options.encoding === 'percent' ? percent : percent.replaceAll('%20', '+').replaceAll('%2F', '/')
  }

  #multipart({operation, key, query, headers, body}: S3Request): S3Answer {
    if (operation === 'CreateMultipartUpload') {
      const id = `upload-${++this.#lastUpload}`
      this.uploads.set(id, {key, headers, parts: new Map()})
      return xmlAnswer(
        `<InitiateMultipartUploadResult><Bucket>${this.#bucket}</Bucket><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
      )
    }

    const id = query.get('uploadId') ?? ''
    const upload = this.uploads.get(id)
    if (!upload) return errorAnswer(404, 'NoSuchUpload')
    switch (operation) {
      case 'UploadPart': {
        const etag = md5(body)
        upload.parts.set(Number(query.get('partNumber')), {body, etag})
        const sum = headers['x-amz-checksum-crc32c']
        return answer(200, {etag, ...(sum === undefined ? {} : {'x-amz-checksum-crc32c': sum})})
      }

      case 'AbortMultipartUpload':
        this.uploads.delete(id)
        return answer(204)
      case 'CompleteMultipartUpload': {
        const named = [...body.toString().matchAll(/<PartNumber>(\d+)<\/PartNumber>/g)].map(([, text]) => Number(text))
        const parts = named.sort((a, b) => a - b).map((number) => upload.parts.get(number))
        if (parts.length === 0 || parts.includes(undefined)) return errorAnswer(400, 'InvalidPart')
        const whole = Buffer.concat(parts.map((part) => part?.body ?? Buffer.alloc(0)))
        const sum = headers['x-amz-checksum-crc32c']
        if (this.#keepsChecksums && sum !== undefined && sum !== formatCrc32c(crc32c(whole)))
          return errorAnswer(400, 'BadDigest')
        const digests = Buffer.concat(parts.map((part) => Buffer.from(part?.etag.slice(1, -1) ?? '', 'hex')))
        const etag = this.#store(
          key,
          whole,
          `"${createHash('md5').update(digests).digest('hex')}-${parts.length}"`,
          upload.headers,
        )
        this.uploads.delete(id)
        return xmlAnswer(
          `<CompleteMultipartUploadResult><Key>${escapeXml(key)}</Key><ETag>${escapeXml(etag)}</ETag></CompleteMultipartUploadResult>`,
        )
      }

      default:
        return errorAnswer(501, 'NotImplemented')
    }
  }
}

/** S3's name for a request, by method and query as in the path style. */
export function operationOf(
  method: string,
  key: string,
  query: URLSearchParams,
  headers: Readonly<Record<string, string>>,
): string {
  if (method === 'GET' && key === '') return query.has('uploads') ? 'ListMultipartUploads' : 'ListObjectsV2'
  if (method === 'POST' && query.has('delete')) return 'DeleteObjects'
  if (method === 'POST') return query.has('uploads') ? 'CreateMultipartUpload' : 'CompleteMultipartUpload'
  if (method === 'PUT' && query.has('uploadId')) return 'UploadPart'
  if (method === 'PUT') return headers['x-amz-copy-source'] === undefined ? 'PutObject' : 'CopyObject'
  if (method === 'DELETE') return query.has('uploadId') ? 'AbortMultipartUpload' : 'DeleteObject'
  return method === 'HEAD' ? 'HeadObject' : 'GetObject'
}

/** An answer without XML. */
export function answer(status: number, headers: Record<string, string> = {}, body: Buffer = Buffer.alloc(0)): S3Answer {
  return {status, headers: {...headers}, body}
}

/** An answer with a document. */
export function xmlAnswer(document: string, status = 200): S3Answer {
  return answer(status, {'content-type': 'application/xml'}, Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${document}`))
}

/** S3's error document. */
export function errorAnswer(status: number, code: string, message = `this is ${code}`): S3Answer {
  return xmlAnswer(`<Error><Code>${code}</Code><Message>${escapeXml(message)}</Message></Error>`, status)
}

export function escapeXml(text: string): string {
  return text.replace(/[&<>"\u0000-\u001F]/g, (character) => `&#x${character.charCodeAt(0).toString(16)};`)
}

function unescapeXml(text: string): string {
  return text
    .replace(/&#x([\da-f]+);/gi, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)))
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&apos;', "'")
    .replaceAll('&amp;', '&')
}

function md5(body: Buffer): string {
  return `"${createHash('md5').update(body).digest('hex')}"`
}

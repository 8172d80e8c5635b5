/** A large file as zstd frames: compressed several at a time, cut into parts of one size, sent as they become full. */
import {combineCrc32c} from '../store/checksum.ts'
import {openSender, type DataRequest, type DataUploadDeps, type SentData} from './data-request.ts'
import {checkUnchanged, readExactly, type OpenFile} from './open-file.ts'
import {mtimeMetadata, planPartSize, type PartSender} from './part-sender.ts'
import type {ContentHash} from './hash-pool.ts'
import {compressFrame, FRAME_BYTES, release, isNeverCompressed, isWorthIt, mostStoredBytes, ZSTD_VERSION} from './zstd.ts'

/** So much from the middle of a file that does not shrink at its begin tells whether the rest does. */
const SAMPLE_BYTES = 1024 * 1024
/** Frames of one file that are compressed at the same time. */
const FRAMES_AT_ONCE = 2

/** Whether a file is worth compressing, from its first frame and a piece from its middle. */
export async function decideEncoding(deps: DataUploadDeps, file: OpenFile, level: number): Promise<'zstd' | 'plain'> {
  if (isNeverCompressed(file.shownPath)) return 'plain'
  const middle = Math.floor(file.sizeBytes / 2)
  for (const [position, bytes] of [[0, SAMPLE_BYTES], [middle, SAMPLE_BYTES]] as const) {
    const sample = await deps.frames.take(Math.min(bytes, file.sizeBytes - position), deps.signal)
    try {
      await readExactly(file, sample, position)
      const frame = await compressFrame(sample, level)
      const isSmaller = isWorthIt(sample.length, frame.length)
      release(frame)
      if (isSmaller) return 'zstd'
    } finally {
      deps.frames.give(sample)
    }
  }
  return 'plain'
}

type FrameRequest = DataRequest & {readonly compressed: NonNullable<DataRequest['compressed']>}

/** Sends the file as frames. One that shrinks to less than a part is one PUT. */
export async function sendFrames(deps: DataUploadDeps, request: FrameRequest, file: OpenFile): Promise<SentData> {
  const parts = new FrameParts(deps, request, file)
  try {
    return await parts.send()
  } catch (error) {
    throw await parts.fail(error)
  }
}

class FrameParts {
  readonly #deps: DataUploadDeps
  readonly #request: FrameRequest
  readonly #file: OpenFile
  readonly #partSizeBytes: number
  readonly #content: ContentHash
  readonly #stored: ContentHash
  #sender: PartSender | undefined
  /** The part that is being filled. */
  #body: Buffer | undefined
  #filledBytes = 0
  #contentCrc32c = 0
  readonly #offsets: number[] = []
  #storedBytes = 0

  constructor(deps: DataUploadDeps, request: FrameRequest, file: OpenFile) {
    this.#deps = deps
    this.#request = request
    this.#file = file
    this.#partSizeBytes = planPartSize(mostStoredBytes(file.sizeBytes), deps.partSizeBytes, deps.store.limits)
    this.#content = deps.hashes.begin(file.sizeBytes)
    this.#stored = deps.hashes.begin(file.sizeBytes)
  }

  async send(): Promise<SentData> {
    const {sizeBytes, local} = this.#file
    await this.#takeBody()
    for await (const frame of this.#frames()) {
      this.#offsets.push(this.#storedBytes)
      this.#storedBytes += frame.bytes.length
      this.#contentCrc32c = combineCrc32c(this.#contentCrc32c, frame.crc32c, frame.contentBytes)
      await this.#add(frame.bytes)
      release(frame.bytes)
      this.#deps.onBytes?.(frame.contentBytes)
    }
    const {key} = this.#request.compressed
    const whole = this.#sender ? await this.#complete(this.#sender) : await this.#putWhole()
    return {
      content: {sizeBytes, crc32c: this.#contentCrc32c, sha256: await this.#content.digest()},
      object: {key, ...whole, sha256: await this.#stored.digest(), zstd: {frameBytes: FRAME_BYTES, offsets: this.#offsets}},
      local,
    }
  }

  async fail(error: unknown): Promise<unknown> {
    this.#content.drop()
    this.#stored.drop()
    if (this.#body) this.#deps.pool.give(this.#body, {isReusable: false})
    this.#body = undefined
    return this.#sender ? await this.#sender.fail(error) : error
  }

  get #signal(): AbortSignal {
    return this.#sender?.signal ?? this.#deps.signal
  }

  /** The frames in their order, some being made while the one before is taken. */
  async* #frames(): AsyncGenerator<{bytes: Buffer; contentBytes: number; crc32c: number}, void, undefined> {
    const {sizeBytes} = this.#file
    const underWay: Promise<{bytes: Buffer; contentBytes: number; crc32c: number}>[] = []
    let position = 0
    let turn: Promise<void> = Promise.resolve()
    try {
      for (;;) {
        while (position < sizeBytes && underWay.length < FRAMES_AT_ONCE) {
          const begin = position
          position += FRAME_BYTES
          const read = turn.then(async () => await this.#readFrame(begin))
          // Read one after the other, because the digest needs them in order; compressed beside each other.
          turn = read.then(() => undefined)
          turn.catch(() => undefined)
          const frame = read.then(async (source) => await this.#compress(source))
          frame.catch(() => undefined)
          underWay.push(frame)
        }
        const next = underWay.shift()
        if (!next) return
        yield await next
      }
    } finally {
      await Promise.allSettled(underWay)
    }
  }

  async #readFrame(position: number): Promise<{source: Buffer; hashing: Promise<number>}> {
    const {frames} = this.#deps
    const source = await frames.take(Math.min(FRAME_BYTES, this.#file.sizeBytes - position), this.#signal)
    try {
      this.#signal.throwIfAborted()
      await readExactly(this.#file, source, position)
    } catch (error) {
      frames.give(source)
      throw error
    }
    return {source, hashing: this.#content.update(source)}
  }

  async #compress({source, hashing}: {source: Buffer; hashing: Promise<number>}): Promise<{bytes: Buffer; contentBytes: number; crc32c: number}> {
    try {
      const [bytes, sum] = await Promise.all([compressFrame(source, this.#request.compressed.level), hashing])
      return {bytes, contentBytes: source.length, crc32c: sum}
    } finally {
      await hashing.catch(() => undefined)
      this.#deps.frames.give(source)
    }
  }

  /** Adds stored bytes, and sends each part that is full. */
  async #add(bytes: Buffer): Promise<void> {
    for (let position = 0; position < bytes.length;) {
      if (this.#filledBytes === this.#partSizeBytes) await this.#sendPart(this.#partSizeBytes)
      const body = this.#body ?? (await this.#takeBody())
      const copied = bytes.copy(body, this.#filledBytes, position)
      position += copied
      this.#filledBytes += copied
    }
  }

  async #takeBody(): Promise<Buffer> {
    this.#body = await this.#deps.pool.take(Math.min(this.#partSizeBytes, mostStoredBytes(this.#file.sizeBytes)), this.#signal)
    this.#filledBytes = 0
    return this.#body
  }

  async #sendPart(sizeBytes: number): Promise<void> {
    const body = this.#body
    if (!body) return
    const {compressed: {level}} = this.#request
    this.#sender ??= await openSender(this.#deps, this.#request, this.#request.compressed.key, this.#file.local, {
      partSizeBytes: this.#partSizeBytes, frameBytes: FRAME_BYTES, level, zstd: ZSTD_VERSION,
    })
    this.#body = undefined
    const part = body.subarray(0, sizeBytes)
    this.#sender.add(part, this.#stored.update(part))
  }

  async #complete(sender: PartSender): Promise<{sizeBytes: number; crc32c: number}> {
    if (this.#filledBytes > 0) await this.#sendPart(this.#filledBytes)
    await sender.settle()
    await checkUnchanged(this.#file)
    return await sender.complete()
  }

  async #putWhole(): Promise<{sizeBytes: number; crc32c: number}> {
    const {store, signal, pool} = this.#deps
    const body = this.#body?.subarray(0, this.#filledBytes)
    if (!body) throw new Error('no frame was made')
    await checkUnchanged(this.#file)
    const sum = await this.#stored.update(body)
    await store.put(this.#request.compressed.key, body, {kind: 'base', crc32c: sum, metadata: mtimeMetadata(this.#file.local.mtimeNs), signal})
    if (this.#body) pool.give(this.#body)
    this.#body = undefined
    return {sizeBytes: body.length, crc32c: sum}
  }
}

/** The least and most of amounts that come from more than one place. */
export interface Limits {
  readonly least: number
  readonly most: number
}

/** Requests at the same time. */
export const MAX_CONCURRENCY: Limits = {least: 1, most: 128}

/** Bytes of one part of a multipart upload (AWS: multipart upload limits). */
export const PART_SIZE: Limits = {least: 5 * 1024 ** 2, most: 5 * 1024 ** 3}

/** Bytes a second; below the least a single part takes an hour and stores lose patience. */
export const MAX_BANDWIDTH: Limits = {least: 64 * 1024, most: 1024 ** 4}

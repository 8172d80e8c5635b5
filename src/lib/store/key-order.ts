/**
 * Compares two keys by their UTF-8 bytes, the order of S3 listings. JavaScript's `<` compares UTF-16 units and puts
 * characters above U+FFFF before U+E000, so it disagrees for a few. Negative, zero or positive as `sort` wants it.
 */
export function compareKeys(first: string, second: string): number {
  const length = Math.min(first.length, second.length)
  for (let index = 0; index < length; index++) {
    const left = first.charCodeAt(index)
    const right = second.charCodeAt(index)
    if (left !== right) return rankOf(left) - rankOf(right)
  }

  return first.length - second.length
}

/** Moves surrogates behind all other UTF-16 units: the characters they stand for have the largest UTF-8 bytes. */
function rankOf(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit
}

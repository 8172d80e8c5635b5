/**
 * A value Python's `repr` wrote, as far as Barman uses it. None is null, lists and tuples are arrays, dicts are maps,
 * integers beyond 2^53 are bigint.
 */
export type PythonLiteral =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly PythonLiteral[]
  | ReadonlyMap<PythonLiteral, PythonLiteral>

const MAX_DEPTH = 64
const NUMBER = /[+-]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?L?/y
const WORD = /[A-Za-z_]+/y
const SIMPLE_ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\', "'": "'", '"': '"', a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v',
}

/**
 * The value `text` stands for, or undefined when it is not one Python literal. Nothing is ever evaluated. Understood are
 * strings with their escapes (also with Python 2's `u` prefix), numbers (also `16384L`), None, True, False, lists,
 * tuples and dicts, nested at most 64 deep.
 */
export function parsePythonLiteral(text: string): PythonLiteral | undefined {
  const reader = new LiteralReader(text)
  try {
    const value = reader.readValue(0)
    reader.skipBlanks()
    return reader.isAtEnd() ? value : undefined
  } catch (error: unknown) {
    if (error instanceof NotALiteral) return undefined
    throw error
  }
}

class NotALiteral extends Error {}

class LiteralReader {
  readonly #text: string
  #position = 0

  constructor(text: string) {
    this.#text = text
  }

  isAtEnd(): boolean {
    return this.#position === this.#text.length
  }

  skipBlanks(): void {
    while (' \t\r\n'.includes(this.#text[this.#position] ?? 'x')) this.#position++
  }

  readValue(depth: number): PythonLiteral {
    if (depth > MAX_DEPTH) throw new NotALiteral()
    this.skipBlanks()
    const next = this.#text[this.#position]
    if (next === '[') return this.#readItems(']', depth)
    if (next === '(') return this.#readParenthesised(depth)
    if (next === '{') return this.#readDict(depth)
    if (next === "'" || next === '"') return this.#readStrings()
    const number = this.#match(NUMBER)
    if (number !== undefined) return toNumber(number)
    const word = this.#match(WORD)
    if (word === 'None') return null
    if (word === 'True') return true
    if (word === 'False') return false
    if (word !== undefined && /^[uUbB]$/.test(word)) return this.#readStrings()
    throw new NotALiteral()
  }

  #readParenthesised(depth: number): PythonLiteral {
    const items: PythonLiteral[] = []
    const hasComma = this.#readSequence(')', () => items.push(this.readValue(depth + 1)))
    // A single value in parentheses without a comma is that value, not a tuple.
    return items.length === 1 && !hasComma ? (items[0] ?? null) : items
  }

  #readItems(closing: string, depth: number): readonly PythonLiteral[] {
    const items: PythonLiteral[] = []
    this.#readSequence(closing, () => items.push(this.readValue(depth + 1)))
    return items
  }

  #readDict(depth: number): ReadonlyMap<PythonLiteral, PythonLiteral> {
    const entries = new Map<PythonLiteral, PythonLiteral>()
    this.#readSequence('}', () => {
      const key = this.readValue(depth + 1)
      this.skipBlanks()
      this.#take(':')
      entries.set(key, this.readValue(depth + 1))
    })
    return entries
  }

  /** Reads items up to `closing`; true when the last thing before it, or anything between items, was a comma. */
  #readSequence(closing: string, readItem: () => void): boolean {
    this.#position++
    let hasComma = false
    for (;;) {
      this.skipBlanks()
      if (this.#tryTake(closing)) return hasComma
      readItem()
      this.skipBlanks()
      if (this.#tryTake(closing)) return hasComma
      this.#take(',')
      hasComma = true
    }
  }

  /** One string, or several standing side by side, which Python joins. */
  #readStrings(): string {
    let text = ''
    do {
      text += this.#readString()
      this.skipBlanks()
    } while (this.#text[this.#position] === "'" || this.#text[this.#position] === '"')
    return text
  }

  #readString(): string {
    const quote = this.#text[this.#position++]
    if (quote !== "'" && quote !== '"') throw new NotALiteral()
    let text = ''
    for (;;) {
      const next = this.#text[this.#position++]
      if (next === undefined || next === '\n') throw new NotALiteral()
      if (next === quote) return text
      text += next === '\\' ? this.#readEscape() : next
    }
  }

  #readEscape(): string {
    const next = this.#text[this.#position++]
    if (next === undefined) throw new NotALiteral()
    const simple = Object.hasOwn(SIMPLE_ESCAPES, next) ? SIMPLE_ESCAPES[next] : undefined
    if (simple !== undefined) return simple
    if (next === 'x') return this.#readCodePoint(/[0-9A-Fa-f]{2}/y, 16)
    if (next === 'u') return this.#readCodePoint(/[0-9A-Fa-f]{4}/y, 16)
    if (next === 'U') return this.#readCodePoint(/[0-9A-Fa-f]{8}/y, 16)
    if (next >= '0' && next <= '7') {
      this.#position--
      return this.#readCodePoint(/[0-7]{1,3}/y, 8)
    }
    if (next === '\n') return ''
    // Python keeps the backslash of an escape it does not know.
    return `\\${next}`
  }

  #readCodePoint(digits: RegExp, radix: number): string {
    const codePoint = Number.parseInt(this.#match(digits) ?? '', radix)
    if (!(codePoint <= 0x10_ffff)) throw new NotALiteral()
    return String.fromCodePoint(codePoint)
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#position
    const match = pattern.exec(this.#text)?.[0]
    if (match !== undefined) this.#position += match.length
    return match
  }

  #tryTake(character: string): boolean {
    if (this.#text[this.#position] !== character) return false
    this.#position++
    return true
  }

  #take(character: string): void {
    if (!this.#tryTake(character)) throw new NotALiteral()
  }
}

function toNumber(text: string): number | bigint {
  if (!/^[+-]?\d+L?$/.test(text)) return Number.parseFloat(text)
  const digits = text.replace(/L$/, '')
  const value = Number(digits)
  return Number.isSafeInteger(value) ? value : BigInt(digits.replace(/^\+/, ''))
}

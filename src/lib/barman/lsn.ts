const LSN = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/
const HIGHEST_LSN = 0xffff_ffff_ffff_ffffn

/** The log sequence number in `text` (pg: `pg_lsn`, such as `0/3000028`), or undefined when it is none. */
export function parseLsn(text: string): bigint | undefined {
  const match = LSN.exec(text)
  if (match === null) return undefined
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`)
}

/** `lsn` as PostgreSQL up to 18 prints it: `%X/%X`, upper case, no leading zeros. Throws RangeError outside 64 bits. */
export function formatLsn(lsn: bigint): string {
  if (lsn < 0n || lsn > HIGHEST_LSN) throw new RangeError(`${lsn} is not a log sequence number`)
  return `${hex(lsn >> 32n)}/${hex(lsn & 0xffff_ffffn)}`
}

function hex(value: bigint): string {
  return value.toString(16).toUpperCase()
}

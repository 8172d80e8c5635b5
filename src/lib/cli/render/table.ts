import {formatOneLine} from './units.ts'

export interface Column {
  readonly title: string
  readonly align?: 'right'
}

/** Rows aligned below their titles, two blanks between columns, no trailing blanks. */
export function renderTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const cells = [columns.map(({title}) => title), ...rows.map((row) => row.map(formatOneLine))]
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => width(row[index] ?? ''))))
  return cells.map((row) => row.map((cell, index) => {
    const blanks = ' '.repeat(Math.max(0, (widths[index] ?? 0) - width(cell)))
    return columns[index]?.align === 'right' ? blanks + cell : cell + blanks
  }).join('  ').trimEnd())
}

function width(text: string): number {
  return [...text].length
}

/**
 * The path of a file inside one backup (below `base/<id>/`), as a string with one character per byte ("binary string").
 * File names are bytes, not text: this form holds any of them exactly, and comparing two with `<` compares bytes, which
 * is the order of the manifest. Parts are joined by `/`; there is no leading or closing `/`.
 */
export type BackupPath = string & {readonly __brand: 'BackupPath'}

const utf8 = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true})

/** The path made of raw bytes, as `readdir` with `encoding: 'buffer'` gives them. */
export function backupPathFromBytes(bytes: Buffer): BackupPath {
  return bytes.toString('latin1') as BackupPath
}

/** The path made of ordinary text. */
export function backupPathFromText(text: string): BackupPath {
  return Buffer.from(text, 'utf8').toString('latin1') as BackupPath
}

/** The bytes of a path, for the file system. */
export function backupPathBytes(path: BackupPath): Buffer {
  return Buffer.from(path, 'latin1')
}

/** The path as text when it is valid UTF-8, else undefined. */
export function backupPathText(path: BackupPath): string | undefined {
  try {
    return utf8.decode(backupPathBytes(path))
  } catch {
    return undefined
  }
}

/** The path of `name` (raw, one character per byte) inside `directory`; the empty path is the backup itself. */
export function joinBackupPath(directory: BackupPath, name: string): BackupPath {
  return (directory === '' ? name : `${directory}/${name}`) as BackupPath
}

/** The path for people: control characters and bytes that are no UTF-8 shown as `\xNN`, never a raw line break. */
export function formatBackupPath(path: BackupPath): string {
  const text = backupPathText(path)
  const shown = text ?? path
  return shown.replace(/[\u0000-\u001f\u007f-\u009f\\]/g, (character) =>
    character === '\\' ? '\\\\' : `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`)
}

import {existsSync} from 'node:fs'
import {dirname, join} from 'node:path'
import {expect} from 'chai'
import {listAllPages, projectDirectory, readPage} from '../support/doc-pages.ts'

/** As GitHub makes anchors of headings: small letters, no punctuation, hyphens for blanks. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map((match) =>
    (match[1] ?? '').toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-'))
}

describe('links in the documentation', () => {
  for (const page of listAllPages()) {
    it(`${page}: every file and heading that is linked to exists`, () => {
      for (const [, target = ''] of readPage(page).replace(/^```.*?^```$/gms, '').matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^https?:/.test(target)) continue
        const [path = '', anchor] = target.split('#')
        const file = path === '' ? page : join(dirname(page), path)
        expect(existsSync(join(projectDirectory, file)), target).to.equal(true)
        if (anchor !== undefined) expect(anchorsOf(readPage(file)), target).to.include(anchor)
      }
    })
  }
})

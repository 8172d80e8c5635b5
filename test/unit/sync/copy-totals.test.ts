import {expect} from 'chai'
import {silentProgress} from '../../../src/lib/progress.ts'
import {CopyTotals} from '../../../src/lib/sync/copy-totals.ts'

describe('what is left to be sent', () => {
  function totals(): {totals: CopyTotals; shown: {items?: number; bytes?: number}[]} {
    const shown: {items?: number; bytes?: number}[] = []
    return {totals: new CopyTotals({...silentProgress, total: (amount) => void shown.push(amount)}), shown}
  }

  it('is the whole backup without what need not be sent, whether that was found before or after it was counted', () => {
    const {totals: counted, shown} = totals()
    counted.skip(300)
    expect(shown).to.deep.equal([])
    counted.set({items: 10, bytes: 1000})
    counted.skip(200)
    expect(shown).to.deep.equal([{items: 10, bytes: 700}, {items: 10, bytes: 500}])
  })

  it('is never less than nothing: files may have come since they were counted', () => {
    const {totals: counted, shown} = totals()
    counted.set({items: 1, bytes: 10})
    counted.skip(50)
    expect(shown.at(-1)).to.deep.equal({items: 1, bytes: 0})
  })
})

// Mocha's spec reporter that also writes its counts as JSON into the file of `--reporter-option counts=FILE`, so that nobody
// has to read them out of text.

const {writeFileSync} = require('node:fs')
const {reporters} = require('mocha')

class CountReporter extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options)
    const file = options?.reporterOptions?.counts
    if (file === undefined) return
    runner.once('end', () => {
      const {passes, failures, pending} = runner.stats
      writeFileSync(file, JSON.stringify({passed: passes, failed: failures, skipped: pending}))
    })
  }
}

module.exports = CountReporter

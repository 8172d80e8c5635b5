import {expect} from 'chai'
import {StoreAnswer} from '../../../src/lib/store/s3/answer.ts'
import {classifyFailure, RetryPolicy, type RetryClass} from '../../../src/lib/store/s3/retry.ts'

const answered = (status: number, code = '') =>
  new StoreAnswer({statusCode: status, headers: {}}, 'PutObject', code === '' ? '' : `<Error><Code>${code}</Code></Error>`)
const broken = (code: string) => Object.assign(new Error(code), {code})

describe('whether a request is sent again', () => {
  const rows: Array<[unknown, RetryClass]> = [
    [answered(503, 'SlowDown'), 'slow-down'],
    [answered(503), 'slow-down'],
    [answered(429), 'slow-down'],
    [answered(200, 'SlowDown'), 'slow-down'],
    [answered(500, 'InternalError'), 'again'],
    [answered(200, 'InternalError'), 'again'],
    [answered(502), 'again'],
    [answered(504), 'again'],
    [answered(520), 'again'],
    [answered(400, 'RequestTimeout'), 'again'],
    [answered(408), 'again'],
    [answered(409, 'ConditionalRequestConflict'), 'again'],
    [answered(400, 'BadDigest'), 'briefly'],
    [answered(200), 'briefly'],
    [answered(403, 'AccessDenied'), 'never'],
    [answered(404, 'NoSuchKey'), 'never'],
    [answered(412), 'never'],
    [answered(501, 'NotImplemented'), 'never'],
    [answered(507), 'never'],
    [answered(301), 'never'],
    [answered(403, 'RequestTimeTooSkewed'), 'never'],
    [broken('ECONNRESET'), 'again'],
    [broken('EPIPE'), 'again'],
    [broken('ECONNREFUSED'), 'again'],
    [broken('ENOTFOUND'), 'again'],
    [broken('HPE_INVALID_CONSTANT'), 'again'],
    [broken('EPROTO'), 'briefly'],
    [broken('SELF_SIGNED_CERT_IN_CHAIN'), 'never'],
    [Object.assign(new Error('x'), {name: 'TimeoutError'}), 'again'],
    [new TypeError('a bug'), 'never'],
  ]
  for (const [error, kind] of rows) {
    it(`${error instanceof StoreAnswer ? `HTTP ${error.status} ${error.code}` : String(error)}: ${kind}`, () => {
      expect(classifyFailure(error)).to.equal(kind)
    })
  }
})

describe('how often and how long', () => {
  const policyOf = (maxAttempts: number) => {
    const pauses: number[] = []
    const clock = {now: () => new Date(0), sleep: async (milliseconds: number) => void pauses.push(milliseconds)}
    return {policy: new RetryPolicy({maxAttempts, clock}), pauses}
  }

  const failUntilEnd = async (policy: RetryPolicy, error: Error, beforeEach = () => {}) => {
    const attempts = policy.begin()
    for (let count = 1; ; count++) {
      beforeEach()
      try {
        await policy.waitAfterFailure(error, attempts, 'PutObject', undefined)
      } catch (thrown) {
        expect(thrown).to.equal(error)
        return count
      }
    }
  }

  it('a broken connection is tried maxAttempts times, with pauses that double, half a minute in all', async () => {
    const {policy, pauses} = policyOf(8)
    expect(await failUntilEnd(policy, broken('ECONNRESET'))).to.equal(8)
    expect(pauses).to.have.length(7)
    for (const [index, pause] of pauses.entries()) expect(pause).to.be.within(125 * 2 ** index, 250 * 2 ** index)
    expect(pauses.reduce((sum, pause) => sum + pause)).to.be.within(15_000, 32_000)
  })

  it('a 503 counts only while the store serves nobody, and has an end all the same', async () => {
    const {policy} = policyOf(8)
    expect(await failUntilEnd(policy, answered(503))).to.equal(8)
    expect(await failUntilEnd(policy, answered(503), () => policy.noteSuccess())).to.equal(24)
  })

  it('three requests in a row that fail to the end mean that the store is out of service, until one succeeds', async () => {
    const {policy} = policyOf(2)
    for (const expected of [false, false, true]) {
      await failUntilEnd(policy, answered(500))
      expect(policy.isOutOfService).to.equal(expected)
    }

    policy.noteSuccess()
    expect(policy.isOutOfService).to.equal(false)
  })

  it('a wrong digest is tried three times', async () => {
    expect(await failUntilEnd(policyOf(8).policy, answered(400, 'BadDigest'))).to.equal(3)
  })
})

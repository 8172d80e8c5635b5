import {expect} from 'chai'
import {maskSecrets} from '../../../src/lib/barman/mask-secrets.ts'

describe('maskSecrets', () => {
  const texts = [
    'host=x password=geheim dbname=y', 'host=x password = geheim', "password='geheim und mehr' dbname=y", "password='gehe\\'im' x",
    'PASSWORD=geheim', 'PGPASSWORD=geheim', 'sslpassword=geheim', '"password": "geheim"', 'passphrase: geheim', 'postgres://barman:geheim@host/db',
    'postgresql://u:p@geheim@host:5432/db?x=1', 'connection to "host=x password=geheim\\n" failed', "'conninfo = host=a password=geheim\\n'",
    'aws_secret_access_key = geheim', 'token=geheim', 'postgresql://host/db?user=a&password=geheim&x=1', 's3://key:geheim@bucket/x',
  ]
  for (const text of texts) {
    it(`hides the secret in ${text}`, () => {
      expect(maskSecrets(text)).to.not.include('geheim').and.not.match(/und mehr|im'/)
      expect(maskSecrets(text)).to.include('***')
    })
  }
  it('hides a quoted secret that lost its end when the text was cut', () => {
    expect(maskSecrets("password='geheim und mehr")).to.equal('password=***')
  })
  it('takes time in proportion to the text', () => {
    const begin = performance.now()
    for (const text of ['x'.repeat(500_000), 'a-'.repeat(250_000), 'password='.repeat(50_000), `password=${' '.repeat(500_000)}`, 'a://'.repeat(20_000)]) {
      maskSecrets(text)
    }
    expect(performance.now() - begin).to.be.lessThan(5000)
  })
  it('leaves other text alone', () => {
    const text = "EXCEPTION: host=db1 port=5432 user=barman: file '/etc/barman.conf', line: 3, see https://docs.pgbarman.org/"
    expect(maskSecrets(text)).to.equal(text)
  })
})

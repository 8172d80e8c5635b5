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
  it('leaves other text alone', () => {
    const text = "EXCEPTION: host=db1 port=5432 user=barman: file '/etc/barman.conf', line: 3, see https://docs.pgbarman.org/"
    expect(maskSecrets(text)).to.equal(text)
  })
})

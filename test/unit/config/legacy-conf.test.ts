import {expect} from 'chai'
import {isLegacyConf, parseLegacyConf} from '../../../src/lib/config/legacy-conf.ts'

const PATH = '/opt/barmans3/barmans3.conf'

/** The value of S3_BUCKET_URI when the file's last line sets it to `value`. */
function bucketOf(value: string, before = ''): string | undefined {
  const {settings, problems} = parseLegacyConf(`${before}\nS3_BUCKET_URI=${value}`, PATH)
  expect(problems, 'problems').to.deep.equal([])
  return settings['s3.uri']
}

describe('old barmans3.conf', () => {
  it('translates the four keys of the bash scripts', () => {
    const text = [
      '#!/bin/bash',
      '# settings of barmans3',
      '',
      'S3_ENDPOINT_URI="https://s3.example.com"',
      "export S3_BUCKET_URI='s3://backup/barman'",
      '  BARMAN_ROOTPATH=/var/lib/barman   # Barman home',
      'BASESYNC_QUEUE="${BARMAN_ROOTPATH}/queue"',
    ].join('\r\n')
    expect(parseLegacyConf(text, PATH)).to.deep.equal({
      settings: {
        's3.uri': 's3://backup/barman',
        's3.endpoint': 'https://s3.example.com',
        'barman.home': '/var/lib/barman',
        'queue.directory': '/var/lib/barman/queue',
      },
      problems: [],
      warnings: [],
    })
  })

  const values: readonly [string, string][] = [
    ['s3://b/p', 's3://b/p'],
    ['"s3://b/p"', 's3://b/p'],
    ["'s3://b/p'", 's3://b/p'],
    ['"s3://b/p" # comment', 's3://b/p'],
    ['s3://b/p#not-a-comment', 's3://b/p#not-a-comment'],
    ['"s3://b"/p', 's3://b/p'],
    ["'s3://'\"b\"/p", 's3://b/p'],
    ['"s3://b/p";', 's3://b/p'],
    ["'$HOME `id` $(id)'", '$HOME `id` $(id)'],
    ['"a\\"b\\$c\\`d\\\\e\\f"', 'a"b$c`d\\e\\f'],
    ['a\\ b', 'a b'],
    ["a\\$'b'", 'a$b'],
    ['"cost 5$"', 'cost 5$'],
  ]
  for (const [written, meant] of values) {
    it(`reads ${written} as a shell does`, () => expect(bucketOf(written)).to.equal(meant))
  }

  it('expands keys that stand above, chained', () => {
    expect(bucketOf('"$ROOT/${SUB}"', 'BUCKET=s3://b\nROOT="$BUCKET/x"\nSUB=y')).to.equal('s3://b/x/y')
  })

  it('takes an empty value for "not set"', () => {
    expect(parseLegacyConf('S3_ENDPOINT_URI=""\nS3_BUCKET_URI=s3://b', PATH).settings).to.deep.equal({'s3.uri': 's3://b'})
  })

  it('lets the last of two equal keys win, with a warning', () => {
    const {settings, warnings} = parseLegacyConf('S3_BUCKET_URI=s3://a\nS3_BUCKET_URI=s3://b', PATH)
    expect(settings['s3.uri']).to.equal('s3://b')
    expect(warnings).to.deep.equal([`S3_BUCKET_URI stands twice in ${PATH}; the last one counts`])
  })

  const refused: readonly [string, RegExp][] = [
    ['"s3://$(cat /etc/bucket)"', /\$\(…\), which is never executed/],
    ['$(cat /etc/bucket)', /\$\(…\), which is never executed/],
    ['`cat /etc/bucket`', /backticks, which is never executed/],
    ['"s3://`id`"', /backticks/],
    ['"$((1+1))"', /never executed/],
    ['"${X:-s3://b}"', /computed/],
    ['"${!X}"', /computed/],
    ["$'s3://b'", /never executed/],
    ['"$1"', /the shell's \$1/],
    ['"$HOME/x"', /HOME, which does not stand above/],
    ['"unfinished', /quote that is not closed/],
    ["'unfinished", /quote that is not closed/],
    ['s3://b; rm -rf /', /something else than a comment/],
    ['s3://b && rm x', /something else than a comment/],
    ['s3://b|sh', /outside quotes/],
    ['(a b)', /outside quotes/],
    ['<(id)', /outside quotes/],
    ['"a" "b"', /something else than a comment/],
  ]
  for (const [written, why] of refused) {
    it(`refuses ${written}, naming line and key but not the value`, () => {
      const {settings, problems} = parseLegacyConf(`# first\nS3_BUCKET_URI=${written}`, PATH)
      expect(settings).to.deep.equal({})
      expect(problems).to.have.length(1)
      expect(problems[0]).to.match(why).and.include(`${PATH} line 2: S3_BUCKET_URI`)
      expect(problems[0]).to.not.match(/rm -rf|etc\/bucket/)
    })
  }

  it('refuses a reference to a key whose value would have to be computed', () => {
    const {problems} = parseLegacyConf('NAME=`hostname`\nS3_BUCKET_URI="s3://b/$NAME"', PATH)
    expect(problems).to.have.length(1)
    expect(problems[0]).to.match(/line 2: S3_BUCKET_URI refers to NAME, whose value uses a command in backticks/)
  })

  const commands = ['source /etc/profile', 'if true; then', 'rm -rf /']
  const almost = ['S3_BUCKET_URI = s3://b', 'S3_BUCKET_URI+=x', 'export S3_BUCKET_URI']
  for (const line of [...commands, ...almost]) {
    it(`refuses the line "${line}"`, () => {
      const {problems} = parseLegacyConf(`BARMAN_ROOTPATH=/b\n${line}`, PATH)
      expect(problems).to.deep.equal([`${PATH} line 2 is not KEY="value", and nothing of this file is executed`])
    })
  }

  it('warns about keys it does not know, and says where credentials come from, without their values', () => {
    const {warnings, problems} = parseLegacyConf('LOG="$(date)"\nexport AWS_SECRET_ACCESS_KEY=topsecret', PATH)
    expect(problems).to.deep.equal([])
    expect(warnings).to.have.length(2)
    expect(warnings[0]).to.equal(`${PATH} line 1: LOG is not known and is ignored`)
    expect(warnings[1]).to.match(/line 2: AWS_SECRET_ACCESS_KEY is ignored: credentials come from the AWS chain/)
    expect(warnings.join()).to.not.include('topsecret')
  })

  it('says nothing of the log files that every configuration of the scripts names: cron would mail it every 15 minutes', () => {
    const text = 'WALSYNC_LOGFILE="/var/log/barmans3/walsync.log"\nBASESYNC_LOGFILE=$WALSYNC_LOGFILE'
    expect(parseLegacyConf(text, PATH)).to.deep.equal({settings: {}, problems: [], warnings: []})
  })

  it('is told from YAML by its first line of meaning', () => {
    expect(isLegacyConf('# x\n\nS3_BUCKET_URI=s3://b')).to.equal(true)
    expect(isLegacyConf('export A="b"')).to.equal(true)
    expect(isLegacyConf('s3:\n  uri: s3://b/a=b')).to.equal(false)
    expect(isLegacyConf('{"s3": {}}')).to.equal(false)
    expect(isLegacyConf('')).to.equal(false)
  })
})

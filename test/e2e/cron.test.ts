import {chmodSync, mkdirSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {expect} from 'chai'
import {listBucket} from '../support/bucket.ts'
import {installPackage} from '../support/installed.ts'
import {findTestUser, giveTo, runAs} from '../support/lab/test-user.ts'
import {createSampleTree} from '../support/sample-tree.ts'
import {startServerOrSkip, withBucket, type TestServer} from '../support/s3-servers.ts'
import {useTemporaryDirectory} from '../support/temporary-directory.ts'

describe('a cron line with 5,000 WAL files waiting', function () {
  this.timeout(180_000)
  const directory = useTemporaryDirectory()
  let store: TestServer
  before(async function () {
    store = await startServerOrSkip(this, 'versitygw')
  })
  after(async () => await store?.stop())

  it('C58: without credentials: one message that says where it looked, not one per WAL, and an exit code that is not 0', async () => {
    const {node, script} = await installPackage()
    const user = findTestUser()
    const home = join(directory(), 'home')
    const tree = createSampleTree(home, {segmentSizeBytes: 1024 ** 2, walBytes: 40})
    tree.addWals(tree.nextWal(), 5000)
    await withBucket(store, async (bucket) => {
      const configuration = join(directory(), 'barmans3.json')
      writeFileSync(configuration, JSON.stringify({
        s3: {uri: `s3://${bucket}/barman`, endpoint: store.endpoint, region: store.region}, servers: {pg: {directory: tree.serverDirectory}},
        queue: {directory: join(directory(), 'queue')}, state: {directory: join(directory(), 'state')},
      }))
      await runAs({name: 'root', uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0}, 'chmod', ['-R', 'a+rX', directory()])
      chmodSync(directory(), 0o777)
      mkdirSync(join(directory(), 'closed'))
      giveTo(user, join(directory(), 'closed'))
      const line = `cd ${directory()}/closed && chmod 0 . && exec env -i PATH=/usr/bin:/bin AWS_EC2_METADATA_DISABLED=true ${node} ${script} wal sync pg --config ${configuration} </dev/null`
      const {code, stdout, stderr} = await runAs(user, '/bin/sh', ['-c', line])
      expect(code).to.equal(3)
      expect(stdout).to.equal('')
      expect(stderr.trim().split('\n')).to.have.length(1)
      expect(stderr).to.match(/credentials/).and.match(/AWS_ACCESS_KEY_ID/).and.not.match(/[\r\x1b]/)
      expect([...(await listBucket(store, bucket)).keys()]).to.deep.equal([])
    })
  })
})

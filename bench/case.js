// One measurement: one client, one step, one fresh bucket.

import {mkdtempSync, rmSync} from 'node:fs'
import {join} from 'node:path'
import {measure} from './measure.js'
import {startServer} from './server.js'

/**
 * Measures barmans3. Takes the row's first step before, if it has one. Returns the sample: what measure.js returns, sentBytes
 * (bodies), requests by kind, requestCount and totalBytes (of the data the step is about).
 * @throws Error when the work was not done; there is no figure then
 */
export async function measureBarmans3(barmans3, {steps, tree, ...condition}) {
  return await withServer(condition, async ({server, workspace, signal}) => {
    if (steps.fill) await server.fillWals(steps.fill.barmans3)
    const run = async (step) => {
      const call = barmans3.command(step.barmans3, {home: tree.home, server, tls: condition.tls, workspace})
      const sample = await measureCall(server, call, {workspace, signal})
      assertAtLeast('sent', sample.sentBytes, step.leastSentBytes)
      assertAtLeast('read', sample.readBytes, step.leastReadBytes)
      await step.assertDone(sample, server)
      return {...sample, totalBytes: step.totalBytes}
    }
    if (steps.first) await run(steps.first)
    return await run(steps.measured)
  })
}

/**
 * Measures a peer. It takes no first step: what lies in the bucket under another backup's id makes no difference to it.
 * @throws Error when the work was not done; there is no figure then
 */
export async function measurePeer(peer, {steps, ...condition}) {
  return await withServer(condition, async ({server, workspace, signal}) => {
    if (steps.fill) await server.fillWals(steps.fill.peers)
    const step = steps.measured
    const {directory, prefix} = step
    const call = peer.command({directory, prefix, server, tls: condition.tls, workspace})
    const sample = await measureCall(server, call, {workspace, signal})
    assertAtLeast('sent', sample.sentBytes, step.bytes)
    if (step.isNothingNew && sample.sentBytes > 0) throw new Error(`it sent ${sample.sentBytes} bytes though there was nothing new`)
    if (sample.objects < step.objects) throw new Error(`${sample.objects} objects are in the bucket; ${step.objects} should be`)
    return {...sample, totalBytes: step.totalBytes}
  })
}

async function withServer({directory, s3null, latencyMs, tls, signal}, use) {
  const workspace = mkdtempSync(join(directory, 'run-'))
  const server = await startServer({program: s3null, latencyMs, tls, signal})
  try {
    return await use({server, workspace, signal})
  } finally {
    await server.stop()
    rmSync(workspace, {recursive: true, force: true})
  }
}

async function measureCall(server, call, {workspace, signal}) {
  await server.reset()
  const environment = {...commonEnvironment(workspace), ...call.environment}
  const sample = await measure(call.command, {environment, directory: workspace, signal})
  const {requests, bytesIn, objects, openUploads} = await server.stats()
  if (openUploads > 0) throw new Error(`${openUploads} multipart uploads were left open`)
  const requestCount = Object.values(requests).reduce((sum, count) => sum + count, 0)
  return {...sample, sentBytes: bytesIn, requests, requestCount, objects}
}

function assertAtLeast(verb, foundBytes, leastBytes) {
  if (foundBytes < leastBytes) throw new Error(`it ${verb} ${foundBytes} bytes; the work cannot be done with fewer than ${leastBytes}`)
}

/** Nothing of the caller's but the PATH: no credentials, no configuration, no proxy before a server on this machine. */
function commonEnvironment(workspace) {
  return {
    PATH: process.env.PATH ?? '/usr/bin:/bin', HOME: workspace, TMPDIR: workspace, LANG: 'C.UTF-8',
    AWS_ACCESS_KEY_ID: 'x', AWS_SECRET_ACCESS_KEY: 'y', AWS_DEFAULT_REGION: 'us-east-1', AWS_EC2_METADATA_DISABLED: 'true',
  }
}

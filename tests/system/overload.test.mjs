// Five times as many requests as the cluster can take, of three priorities, for a while: MLX_OVERLOAD_S seconds, ten
// by default. Requests come at their times whether earlier ones are answered or not.
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {test} from 'node:test';

import {serve} from './lib/cluster.mjs';
import {randomFrom, SEED} from './lib/random.mjs';
import {limit, pause, until} from './lib/wait.mjs';

const SECONDS = Number(process.env.MLX_OVERLOAD_S || 10);
const OVERLOAD = 5;
const WORKERS = 2;
const SLOTS = 4;
// Of a reply; they differ, so that slots become free one by one.
const TOKENS_MIN = 12;
const TOKENS_SPREAD = 17;
const TOKENS_MEAN = TOKENS_MIN + (TOKENS_SPREAD - 1) / 2;
const STEP_US = 25000;
const WARM_UP_MS = 500;
const PEAK_MS = 5000;
// Of all requests. High and medium together are twice what the cluster can take, so low only gets what is kept for it.
const SHARES = {high: 0.1, medium: 0.3, low: 0.6};
const HIGH_WAIT_P99_MS = 2000;
const GOODPUT_MIN = 0.9;
const RSS_MAX_MB = 200;

const now = () => performance.now();
const percentile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
const rssMb = (pid) => Number(readFileSync(`/proc/${pid}/status`, 'latin1').match(/VmRSS:\s+(\d+) kB/)[1]) / 1024;

/** One request: {priority, sentMs, endMs, status, reply}. */
async function ask(cluster, priority, number) {
  const sentMs = now();
  const messages = [{role: 'user', content: `[reply ${TOKENS_MIN + ((number * 7) % TOKENS_SPREAD)}] request ${number}`}];
  const reply = await cluster.post({messages, priority});
  return {priority, sentMs, endMs: now(), reply};
}

/** Tokens a second of requests that ended between the two times. */
function goodput(results, fromMs, toMs) {
  const finished = results.filter((one) => one.reply.status === 200 && one.endMs >= fromMs && one.endMs < toMs);
  const tokens = finished.reduce((sum, one) => sum + one.reply.json.usage.completion_tokens, 0);
  return (tokens * 1000) / (toMs - fromMs);
}

/** All slots busy and nobody waits longer than for the next free one. */
async function measurePeak(cluster) {
  const results = [];
  const endMs = now() + WARM_UP_MS + PEAK_MS;
  let number = 0;
  const clients = Array.from({length: WORKERS * SLOTS * 2}, async () => {
    while (now() < endMs) results.push(await ask(cluster, 'medium', number++));
  });
  await Promise.all(clients);
  return goodput(results, endMs - PEAK_MS, endMs);
}

/** Sends at the times of a Poisson process; returns when all are answered. */
async function overload(cluster, perSecond, seconds) {
  const chance = randomFrom(SEED);
  const begunMs = now();
  const all = [];
  for (let atMs = 0; ; ) {
    atMs += (-Math.log(1 - chance()) * 1000) / perSecond;
    if (atMs > seconds * 1000) break;
    const kind = chance();
    const priority = kind < SHARES.high ? 'high' : kind < SHARES.high + SHARES.medium ? 'medium' : 'low';
    const early = begunMs + atMs - now();
    if (early > 1) await pause(early);
    all.push(ask(cluster, priority, all.length));
  }
  return {begunMs, endMs: now(), results: await Promise.all(all)};
}

function assertRefusal({reply}) {
  const {error} = reply.json;
  assert.equal(reply.status, 503, reply.text);
  assert.match(error.code, /^(CONTROLLER_OVERLOADED|WORKER_OVERLOADED)$/);
  assert.ok(error.message.length > 20, reply.text);
  const seconds = Number(reply.headers['retry-after']);
  assert.ok(Number.isInteger(seconds) && seconds >= 1, reply.headers['retry-after']);
}

/** Waits in the controller and in the worker's queue until a slot is there, by the controller's records. */
async function waits(cluster, results) {
  const found = [];
  for (const {reply} of results) {
    const record = await cluster.record(reply.json.id);
    found.push(record.waitedMs + record.queueMs);
  }
  return found.sort((a, b) => a - b);
}

function watchMemory(pids) {
  const peak = Object.fromEntries(pids.map((pid) => [pid, 0]));
  const timer = setInterval(() => {
    for (const pid of pids) peak[pid] = Math.max(peak[pid], rssMb(pid));
  }, 100);
  return {peak, stop: () => clearInterval(timer)};
}

test('an_overload_of_five_times_serves_the_high_at_once_starves_nobody_and_keeps_the_goodput', async (t) => {
  const cluster = await serve(
    ...['--engine', 'fake', '--workers', WORKERS, '--max-batch-size', SLOTS, '--fake-step-us', STEP_US],
    ...['--record-max', 100000, '--timeout-ms', 60000],
  );
  t.after(() => cluster.child.killTree());
  const peak = await measurePeak(cluster);
  const pids = [...cluster.processes('worker'), ...cluster.processes('controller')].map((one) => one.pid);
  const memory = watchMemory(pids);
  const perSecond = (OVERLOAD * peak) / TOKENS_MEAN;
  const {begunMs, endMs, results} = await overload(cluster, perSecond, SECONDS);
  memory.stop();

  const during = goodput(results, begunMs + 1000, endMs);
  const of = (priority) => results.filter((one) => one.priority === priority);
  const served = (list) => list.filter((one) => one.reply.status === 200);
  const refused = results.filter((one) => one.reply.status !== 200);
  const third = (one) => Math.min(2, Math.floor((3 * (one.endMs - begunMs)) / (endMs - begunMs)));
  const low = [0, 1, 2].map((part) => served(of('low')).filter((one) => one.endMs < endMs && third(one) === part).length);
  const high = await waits(cluster, served(of('high')));
  t.diagnostic(`peak ${peak.toFixed(0)} tokens/s, ${perSecond.toFixed(0)} requests/s for ${SECONDS} s`);
  t.diagnostic(`goodput ${during.toFixed(0)} tokens/s, ${((100 * during) / peak).toFixed(1)}% of the peak`);
  for (const priority of Object.keys(SHARES)) {
    const waited = priority === 'high' ? high : await waits(cluster, served(of(priority)));
    const shown = [0.5, 0.99].map((share) => (waited.length ? percentile(waited, share).toFixed(0) : '-')).join(' and ');
    t.diagnostic(`${priority}: ${of(priority).length} sent, ${waited.length} served, wait p50 and p99 ${shown} ms`);
  }
  t.diagnostic(`low served in each third: ${low.join(', ')}; peak memory ${Object.values(memory.peak).map(Math.round)} MB`);

  assert.equal(served(of('high')).length, of('high').length, 'all of high priority are served');
  assert.ok(percentile(high, 0.99) < limit(HIGH_WAIT_P99_MS), `p99 ${percentile(high, 0.99)} ms`);
  for (const part of low) assert.ok(part > 0, `low served in each third: ${low.join(', ')}`);
  assert.ok(during >= GOODPUT_MIN * peak, `${during} of ${peak}`);
  assert.ok(refused.length > 0);
  refused.forEach(assertRefusal);
  for (const mb of Object.values(memory.peak)) assert.ok(mb > 0 && mb < RSS_MAX_MB, `${mb} MB`);
  await until('it is idle again', limit(3000), async () => {
    const {running, queued} = await cluster.load();
    return running + queued === 0;
  });
  const {requests, waitingRoom} = await cluster.get('/api/controller/metrics');
  assert.equal(requests.succeeded + requests.failed + requests.refused + requests.cancelled, requests.total);
  assert.equal(waitingRoom.requests, 0);
  const rejected = (await Promise.all((await cluster.workers()).map((one) => cluster.live(one.workerId)))).map(
    (one) => one.load.jobsRejected,
  );
  t.diagnostic(`rejected by workers: ${rejected}`);
  assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
});

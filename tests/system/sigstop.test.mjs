// A worker that stands still and goes on later: nobody waits for it in vain, and what it says too late reaches nobody.
import assert from 'node:assert/strict';
import {after, before, test} from 'node:test';

import {serve} from './lib/cluster.mjs';
import {readStream} from './lib/http.mjs';
import {Parts} from './lib/parts.mjs';
import {limit, pause, until} from './lib/wait.mjs';

const user = (content) => [{role: 'user', content}];
const textOf = (completion) => completion.choices[0].message.content;
const SLOW = ['--fake-step-us', 20000];
/** All that it can get goes to the worker `still`. */
const STILL_FIRST = ['--strategy', 'weighted_random', '--weight', 'still=1', '--weight', 'other=0'];

let calm;
before(async () => {
  calm = await serve('--engine', 'fake', '--fake-step-us', 0);
});
after(async () => {
  assert.deepEqual(await calm.stop(), {code: 0, signal: null});
});
const right = async (content, fields) => textOf(await calm.ask(content, fields));

async function startBoth(t, ...controller) {
  const parts = await Parts.start(t, {
    workers: {still: SLOW, other: SLOW},
    controller: [...STILL_FIRST, '--retry-budget-percent', 100, ...controller],
    heartbeatMs: 1000,
  });
  t.after(() => {
    if (!parts.workers.still.result) parts.workers.still.signal('SIGCONT');
  });
  return parts;
}

const staleEvents = async (api) => (await api.get('/api/cluster/status')).protocol.staleEvents;

test('a_stopped_worker_gets_nothing_after_3_s_and_nothing_of_its_late_output_reaches_a_client', async (t) => {
  const parts = await startBoth(t, '--stall-timeout-ms', 4000, '--breaker-timeout-ms', 1000);
  const {api} = parts;
  const ask = async (content, seed) => {
    const reply = await api.ask(content, {seed, temperature: 1});
    return {text: textOf(reply), worker: (await api.record(reply.id)).selectedWorker};
  };
  const fields = (seed) => ({seed, temperature: 1});
  const long = '[reply 400] long';
  const prompt = '[reply 60] whole';
  const streams = [];
  for (const seed of [1, 2, 3])
    streams.push({seed, ...(await api.streamUnderWay(long, fields(seed), 6))});
  const wholes = [4, 5, 6].map((seed) => ask(prompt, seed));
  await until('all six run there', limit(3000), async () => (await api.live('still')).load.running === 6);

  parts.workers.still.signal('SIGSTOP');
  const stoppedAt = performance.now();
  // One that comes before anything can be known.
  const unlucky = ask(prompt, 7);
  await until('it is suspect', limit(3000), async () => (await parts.counts('still')).status === 'suspect');
  t.diagnostic(`suspect after ${Math.round(performance.now() - stoppedAt)} ms`);
  const {jobsSent} = await parts.counts('still');
  assert.equal(jobsSent, 7);
  assert.equal((await parts.counts('still')).leases, 0, 'all went elsewhere, the streams that were shown, too');

  const later = await Promise.all([8, 9, 10, 11].map((seed) => ask(prompt, seed)));
  const moved = await Promise.all([...wholes, unlucky]);
  for (const [i, {text, worker}] of [...moved, ...later].entries()) {
    assert.equal(text, await right(prompt, fields(i + 4)));
    assert.equal(worker, 'other');
  }
  for (const stream of streams) {
    const shown = readStream((await stream.ended).text);
    assert.equal(shown.error, undefined);
    assert.equal(shown.finish, 'stop');
    assert.equal(shown.text, await right(long, fields(stream.seed)), 'one unbroken stream');
  }
  const counts = await parts.counts('still');
  assert.equal(counts.jobsSent, jobsSent, 'nothing was sent there');
  assert.equal(counts.leases, 0);

  const stale = await staleEvents(api);
  const during = [12, 13, 14].map((seed) => ask(prompt, seed));
  parts.workers.still.signal('SIGCONT');
  await until('its late output is dropped', limit(5000), async () => (await staleEvents(api)) > stale);
  const again = [];
  await until('it is used again', limit(10000), async () => {
    again.push(await ask('[reply 5] again', 100 + again.length));
    return again.at(-1).worker === 'still';
  });
  for (const [i, {text}] of (await Promise.all(during)).entries())
    assert.equal(text, await right(prompt, fields(i + 12)));
  for (const [i, {text}] of again.entries()) assert.equal(text, await right('[reply 5] again', fields(i + 100)));
  await parts.allIdle();
  await parts.stop();
});

test('a_worker_that_stands_still_for_less_than_its_limits_breaks_nothing', async (t) => {
  const parts = await startBoth(t);
  const prompt = '[reply 100] unbroken';
  const stream = await parts.api.streamUnderWay(prompt, {seed: 1});
  const whole = parts.api.post({messages: user(prompt), seed: 2});
  await until('both run there', limit(3000), async () => (await parts.api.live('still')).load.running === 2);
  parts.workers.still.signal('SIGSTOP');
  await pause(1000);
  parts.workers.still.signal('SIGCONT');
  const shown = readStream((await stream.ended).text);
  assert.equal(shown.error, undefined);
  assert.equal(shown.finish, 'stop');
  assert.equal(shown.text, await right(prompt, {seed: 1}));
  assert.equal(textOf((await whole).json), await right(prompt, {seed: 2}));
  const {requests} = await parts.api.get('/api/controller/metrics');
  assert.equal(requests.retries, 0);
  assert.equal(requests.succeeded, 2);
  await parts.stop();
});

// What a worker promises, in ten tests, with real processes. The engine is the fake one: its text is a function of
// prompt and seed, and a step takes the time that it is told.
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {test} from 'node:test';

import {freePort, isUp, serve} from './lib/cluster.mjs';
import {readStream} from './lib/http.mjs';
import {hasOnline, startController, startNats, startWorker} from './lib/parts.mjs';
import {limit, until} from './lib/wait.mjs';

const user = (content) => [{role: 'user', content}];
const textOf = (reply) => reply.choices[0].message.content;
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

/** One worker whose own queue takes what comes; the controller keeps nothing back. */
async function start(t, ...flags) {
  const cluster = await serve('--engine', 'fake', '--max-queued-per-worker', 1000, ...flags);
  t.after(() => cluster.child.killTree());
  return cluster;
}

const end = async (cluster) => assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
const loadOf = async (cluster) => (await cluster.live('worker-1')).load;
const isIdle = (cluster) =>
  until('the worker is idle', limit(3000), async () => {
    const {running, queued} = await loadOf(cluster);
    return running + queued === 0;
  });

const BLOCKED = ['--engine', 'fake', '--max-batch-size', 1, '--fake-step-us', 5000];

/** Takes the only slot; returns what gives it back. */
async function takeTheSlot(cluster) {
  const leaving = new AbortController();
  const fields = {messages: user('[reply 4000] in front'), stream: true, priority: 'high'};
  const ended = cluster.post(fields, {signal: leaving.signal}).catch((error) => error);
  await until('the slot is taken', limit(3000), async () => (await loadOf(cluster)).running === 1);
  return async () => {
    leaving.abort();
    assert.equal((await ended).name, 'AbortError');
  };
}

/** A worker with one slot, which is taken until `release` is called: what comes meanwhile waits. */
async function startBlocked(t, ...flags) {
  const cluster = await start(t, ...BLOCKED, ...flags);
  return {cluster, release: await takeTheSlot(cluster)};
}

/** Sends a request, and returns when it waits behind those before it: {label, ended}. */
async function enqueue({cluster}, label, fields = {}) {
  const {queued} = await loadOf(cluster);
  const ended = cluster.post({messages: user(`[reply 4] ${label}`), ...fields});
  await until(`${label} waits`, limit(3000), async () => (await loadOf(cluster)).queued === queued + 1);
  return {label, ended};
}

const idOf = ({json, text}) => json?.id ?? JSON.parse(text.slice('data: '.length, text.indexOf('\n'))).id;

/** What the controller remembers of those that `enqueue` gave, in the order in which they got the slot. */
async function served({cluster}, waiting) {
  const records = [];
  for (const {label, ended} of waiting) {
    const reply = await ended;
    assert.equal(reply.status, 200, reply.text);
    const record = await cluster.record(idOf(reply));
    records.push({...record, label, startedMs: record.startTime + record.waitedMs + record.queueMs});
  }
  return records.sort((a, b) => a.startedMs - b.startedMs);
}

const labels = (records) => records.map((record) => record.label);

test('worker_01_jobs_wait_in_a_queue_and_are_served_in_the_order_in_which_they_came', async (t) => {
  const here = await startBlocked(t);
  const waiting = [];
  for (const label of ['a', 'b', 'c', 'd']) waiting.push(await enqueue(here, label, {priority: 'medium'}));
  const {queue} = await loadOf(here.cluster);
  assert.deepEqual(queue.depth, [0, 4, 0]);
  assert.ok(queue.oldestMs[1] > 0 && queue.oldestMs[0] === 0);
  await here.release();
  const records = await served(here, waiting);
  assert.deepEqual(labels(records), ['a', 'b', 'c', 'd']);
  assert.deepEqual(records.map((record) => record.queuePosition), [1, 2, 3, 4]);
  await isIdle(here.cluster);
  const after = (await loadOf(here.cluster)).queue;
  assert.deepEqual(after.depth, [0, 0, 0]);
  assert.equal(after.enqueued, 5);
  await end(here.cluster);
});

test('worker_02_jobs_share_the_steps_of_one_batch_and_join_it_while_it_runs', async (t) => {
  const cluster = await start(t, '--max-batch-size', 8, '--fake-step-us', 5000, '--no-prefix-cache');
  const first = await cluster.streamUnderWay('[reply 240] the first', {}, 2);
  const others = await Promise.all(Array.from({length: 7}, (_, i) => cluster.ask(`[reply 60] ${i}`)));
  assert.equal((await loadOf(cluster)).running, 1, 'the first one goes on alone');
  assert.equal(readStream((await first.ended).text).finish, 'stop');
  await isIdle(cluster);
  const load = await loadOf(cluster);
  assert.equal(sum(others.map((one) => one.usage.completion_tokens)), 7 * 60);
  assert.equal(load.generatedTokens, 240 + 7 * 60);
  assert.equal(load.batchMax, 8, 'all of them were in one step');
  // The end of a reply is a token, too. One after the other would have taken as many steps as there are sequences
  // in all steps; together they took those of the longest one.
  assert.equal(load.batchSequences, 241 + 7 * 61);
  assert.equal(load.steps, 241);
  await end(cluster);
});

/** 503 with a code, a reason and the time to come back. */
function assertRefused(reply, code, reason) {
  assert.equal(reply.status, 503, reply.text);
  assert.equal(reply.json.error.code, code, reply.text);
  assert.match(reply.json.error.message, reason);
  const seconds = Number(reply.headers['retry-after']);
  assert.ok(Number.isInteger(seconds) && seconds >= 1 && seconds <= 75, reply.headers['retry-after']);
  assert.ok(Number(reply.headers['retry-after-ms']) > 0);
}

test('worker_03_a_worker_that_is_over_a_memory_limit_refuses_the_low_at_the_soft_one_and_all_at_the_hard_one', async (t) => {
  const impatient = ['--queue-timeout-ms', 200, '--check-interval-ms', 100];
  const ask = (cluster, priority) => cluster.post({messages: user('[reply 5] hello'), priority});

  const soft = await start(t, '--max-memory-mb', 1, '--critical-memory-mb', 100000, ...impatient);
  const {resources} = await soft.live('worker-1');
  assert.equal(resources.level, 'soft');
  assert.equal(resources.signal, 'process');
  assert.equal(resources.softLimit, 1 << 20);
  assert.ok(resources.underPressure && resources.canAcceptRequest && resources.memoryUsed > resources.softLimit);
  assertRefused(await ask(soft, 'low'), 'RESOURCE_LIMIT_EXCEEDED', /short of memory/);
  for (const priority of ['medium', 'high']) assert.equal((await ask(soft, priority)).status, 200);
  assert.equal((await loadOf(soft)).jobsAccepted, 2);
  await end(soft);

  const hard = await start(t, '--max-memory-mb', 1, '--critical-memory-mb', 1, ...impatient);
  const {resources: worse} = await hard.live('worker-1');
  assert.equal(worse.level, 'hard');
  assert.equal(worse.canAcceptRequest, false);
  for (const priority of ['low', 'medium', 'high'])
    assertRefused(await ask(hard, priority), 'RESOURCE_LIMIT_EXCEEDED', /short of memory/);
  assert.equal((await loadOf(hard)).jobsAccepted, 0);
  await end(hard);
});

test('worker_04_a_higher_priority_overtakes_what_is_said_wins_over_the_default_and_the_low_gets_through', async (t) => {
  const here = await startBlocked(t, '--aging-ms', 100000);
  const low = {priority: 'low'};
  const waiting = [
    await enqueue(here, 'low 1', low),
    await enqueue(here, 'low 2, as a number', {priority: 2}),
    await enqueue(here, 'whole and low', {...low, stream: false}),
    await enqueue(here, 'stream', {stream: true}),
    await enqueue(here, 'whole', {stream: false}),
    await enqueue(here, 'stream and high', {stream: true, priority: 'high'}),
  ];
  assert.deepEqual((await loadOf(here.cluster)).queue.depth, [2, 1, 3]);
  await here.release();
  // A reply that is not streamed is high by default, and has less time; a stream is medium.
  const expected = ['whole', 'stream and high', 'stream', 'low 1', 'low 2, as a number', 'whole and low'];
  assert.deepEqual(labels(await served(here, waiting)), expected);
  await end(here.cluster);

  const aging = await startBlocked(t, '--aging-ms', 200);
  let over = false;
  let high = 0;
  const waitsLow = await enqueue(aging, 'low', low);
  const flood = Array.from({length: 4}, async (_, i) => {
    while (!over) {
      await aging.cluster.ask(`[reply 8] high ${i}`, {priority: 'high'});
      high++;
    }
  });
  await aging.release();
  await served(aging, [waitsLow]);
  const before = high;
  await until('those of high priority have never stopped', limit(5000), () => high > before + 4);
  over = true;
  await Promise.all(flood);
  await end(aging.cluster);
});

/** Two controllers that hear of a worker only when it comes: what one sends, the other does not know. */
async function startTwoControllers(t, ...flags) {
  const url = `nats://127.0.0.1:${await freePort()}`;
  const silence = ['--heartbeat-interval-ms', 20000, '--worker-offline-timeout-ms', 60000, '--controller-timeout-ms', 60000];
  const nats = await startNats(Number(url.split(':').at(-1)));
  t.after(() => nats.killTree());
  const worker = startWorker(url, 'worker-1', ...BLOCKED, ...silence, ...flags);
  t.after(() => worker.killTree());
  const both = [];
  for (let i = 0; i < 2; i++) {
    both.push(await startController(url, ...silence, '--queue-max-requests', 0, '--max-queued-per-worker', 1000));
    t.after(() => both[i].child.killTree());
    await hasOnline(both[i].api, 'worker-1');
  }
  const [{api: cluster}, {api: other}] = both;
  return {cluster, other, release: await takeTheSlot(cluster)};
}

test('worker_05_a_full_queue_refuses_or_holds_back_or_lets_the_lowest_give_way', async (t) => {
  const full = await startTwoControllers(t, '--max-depth', 2);
  const inside = [await enqueue(full, 'a'), await enqueue(full, 'b')];
  const messages = user('one too many');
  assertRefused(await full.cluster.post({messages}), 'WORKER_OVERLOADED', /1 full/);
  assert.equal((await loadOf(full.cluster)).queue.rejected, 0, 'who knows it does not ask');
  assertRefused(await full.other.post({messages}), 'WORKER_OVERLOADED', /has 3 jobs and a queue of 2/);
  assert.equal((await loadOf(full.cluster)).queue.rejected, 1);
  await full.release();
  await served(full, inside);

  const patient = await startBlocked(t, '--max-depth', 2, '--max-queued-per-worker', 2);
  const all = Array.from({length: 12}, (_, i) => patient.cluster.post({messages: user(`[reply 4] ${i}`)}));
  await until('the others wait in the controller', limit(3000), async () => {
    const {waitingRoom} = await patient.cluster.get('/api/controller/metrics');
    return waitingRoom.requests === 10;
  });
  assert.equal((await loadOf(patient.cluster)).queued, 2);
  await patient.release();
  for (const one of await Promise.all(all)) assert.equal(one.status, 200, one.text);
  await end(patient.cluster);

  const evicting = await startTwoControllers(t, '--max-depth', 2, '--no-reject-when-full');
  const older = await enqueue(evicting, 'older', {priority: 'low'});
  const younger = await enqueue(evicting, 'younger', {priority: 'low'});
  const high = evicting.other.post({messages: user('[reply 4] high'), priority: 'high'});
  assertRefused(await younger.ended, 'WORKER_OVERLOADED', /gave way|higher priority/);
  const {queue} = await loadOf(evicting.cluster);
  assert.equal(queue.evicted, 1);
  assert.deepEqual(queue.depth, [1, 0, 1]);
  await evicting.release();
  assert.equal((await high).status, 200);
  assert.equal((await older.ended).status, 200);
});

const rssOf = (pid) => Number(readFileSync(`/proc/${pid}/status`, 'latin1').match(/VmRSS:\s+(\d+) kB/)[1]) * 1024;

test('worker_06_the_numbers_of_a_worker_are_exactly_what_was_sent', async (t) => {
  const cluster = await start(t, '--max-batch-size', 1, '--fake-step-us', 3000, '--no-prefix-cache', '--no-retry');
  const finished = [];
  for (const tokens of [3, 5, 8, 13]) finished.push(await cluster.ask(`[reply ${tokens}] counted`));
  const failed = await cluster.post({messages: user('[fail at 2] [reply 9]')});
  assert.ok(failed.status >= 500, failed.text);
  const blocker = await cluster.streamUnderWay('[reply 400] in front', {stream_options: {include_usage: true}}, 2);
  const leaving = [new AbortController(), new AbortController()];
  const left = leaving.map(({signal}) => cluster.post({messages: user('never')}, {signal}).catch((error) => error));
  await until('they wait', limit(3000), async () => (await loadOf(cluster)).queued === 2);
  for (const one of leaving) one.abort();
  for (const one of left) assert.equal((await one).name, 'AbortError');
  const last = readStream((await blocker.ended).text).usage;
  await isIdle(cluster);

  const worker = await cluster.live('worker-1');
  const {load} = worker;
  const usages = [...finished.map((one) => one.usage), last];
  const tokens = sum(usages.map((usage) => usage.completion_tokens));
  assert.equal(tokens, 3 + 5 + 8 + 13 + 400);
  assert.equal(load.jobsAccepted, 8);
  assert.equal(load.jobsFinished, 5);
  assert.equal(load.jobsFailed, 1);
  assert.equal(load.jobsCancelled, 2);
  assert.equal(load.jobsRejected + load.jobsOrphaned, 0);
  assert.equal(load.generatedTokens, tokens + 2, 'the job that failed made two');
  assert.ok(load.promptTokens > sum(usages.map((usage) => usage.prompt_tokens)));
  assert.equal(load.batchMax, 1);
  assert.equal(load.batchSequences, load.steps);
  assert.equal(load.kvCellsUsed, 0);
  assert.equal(load.kvCellsTotal, worker.models[0].contextTokens * worker.models[0].slots);
  assert.equal(load.queue.enqueued, 8);
  assert.equal(load.queue.cancelled, 2);
  assert.deepEqual(load.queue.depth, [0, 0, 0]);
  const rss = rssOf(worker.pid);
  assert.ok(Math.abs(load.rssBytes - rss) < 0.2 * rss, `${load.rssBytes} of ${rss}`);
  assert.equal(worker.resources.level, 'ok');
  assert.ok(worker.resources.memoryUsed > 0 && worker.resources.memoryUsed < worker.resources.softLimit);
  assert.equal(worker.jobsSent, 8);
  assert.equal(worker.leases, 0);
  const {requests} = await cluster.get('/api/controller/metrics');
  assert.deepEqual(
    [requests.total, requests.succeeded, requests.failed, requests.cancelled],
    [8, load.jobsFinished, load.jobsFailed, load.jobsCancelled],
  );
  await end(cluster);
});

test('worker_07_64_requests_at_once_each_get_their_own_text', async (t) => {
  const cluster = await start(t, '--fake-step-us', 500);
  const requests = Array.from({length: 64}, (_, i) => ({
    prompt: `[reply ${5 + ((i * 7) % 60)}] question ${i}`,
    fields: {stream: i % 2 === 0, seed: i, temperature: i % 3 === 0 ? 0 : 1},
  }));
  const golden = [];
  for (const {prompt, fields} of requests) golden.push(textOf(await cluster.ask(prompt, {...fields, stream: false})));
  assert.equal(new Set(golden).size, 64, 'no two are the same');
  const alone = await loadOf(cluster);
  assert.equal(alone.batchMax, 1);
  const together = await Promise.all(
    requests.map(async ({prompt, fields}) =>
      fields.stream ? (await cluster.stream(prompt, fields)).text : textOf(await cluster.ask(prompt, fields)),
    ),
  );
  assert.deepEqual(together, golden);
  const load = await loadOf(cluster);
  assert.equal(load.batchMax, 8);
  assert.equal(load.generatedTokens, 2 * alone.generatedTokens);
  assert.equal(load.jobsFinished, 128);
  await end(cluster);
});

async function oneModelFailsTheOtherServes(t) {
  const models = ['--model', 'tiny-chat=models/tiny-chat-q8_0.gguf', '--model', 'broken=models/tiny-chat-q8_0.gguf'];
  const cluster = await start(t, ...models, '--fake-step-us', 1000);
  const expected = textOf(await cluster.ask('[reply 40] sound'));
  let over = false;
  const sound = Array.from({length: 4}, async () => {
    let served = 0;
    for (; !over; served++) assert.equal(textOf(await cluster.ask('[reply 40] sound')), expected);
    return served;
  });
  const codes = [];
  for (let i = 0; i < 8; i++)
    codes.push((await cluster.post({model: 'broken', messages: user(`[fail at 0] ${i}`)})).json.error.code);
  over = true;
  assert.ok((await Promise.all(sound)).every((served) => served > 0));
  const {models: breakers, worker} = (await cluster.get('/api/controller/circuit-breakers'))['worker-1'];
  assert.equal(breakers.broken.state, 'OPEN');
  assert.equal(breakers['tiny-chat'].state, 'CLOSED');
  assert.equal(worker.state, 'CLOSED');
  assert.deepEqual(new Set(codes), new Set(['ENGINE_ERROR']));
  await end(cluster);
}

async function oneSlotFailsTheOthersGoOn(t) {
  const cluster = await start(t, '--fake-step-us', 3000, '--no-retry');
  const prompts = Array.from({length: 6}, (_, i) => `[reply 50] beside ${i}`);
  const golden = [];
  for (const prompt of prompts) golden.push(textOf(await cluster.ask(prompt)));
  const beside = prompts.map((prompt) => cluster.ask(prompt));
  const failing = cluster.post({messages: user('[fail at 5] [reply 50]')});
  const stumbling = cluster.ask('[step error at 7] [reply 50]');
  assert.ok((await failing).status >= 500);
  assert.equal((await stumbling).usage.completion_tokens, 50);
  assert.deepEqual((await Promise.all(beside)).map(textOf), golden);
  await isIdle(cluster);
  const load = await loadOf(cluster);
  assert.equal(load.jobsFailed, 1);
  assert.equal(load.kvCellsUsed, 0);
  await end(cluster);
}

async function aDrainingWorkerLosesNothing(t) {
  const cluster = await start(t, '--workers', 2, '--max-batch-size', 2, '--fake-step-us', 5000);
  const prompts = Array.from({length: 12}, (_, i) => `[reply 60] under way ${i}`);
  const golden = [];
  for (const prompt of prompts.slice(0, 12)) golden.push(cluster.ask(prompt));
  const expected = (await Promise.all(golden)).map(textOf);
  const all = prompts.map((prompt) => cluster.stream(prompt));
  await until('both have running and waiting jobs', limit(3000), async () =>
    (await cluster.workers()).every((worker) => worker.leases === 6),
  );
  const drain = await cluster.send({method: 'POST', path: '/api/cluster/workers/worker-1/drain', body: {}});
  assert.equal(drain.status, 202);
  await until('it drains', limit(2000), async () => {
    const worker = (await cluster.workers()).find((one) => one.workerId === 'worker-1');
    return !worker || !isUp(worker);
  });
  assert.match(cluster.child.stderr, /"msg":"worker drains","jobs":6,"limit_ms":30000/);
  const later = cluster.stream('[reply 10] later');
  assert.deepEqual((await Promise.all(all)).map((stream) => stream.text), expected);
  const {events} = await later;
  const id = JSON.parse(events[0]).id;
  assert.equal((await cluster.record(id)).selectedWorker, 'worker-2');
  const back = await cluster.send({method: 'POST', path: '/api/cluster/workers/worker-1/resume', body: {}});
  assert.deepEqual([back.status, back.json], [202, {draining: false}]);
  await until('it works again', limit(2000), async () => {
    const {events} = await cluster.stream('[reply 10] again');
    return (await cluster.record(JSON.parse(events[0]).id)).selectedWorker === 'worker-1';
  });
  assert.equal((await cluster.get('/api/controller/metrics')).requests.failed, 0);
  await end(cluster);
}

test('worker_08_what_fails_takes_nothing_else_with_it', async (t) => {
  await oneModelFailsTheOtherServes(t);
  await oneSlotFailsTheOthersGoOn(t);
  await aDrainingWorkerLosesNothing(t);
});

test('worker_09_a_stream_comes_token_by_token_beside_others', async (t) => {
  const cluster = await start(t, '--fake-step-us', 10000);
  const prompt = '[reply 70] streamed';
  const arrivals = [[], []];
  const streams = arrivals.map((times) =>
    cluster.stream(prompt, {stream_options: {include_usage: true}}, {onText: () => times.push(performance.now())}),
  );
  const [one, other] = await Promise.all(streams);
  assert.equal(one.text, other.text);
  assert.equal(one.contents.length > 50, true, 'not a few large pieces');
  assert.equal(one.chunks[0].choices[0].delta.role, 'assistant');
  assert.equal(one.finish, 'stop');
  assert.equal(one.usage.completion_tokens, 70);
  assert.match(one.text, /é.*😀/su, 'characters of several tokens are whole');
  assert.doesNotMatch(one.raw, /\uFFFD/);
  for (const times of arrivals) assert.ok(times.at(-1) - times[0] > 400, 'it took its 70 steps to come');
  assert.ok(arrivals[0][0] < arrivals[1].at(-1) && arrivals[1][0] < arrivals[0].at(-1), 'they ran side by side');
  await end(cluster);
});

test('worker_10_a_whole_reply_is_the_text_of_the_stream_with_the_same_usage', async (t) => {
  const cluster = await start(t, '--fake-step-us', 200);
  const withUsage = {stream_options: {include_usage: true}};
  const rows = [
    {prompt: '[reply 70] both', finish: 'stop', tokens: 70},
    {prompt: '[reply 70] both', fields: {max_tokens: 9}, finish: 'length', tokens: 9},
    {prompt: '[reply 70] both', fields: {temperature: 1, seed: 7}, finish: 'stop', tokens: 70},
    {prompt: '[reply 0] nothing', finish: 'stop', tokens: 0},
  ];
  for (const {prompt, fields, finish, tokens} of rows) {
    const whole = await cluster.ask(prompt, fields);
    const stream = await cluster.stream(prompt, {...fields, ...withUsage});
    assert.equal(textOf(whole), stream.text);
    assert.equal(whole.choices[0].finish_reason, finish);
    assert.equal(stream.finish, finish);
    assert.equal(whole.usage.completion_tokens, tokens);
    assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + tokens);
    for (const key of ['prompt_tokens', 'completion_tokens', 'total_tokens'])
      assert.equal(stream.usage[key], whole.usage[key], key);
  }
  const whole = textOf(await cluster.ask('[reply 70] both'));
  const stop = whole.split(' ')[4];
  const cut = await cluster.ask('[reply 70] both', {stop: [stop]});
  assert.equal(textOf(cut), whole.slice(0, whole.indexOf(stop)));
  assert.equal(cut.choices[0].finish_reason, 'stop');
  await end(cluster);
});

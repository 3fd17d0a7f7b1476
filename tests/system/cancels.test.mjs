// Clients that leave at random moments, in a mixed load: nothing is left of them, and the others get exactly their
// text. What they ask and when they mean to leave is drawn from MLX_SEED; what is just going on then, the machine says.
import assert from 'node:assert/strict';
import {test} from 'node:test';

import {serve} from './lib/cluster.mjs';
import {QUESTIONS, STORY} from './lib/facts.mjs';
import {randomFrom, SEED} from './lib/random.mjs';
import {limit, until} from './lib/wait.mjs';

const textOf = (reply) => reply.choices[0].message.content;

/** Sends it and leaves after `leaveMs` unless it is answered by then; {cancelled, text}. */
async function ask(cluster, {prompt, fields}, leaveMs) {
  const leaving = new AbortController();
  const timer = leaveMs === undefined ? undefined : setTimeout(() => leaving.abort(), leaveMs);
  try {
    const options = {signal: leaving.signal};
    if (fields.stream) return {text: (await cluster.stream(prompt, fields, options)).text};
    const reply = await cluster.post({messages: [{role: 'user', content: prompt}], ...fields}, options);
    assert.equal(reply.status, 200, reply.text);
    return {text: textOf(reply.json)};
  } catch (error) {
    if (error.name !== 'AbortError') throw error;
    return {cancelled: true};
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Keeps `clients` requests under way, made by `next`: {request, golden, leaveMs}, until `cancels` clients have left.
 * Returns how many requests were sent, and how many were answered whole.
 */
async function load(cluster, {clients, cancels, next}) {
  let cancelled = 0;
  let sent = 0;
  let answered = 0;
  const client = async () => {
    while (cancelled < cancels && sent < 10 * cancels) {
      const {request, golden, leaveMs} = next();
      sent++;
      const {cancelled: left, text} = await ask(cluster, request, leaveMs);
      if (left) {
        cancelled++;
        continue;
      }
      answered++;
      if (golden !== undefined) assert.equal(text, golden, JSON.stringify(request));
    }
  };
  await Promise.all(Array.from({length: clients}, client));
  assert.ok(cancelled >= cancels, `${cancelled} of ${sent} left`);
  return {sent, answered, cancelled};
}

const total = (workers, read) => workers.reduce((sum, worker) => sum + read(worker.load), 0);

/** Every place and lease was given back, and every job and request counted once. `before` were sent in all before. */
async function assertNothingIsLeft(cluster, {sent, cancelled}, before) {
  const ids = (await cluster.workers()).map((worker) => worker.workerId);
  await until('nothing runs or waits', limit(5000), async () => {
    const {running, queued} = await cluster.load();
    const {activeRequests} = await cluster.get('/api/controller/metrics');
    return running + queued + activeRequests === 0;
  });
  const workers = await Promise.all(ids.map((id) => cluster.live(id)));
  for (const worker of workers) {
    assert.equal(worker.leases, 0);
    assert.equal(worker.load.kvCellsUsed, 0, 'what it still knows of prefixes counts as free');
    assert.deepEqual(worker.load.queue.depth, [0, 0, 0]);
    assert.deepEqual(worker.clients, []);
  }
  const accepted = total(workers, (load) => load.jobsAccepted);
  const ended = total(workers, (load) => load.jobsFinished + load.jobsCancelled + load.jobsFailed);
  assert.equal(accepted, ended);
  assert.equal(total(workers, (load) => load.jobsFailed + load.jobsOrphaned), 0);
  assert.equal(total(workers, (load) => load.queue.enqueued), accepted);
  const {requests, waitingRoom} = await cluster.get('/api/controller/metrics');
  assert.equal(waitingRoom.requests, 0);
  assert.equal(requests.failed + requests.refused, 0);
  assert.equal(requests.total, requests.succeeded + requests.cancelled);
  // A client may leave before its request has arrived, or after the answer was sent.
  assert.ok(requests.total <= before + sent && requests.total >= before + sent - cancelled, JSON.stringify(requests));
  assert.ok(requests.cancelled <= cancelled && requests.cancelled >= 0.8 * cancelled, JSON.stringify(requests));
}

/** Where clients left, by the controller's records of the last requests. */
async function phases(cluster) {
  const {requests} = await cluster.get('/api/controller/requests?state=cancelled&limit=1000');
  const found = {queued: 0, prefill: 0, decode: 0};
  for (const record of requests)
    found[record.queueMs === null ? 'queued' : record.firstTokenMs === null ? 'prefill' : 'decode']++;
  return found;
}

async function leaveAtRandom(t, cancels, ...flags) {
  const cluster = await serve(
    ...['--engine', 'fake', '--workers', 2, '--max-batch-size', 8, '--fake-step-us', 2000],
    ...['--fake-prompt-token-us', 100, '--batch-tokens', 64, '--queue-timeout-ms', 60000, '--timeout-ms', 60000, ...flags],
  );
  t.after(() => cluster.child.killTree());
  const chance = randomFrom(SEED);
  const below = (n) => Math.floor(chance() * n);
  const requests = Array.from({length: 40}, (_, i) => ({
    prompt: `[reply ${10 + below(60)}] ${`${i} `.repeat(i % 4 === 0 ? 200 : 5)}`,
    fields: {stream: i % 2 === 0, seed: i, temperature: i % 3 ? 1 : 0, priority: below(3)},
  }));
  const golden = [];
  for (const request of requests) golden.push((await ask(cluster, request)).text);
  let newcomers = 0;
  const next = () => {
    const i = below(requests.length);
    if (chance() < 0.7) return {request: requests[i], golden: golden[i], leaveMs: chance() < 0.6 ? 200 * chance() : undefined};
    const prompt = `${newcomers++} is new here. `.repeat(100); // so that all of it must be computed
    return {request: {prompt, fields: requests[i].fields}, leaveMs: 300 * chance()};
  };
  const counts = await load(cluster, {clients: 40, cancels, next});
  await assertNothingIsLeft(cluster, counts, requests.length);
  const where = await phases(cluster);
  t.diagnostic(`${JSON.stringify(counts)}, left while ${JSON.stringify(where)}`);
  for (const [phase, count] of Object.entries(where)) assert.ok(count >= 10, `${count} left while ${phase}`);
  for (let i = 0; i < 5; i++) assert.equal((await ask(cluster, requests[i])).text, golden[i]);
  assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
}

test('1000_clients_that_leave_at_random_leave_nothing_behind_and_the_others_get_exactly_their_text', (t) =>
  leaveAtRandom(t, 1000));

// Cells for about half of what the slots would take: jobs wait for them, share them, and are parked.
test('also_when_all_slots_share_a_KV_cache_that_is_too_small', (t) => leaveAtRandom(t, 400, '--kv-cache-tokens', 1000));

// The real engine rounds differently in batches of other shapes, and the model's numbers are quantized: where two words
// are about as likely, the other one may come. So exact texts are asked for where the model is sure: the questions
// that it knows by heart. Stories, where it is not, are what most clients leave.
test('200_clients_of_the_real_engine_that_leave_at_random_change_no_answer_of_the_others', async (t) => {
  const cluster = await serve('--max-batch-size', 4, '--queue-timeout-ms', 60000, '--timeout-ms', 60000);
  t.after(() => cluster.child.killTree());
  const chance = randomFrom(SEED);
  const below = (n) => Math.floor(chance() * n);
  const fields = () => ({temperature: 0, stream: chance() < 0.5, priority: below(3)});
  const golden = [];
  for (const {question} of QUESTIONS) golden.push((await ask(cluster, {prompt: question, fields: fields()})).text);
  assert.deepEqual(golden, QUESTIONS.map((one) => one.answer));
  const next = () => {
    if (chance() < 0.3) return {request: {prompt: STORY, fields: fields()}, leaveMs: 400 * chance() ** 2};
    const i = below(QUESTIONS.length);
    const leaveMs = chance() < 0.6 ? 150 * chance() : undefined;
    return {request: {prompt: QUESTIONS[i].question, fields: fields()}, golden: golden[i], leaveMs};
  };
  const counts = await load(cluster, {clients: 12, cancels: 200, next});
  t.diagnostic(JSON.stringify(counts));
  assert.ok(counts.answered >= 20, `${counts.answered} stayed`);
  await assertNothingIsLeft(cluster, counts, QUESTIONS.length);
  for (const [i, {question}] of QUESTIONS.entries())
    assert.equal((await ask(cluster, {prompt: question, fields: fields()})).text, golden[i]);
  assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
});

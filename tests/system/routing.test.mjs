// How requests find their worker, and what happens when that one fails: real processes, faults on one worker alone.
import assert from 'node:assert/strict';
import {after, before, test} from 'node:test';

import {serve} from './lib/cluster.mjs';
import {Parts, hasOnline} from './lib/parts.mjs';
import {limit, timed, until} from './lib/wait.mjs';

const user = (content) => [{role: 'user', content}];
const textOf = (completion) => completion.choices[0].message.content;
/** The worker `sick` gets every request that it can get. */
const SICK_FIRST = ['--strategy', 'weighted_random', '--weight', 'sick=1', '--weight', 'well=0'];
/** Every retry that a test is about is made: the budget is not its subject. */
const RETRIES = ['--retry-budget-percent', 100];
const OPENS_SOON = ['--failure-threshold', 3, '--breaker-timeout-ms', 600];
const SLOW = ['--fake-step-us', 20000];

/** A cluster where nothing ever fails: it tells what the right text of a request is. */
let calm;
before(async () => {
  calm = await serve('--engine', 'fake', '--fake-step-us', 0);
});
after(async () => {
  assert.deepEqual(await calm.stop(), {code: 0, signal: null});
});
const right = async (content, fields) => textOf(await calm.ask(content, fields));

/** The record of a reply, once the request has ended there, too. */
async function recordOf(api, id) {
  return until(`the record of ${id}`, limit(2000), async () => {
    const record = await api.record(id);
    return record.endTime !== null && record;
  });
}

/** Where a request is now: its record while it has a worker. */
function underWay(api, clientId, ms = limit(3000)) {
  return until(`${clientId} is with a worker`, ms, async () => {
    const {requests} = await api.get(`/api/controller/requests?clientRequestId=${clientId}&state=active`);
    return requests.length === 1 && requests[0].selectedWorker && requests[0];
  });
}

const named = (id) => ({headers: {'x-request-id': id}});
const failures = (record) => record.failedWorkers.map(({worker, code}) => `${worker} ${code}`);


test('routing_01_a_request_succeeds_on_the_first_try_and_its_record_says_so', async (t) => {
  const parts = await Parts.start(t, {workers: {one: [], two: []}});
  const reply = await parts.api.post({messages: user('first')});
  assert.equal(reply.status, 200, reply.text);
  assert.equal(reply.headers['x-request-id'], reply.json.id);
  assert.equal(textOf(reply.json), await right('first'));
  const stream = await parts.api.stream('first', {}, named('my-own-name'));
  assert.equal(stream.headers['x-request-id'], 'my-own-name');
  for (const id of [reply.json.id, stream.chunks[0].id]) {
    const record = await recordOf(parts.api, id);
    assert.equal(record.requestId, id);
    assert.equal(record.state, 'succeeded');
    assert.equal(record.retryCount, 0);
    assert.ok(['one', 'two'].includes(record.selectedWorker), record.selectedWorker);
    assert.deepEqual(record.failedWorkers, []);
    assert.equal(record.finalError, null);
    assert.equal(record.clientRequestId, id === reply.json.id ? null : 'my-own-name');
  }
  await parts.stop();
});

test('routing_02_a_request_whose_worker_fails_is_answered_by_another_and_the_record_names_the_first', async (t) => {
  const parts = await Parts.start(t, {
    workers: {sick: ['--fake-fault', 'fail at 2'], well: []},
    controller: SICK_FIRST,
  });
  const reply = await parts.api.post({messages: user('try'), seed: 1, temperature: 1});
  assert.equal(reply.status, 200, reply.text);
  assert.equal(textOf(reply.json), await right('try', {seed: 1, temperature: 1}));
  const record = await recordOf(parts.api, reply.json.id);
  assert.equal(record.retryCount, 1);
  assert.equal(record.selectedWorker, 'well');
  assert.deepEqual(failures(record), ['sick ENGINE_ERROR']);

  // The same with a worker that dies: nothing is known of the death but its silence.
  await parts.stop();
  const dying = await Parts.start(t, {
    workers: {sick: SLOW, well: SLOW},
    controller: SICK_FIRST,
    heartbeatMs: 400,
  });
  const answer = dying.api.post({messages: user('[reply 50] die')}, named('orphan'));
  await underWay(dying.api, 'orphan');
  await until('it runs there', limit(3000), async () => (await dying.api.live('sick')).load.running === 1);
  dying.workers.sick.signal('SIGKILL');
  const saved = await answer;
  assert.equal(saved.status, 200, saved.text);
  assert.equal(textOf(saved.json), await right('[reply 50] die'));
  const orphan = await recordOf(dying.api, saved.json.id);
  assert.equal(orphan.retryCount, 1);
  assert.equal(orphan.selectedWorker, 'well');
  assert.deepEqual(failures(orphan), ['sick WORKER_TIMEOUT']);
  await dying.stop();
});


test('routing_03_when_every_worker_fails_the_client_gets_502_that_names_each_try', async (t) => {
  const parts = await Parts.start(t, {
    workers: {one: [], two: []},
    all: ['--fake-fault', 'fail at 0'],
    controller: RETRIES,
  });
  // A stream of which nothing was shown yet is answered in the same way.
  for (const stream of [false, true]) {
    const reply = await parts.api.post({messages: user('in vain'), stream}, named(`in-vain-${stream}`));
    assert.equal(reply.status, 502, reply.text);
    assert.equal(reply.json.error.code, 'ALL_RETRIES_EXHAUSTED');
    assert.equal(reply.json.error.type, 'server_error');
    assert.equal(reply.headers['x-should-retry'], 'false');
    assert.equal(reply.headers['x-request-id'], `in-vain-${stream}`);
    assert.ok(Math.abs(reply.json.error.timestamp - Date.now()) < limit(5000));
    const {context} = reply.json.error;
    const tries = [...reply.json.error.message.matchAll(/(\w+): (\w+) after (\d+) ms/g)];
    assert.deepEqual(tries.map(([, worker, code]) => `${worker} ${code}`).sort(), [
      'one ENGINE_ERROR',
      'two ENGINE_ERROR',
    ]);
    const {requests} = await parts.api.get(`/api/controller/requests?clientRequestId=in-vain-${stream}`);
    assert.equal(requests.length, 1);
    const [record] = requests;
    assert.equal(context.requestId, record.requestId);
    assert.deepEqual(context.tries, record.failedWorkers);
    assert.equal(record.state, 'failed');
    assert.equal(record.retryCount, 1);
    assert.equal(record.finalError.code, 'ALL_RETRIES_EXHAUSTED');
    assert.deepEqual(failures(record).sort(), ['one ENGINE_ERROR', 'two ENGINE_ERROR']);
    record.failedWorkers.forEach(({durationMs}, i) => assert.equal(durationMs, Number(tries[i][3])));
  }
  await parts.stop();
});

test('routing_04_a_breaker_opens_after_failures_in_a_row_and_no_request_goes_to_that_worker', async (t) => {
  const parts = await Parts.start(t, {
    workers: {sick: ['--fake-fault', 'fail at 0'], well: []},
    controller: [...SICK_FIRST, ...RETRIES, '--failure-threshold', 3],
  });
  for (let failed = 1; failed <= 3; failed++) {
    assert.equal((await parts.breaker('sick')).state, 'CLOSED');
    await parts.api.ask(`failure ${failed}`);
    assert.equal((await parts.counts('sick')).jobsFailed, failed);
  }
  const breaker = await parts.breaker('sick');
  assert.equal(breaker.state, 'OPEN');
  assert.equal(breaker.openings, 1);
  assert.equal(breaker.lastFailure, 'ENGINE_ERROR');
  assert.ok(breaker.remainingMs > 0 && breaker.remainingMs <= 30000, `${breaker.remainingMs} ms`);
  const shown = await parts.api.exposition();
  assert.equal(shown['mlx_controller_model_breaker_state{worker="sick",model="tiny-chat"}'], 1);
  assert.equal(shown['mlx_controller_model_breaker_opened_total{worker="sick",model="tiny-chat"}'], 1);
  assert.equal(shown['mlx_controller_model_breaker_state{worker="well",model="tiny-chat"}'], 0);
  assert.equal(shown['mlx_controller_worker_breaker_state{worker="sick"}'], 0, 'its process is not to blame');
  const answers = await Promise.all(Array.from({length: 10}, (_, i) => parts.api.ask(`around it ${i}`)));
  for (const {id} of answers) {
    const record = await recordOf(parts.api, id);
    assert.equal(record.retryCount, 0);
    assert.equal(record.selectedWorker, 'well');
    assert.equal(record.routing.excluded.breaker, 1);
  }
  assert.equal((await parts.counts('sick')).jobsSent, 3);
  await parts.stop();
});

test('routing_05_a_breaker_is_half_open_after_its_time_and_closes_once_probes_succeed', async (t) => {
  const parts = await Parts.start(t, {
    // Three failures open it, the fourth job is a probe that fails, all later ones succeed.
    workers: {sick: ['--fake-fault', 'fail at 0', '--fake-fault-jobs', 4], well: []},
    // Without probes of the controller's own, so that clients' requests are the probes.
    controller: [...SICK_FIRST, ...RETRIES, ...OPENS_SOON, '--no-breaker-probe'],
  });
  const becomes = (state) =>
    until(`the breaker is ${state}`, limit(5000), async () => (await parts.breaker('sick')).state === state);
  const ask = async (what) => recordOf(parts.api, (await parts.api.ask(what)).id);

  for (let i = 0; i < 3; i++) await ask(`failure ${i}`);
  assert.equal((await parts.breaker('sick')).openings, 1);
  await becomes('HALF_OPEN');
  assert.deepEqual(failures(await ask('a probe that fails')), ['sick ENGINE_ERROR']);
  const again = await parts.breaker('sick');
  assert.equal(again.state, 'OPEN');
  assert.equal(again.openings, 2);
  await becomes('HALF_OPEN');
  assert.equal((await ask('a probe that succeeds')).selectedWorker, 'sick');
  assert.equal((await parts.breaker('sick')).state, 'HALF_OPEN', 'one success proves nothing yet');
  assert.equal((await ask('the second one')).selectedWorker, 'sick');
  assert.equal((await parts.breaker('sick')).state, 'CLOSED');
  assert.equal((await ask('as before')).selectedWorker, 'sick');
  await parts.stop();
});

test('routing_05_probes_of_the_controller_close_a_breaker_and_no_request_pays_for_one', async (t) => {
  const parts = await Parts.start(t, {
    workers: {sick: ['--fake-fault', 'fail at 0', '--fake-fault-jobs', 4], well: []},
    controller: [...SICK_FIRST, ...RETRIES, ...OPENS_SOON],
  });
  for (let i = 0; i < 3; i++) await parts.api.ask(`failure ${i}`);
  assert.equal((await parts.breaker('sick')).state, 'OPEN');
  // The fourth job fails, too.
  await until('it is closed again', limit(10000), async () => {
    const record = await recordOf(parts.api, (await parts.api.ask('meanwhile')).id);
    assert.equal(record.retryCount, 0);
    return (await parts.breaker('sick')).state === 'CLOSED';
  });
  assert.equal((await parts.breaker('sick')).openings, 2);
  const {id} = await parts.api.ask('as before');
  assert.equal((await recordOf(parts.api, id)).selectedWorker, 'sick');
  await parts.stop();
});

test('routing_06_each_time_limit_ends_the_request_with_504_and_frees_what_it_held', async (t) => {
  const oneTry = ['--max-retries', 0];
  // [limit in the metrics, flags of the controller, of the worker, the prompt, code, what the message says]
  const limits = [
    ['deadline', ['--timeout-ms', 300], SLOW, '[reply 2000] a', 'DEADLINE_EXCEEDED', /limit of 300 ms/],
    [
      'firstToken',
      ['--first-token-timeout-ms', 250],
      ['--fake-fault', 'slow x1000'],
      '[reply 9] b',
      'WORKER_TIMEOUT',
      /worker one did not send its first token within 250 ms/,
    ],
    [
      'stall',
      ['--stall-timeout-ms', 250],
      ['--fake-fault', 'hang at 3'],
      '[reply 9] c',
      'WORKER_TIMEOUT',
      /worker one did not send its next token within 250 ms/,
    ],
  ];
  for (const [name, controller, worker, prompt, code, message] of limits) {
    const parts = await Parts.start(t, {workers: {one: worker}, controller: [...oneTry, ...controller]});
    const {ms, value: reply} = await timed(() => parts.api.post({messages: user(prompt)}));
    assert.equal(reply.status, 504, reply.text);
    assert.equal(reply.json.error.code, code);
    assert.equal(reply.json.error.type, 'server_error');
    assert.match(reply.json.error.message, message);
    assert.ok(ms >= 250, `${name} after ${ms} ms`);
    assert.equal((await parts.api.get('/api/controller/metrics')).timeouts[name], 1);
    // An engine that hangs never gives its slot back; to the controller the job is over all the same.
    if (name === 'stall') {
      assert.equal((await parts.counts('one')).leases, 0);
      parts.kill();
    } else {
      await parts.allIdle();
      await parts.stop();
    }
  }

  const streams = await Parts.start(t, {
    workers: {one: SLOW},
    controller: [...oneTry, '--streaming-timeout-ms', 500],
  });
  const cut = await streams.api.stream('[reply 2000] d');
  assert.equal(cut.error.code, 'DEADLINE_EXCEEDED');
  assert.deepEqual(cut.finish, [], 'a deadline is no finish_reason');
  assert.ok((await right('[reply 2000] d')).startsWith(cut.text));
  await streams.allIdle();

  // A worker that is stopped accepts nothing, and is not yet known to be silent.
  const silent = await Parts.start(t, {
    workers: {one: []},
    controller: [...oneTry, '--ack-timeout-ms', 200],
    heartbeatMs: 1000,
  });
  silent.workers.one.signal('SIGSTOP');
  const unheard = await silent.api.post({messages: user('e')});
  silent.workers.one.signal('SIGCONT');
  assert.equal(unheard.status, 504, unheard.text);
  assert.equal(unheard.json.error.code, 'WORKER_TIMEOUT');
  assert.match(unheard.json.error.message, /did not send its acknowledgement within 200 ms/);
  await hasOnline(silent.api, 'one');
  await silent.allIdle();
  for (const parts of [streams, silent]) await parts.stop();
});

test('routing_07_without_workers_a_request_waits_a_while_then_gets_503_or_the_worker_that_comes', async (t) => {
  const parts = await Parts.start(t, {controller: ['--no-workers-timeout-ms', 400]});
  const {ms, value: reply} = await timed(() => parts.api.post({messages: user('nobody there')}));
  assert.equal(reply.status, 503, reply.text);
  assert.equal(reply.json.error.code, 'NO_WORKERS_AVAILABLE');
  assert.equal(reply.json.error.type, 'server_error');
  assert.ok(Number(reply.headers['retry-after']) > 0);
  assert.ok(Number(reply.headers['retry-after-ms']) > 0);
  assert.equal(reply.json.error.retryable, false);
  assert.ok(reply.json.error.context.waitedMs >= 400, reply.text);
  assert.ok(ms >= 400 && ms < limit(2400), `after ${ms} ms`);
  await parts.stop();

  const late = await Parts.start(t, {controller: ['--no-workers-timeout-ms', limit(10000)]});
  const waiting = [1, 2].map((i) => late.api.post({messages: user(`patience ${i}`)}, named(`patience-${i}`)));
  await until('both wait', limit(2000), async () => {
    const {requests} = await late.api.get('/api/controller/requests?state=waiting');
    return requests.length === 2;
  });
  late.addWorker('newcomer');
  for (const [i, served] of (await Promise.all(waiting)).entries()) {
    assert.equal(served.status, 200, served.text);
    assert.equal(textOf(served.json), await right(`patience ${i + 1}`));
    const record = await recordOf(late.api, served.json.id);
    assert.equal(record.selectedWorker, 'newcomer');
    assert.equal(record.retryCount, 0);
    assert.ok(record.waitedMs > 0);
  }
  await late.stop();
});

test('routing_08_when_the_worker_of_a_session_dies_its_requests_move_together_to_one_other', async (t) => {
  const workers = {one: SLOW, two: SLOW, three: SLOW};
  const parts = await Parts.start(t, {workers, controller: RETRIES});
  const ask = async (content, session) => recordOf(parts.api, (await parts.api.ask(content, session)).id);
  const mine = {session_id: 'my-session'};
  const home = (await ask('[reply 3] hello', mine)).selectedWorker;
  for (let i = 0; i < 4; i++) {
    const record = await ask(`[reply 3] at home ${i}`, mine);
    assert.equal(record.selectedWorker, home);
    assert.equal(record.routing.strategy, 'session');
  }
  const prompt = '[reply 60] moving';
  const moving = parts.api.post({messages: user(prompt), ...mine}, named('moving'));
  assert.equal((await underWay(parts.api, 'moving')).selectedWorker, home);
  parts.workers[home].signal('SIGKILL');
  const moved = await moving;
  assert.equal(moved.status, 200, moved.text);
  assert.equal(textOf(moved.json), await right(prompt));
  const record = await recordOf(parts.api, moved.json.id);
  assert.equal(record.failedWorkers[0].worker, home);
  const next = record.selectedWorker;
  assert.notEqual(next, home);
  // Others are busier elsewhere, which does not count for them.
  const together = await Promise.all([1, 2, 3, 4, 5].map((i) => ask(`[reply 9] together ${i}`, mine)));
  assert.deepEqual(
    together.map((one) => `${one.selectedWorker} ${one.routing.strategy}`),
    together.map(() => `${next} session`),
  );
  await parts.stop();
});

test('routing_09_30_requests_at_once_are_spread_evenly_over_3_workers', async (t) => {
  const prompts = Array.from({length: 30}, (_, i) => `[reply 30] number ${i}`);
  const expected = await Promise.all(prompts.map((prompt) => right(prompt)));
  // The first one could hear of a job's end while the last requests arrive.
  for (const [strategy, off] of Object.entries({least_requests: 2, round_robin: 0})) {
    const parts = await Parts.start(t, {
      workers: {one: SLOW, two: SLOW, three: SLOW},
      controller: ['--strategy', strategy],
    });
    const replies = await Promise.all(prompts.map((prompt) => parts.api.ask(prompt)));
    assert.deepEqual(replies.map(textOf), expected);
    const share = {one: 0, two: 0, three: 0};
    for (const {id} of replies) share[(await recordOf(parts.api, id)).selectedWorker]++;
    for (const count of Object.values(share))
      assert.ok(Math.abs(count - 10) <= off, `${strategy}: ${JSON.stringify(share)}`);
    await parts.stop();
  }
});

test('routing_10_a_stream_is_retried_and_goes_on_behind_what_is_shown', async (t) => {
  const parts = await Parts.start(t, {
    workers: {sick: ['--fake-fault', 'fail at 0', '--fake-fault-jobs', 1], well: []},
    controller: [...SICK_FIRST, ...RETRIES],
  });
  const expected = await calm.stream('a stream', {seed: 3, temperature: 1});
  const saved = await parts.api.stream('a stream', {seed: 3, temperature: 1});
  assert.equal(saved.text, expected.text);
  assert.equal(saved.finish, 'stop');
  assert.equal(saved.error, undefined);
  assert.equal(saved.chunks.filter((chunk) => chunk.choices[0].delta.role).length, 1);
  const record = await recordOf(parts.api, saved.chunks[0].id);
  assert.equal(record.retryCount, 1);
  assert.deepEqual(failures(record), ['sick ENGINE_ERROR']);

  const broken = await parts.api.stream('[fail at 9] [reply 20] half');
  assert.equal(broken.error.code, 'ALL_RETRIES_EXHAUSTED');
  assert.deepEqual(broken.finish, []);
  assert.ok(broken.text.length > 0);
  await parts.stop();

  // Fails in the middle on one worker only.
  const half = await Parts.start(t, {
    workers: {sick: ['--fake-fault', 'fail at 9', '--fake-fault-jobs', 1], well: []},
    controller: [...SICK_FIRST, ...RETRIES],
  });
  const asked = ['[reply 40] half', {seed: 4, temperature: 1, stream_options: {include_usage: true}}];
  const undisturbed = await calm.stream(...asked);
  const joined = await half.api.stream(...asked);
  assert.equal(joined.error, undefined);
  assert.equal(joined.text, undisturbed.text);
  assert.equal(joined.usage.total_tokens, undisturbed.usage.total_tokens);
  assert.equal(joined.chunks.filter((chunk) => chunk.choices[0]?.delta.role).length, 1);
  const migrated = await recordOf(half.api, joined.chunks[0].id);
  assert.equal(migrated.migrations, 1);
  assert.equal(migrated.selectedWorker, 'well');
  assert.deepEqual(failures(migrated), ['sick ENGINE_ERROR']);
  await half.stop();
});

test('routing_11_a_reply_after_a_retry_is_to_the_byte_the_one_of_an_undisturbed_run', async (t) => {
  const parts = await Parts.start(t, {
    workers: {sick: ['--fake-fault', 'fail at 40'], well: []},
    controller: [...SICK_FIRST, ...RETRIES, '--no-circuit-breaker'],
  });
  for (const fields of [{temperature: 0}, {temperature: 1, seed: 11}, {temperature: 1, seed: 12}]) {
    const asked = {messages: user('[reply 70] say it again'), ...fields};
    const expected = (await calm.post(asked)).json;
    const {json: got} = await parts.api.post(asked);
    assert.deepEqual(got.choices, expected.choices);
    assert.equal(got.usage.total_tokens, expected.usage.total_tokens);
    const record = await recordOf(parts.api, got.id);
    assert.equal(record.retryCount, 1);
    assert.equal(record.completionTokens, 70);
    assert.deepEqual(failures(record), ['sick ENGINE_ERROR']);
  }
  await parts.stop();
});

test('routing_12_the_metrics_move_exactly_as_the_requests_that_were_made', async (t) => {
  const parts = await Parts.start(t, {
    workers: {sick: ['--fake-fault', 'fail at 0', '--fake-fault-jobs', 1], well: []},
    all: ['--fake-step-us', 5000],
    controller: [...SICK_FIRST, ...RETRIES, '--streaming-timeout-ms', limit(1500)],
  });
  const {api} = parts;
  const usages = [];
  for (let i = 0; i < 3; i++) usages.push((await api.ask(`[reply ${i + 2}] whole`)).usage);
  for (let i = 0; i < 2; i++) {
    const streamed = await api.stream(`[reply ${i + 6}] streamed`, {stream_options: {include_usage: true}});
    usages.push(streamed.usage);
  }
  assert.equal((await api.send({method: 'POST', path: '/v1/chat/completions', body: '{'})).status, 400);
  assert.equal((await api.post({messages: user('hello'), model: 'nothing'})).status, 404);
  assert.equal((await api.post({messages: user('[fail at 1]')})).status, 502);
  const leaving = new AbortController();
  const left = api
    .post(
      {messages: user('[reply 3000] leave'), stream: true},
      {signal: leaving.signal, onText: (text) => text.includes('"content"') && leaving.abort()},
    )
    .catch((error) => error.name);
  assert.equal(await left, 'AbortError');
  assert.equal((await api.stream('[reply 3000] too long')).error.code, 'DEADLINE_EXCEEDED');
  await parts.allIdle();

  const sum = (field) => usages.reduce((all, usage) => all + usage[field], 0);
  const ends = {succeeded: 5, failed: 2, cancelled: 1, refused: 2};
  const errors = {
    INVALID_JSON: 1,
    MODEL_NOT_FOUND: 1,
    CANCELLED: 1,
    ALL_RETRIES_EXHAUSTED: 1,
    DEADLINE_EXCEEDED: 1,
  };
  const timeouts = {acknowledgement: 0, firstToken: 0, stall: 0, deadline: 1};
  const json = await api.get('/api/controller/metrics');
  assert.deepEqual(json.requests, {total: 10, ...ends, retries: 2, migrations: 0});
  assert.equal(json.completedRequests, 10);
  assert.equal(json.activeRequests, 0);
  assert.deepEqual(json.errors, errors);
  assert.deepEqual(json.failedTries, {ENGINE_ERROR: 3});
  assert.deepEqual(json.timeouts, timeouts);
  assert.deepEqual(json.tokens, {prompt: sum('prompt_tokens'), completion: sum('completion_tokens')});
  assert.equal(json.latencyMs.total.count, 9, 'all but the one that was no request');
  assert.equal(json.latencyMs.firstToken.count, 8, 'all of those but that of no model');
  const jobs = {sick: {jobsSent: 8, jobsFailed: 2}, well: {jobsSent: 2, jobsFailed: 1}};
  for (const {worker, leases, jobsSent, jobsFailed} of json.workers)
    assert.deepEqual({jobsSent, jobsFailed, leases}, {...jobs[worker], leases: 0}, worker);

  const shown = await api.exposition();
  const shows = (name, labels, values) => {
    for (const [key, value] of Object.entries(values))
      assert.equal(shown[`mlx_controller_${name}{${labels}="${key}"}`], value, `${name} ${key}`);
  };
  shows('requests_total', 'outcome', ends);
  shows('errors_total', 'code', {...errors, ENGINE_ERROR: 0, NATS_ERROR: 0});
  shows('tries_failed_total', 'code', {ENGINE_ERROR: 3, WORKER_TIMEOUT: 0});
  shows('timeouts_total', 'limit', timeouts);
  shows('worker_jobs_sent_total', 'worker', {sick: 8, well: 2});
  shows('worker_jobs_failed_total', 'worker', {sick: 2, well: 1});
  shows('worker_leases', 'worker', {sick: 0, well: 0});
  const totals = {
    requests_received_total: 10,
    retries_total: 2,
    active_requests: 0,
    prompt_tokens_total: sum('prompt_tokens'),
    completion_tokens_total: sum('completion_tokens'),
    request_seconds_count: 9,
    first_token_seconds_count: 8,
    gaps_total: 0,
    malformed_messages_total: 0,
    impossible_events_total: 0,
  };
  for (const [name, value] of Object.entries(totals)) assert.equal(shown[`mlx_controller_${name}`], value, name);
  await parts.stop();
});

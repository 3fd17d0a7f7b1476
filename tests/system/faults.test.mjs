// What clients see when an engine fails, crashes or hangs: the right error, once, and a cluster that goes on.
import assert from 'node:assert/strict';
import {test} from 'node:test';

import {isUp, serve} from './lib/cluster.mjs';
import {readStream} from './lib/http.mjs';
import {limit, until} from './lib/wait.mjs';

const FAKE = ['--engine', 'fake', '--fake-step-us', 5000];

async function start(t, ...flags) {
  const cluster = await serve(...FAKE, ...flags);
  t.after(() => cluster.child.killTree());
  return cluster;
}

/** All results, errors among them: nothing is left unhandled while the test does something else. */
const settled = (promises) => Promise.all(promises.map((one) => one.catch((error) => error)));
const user = (content) => [{role: 'user', content}];
const stopped = async (cluster) => assert.deepEqual(await cluster.stop(), {code: 0, signal: null});

test('a_request_that_fails_in_every_engine_is_tried_on_each_worker_once_and_names_the_tries', async (t) => {
  const cluster = await start(t, '--workers', 3);
  const reply = await cluster.post({messages: user('[fail at 3] [reply 9]')});
  assert.equal(reply.status, 502);
  assert.equal(reply.json.error.code, 'ALL_RETRIES_EXHAUSTED');
  assert.equal(reply.json.error.type, 'server_error');
  assert.equal(reply.headers['x-should-retry'], 'false');
  for (const {workerId} of await cluster.workers()) {
    assert.ok(reply.json.error.message.includes(workerId), reply.json.error.message);
    await until(
      'it is counted',
      limit(1000),
      async () => (await cluster.live(workerId)).load.jobsFailed === 1,
    );
  }
  assert.equal(reply.json.error.message.match(/ENGINE_ERROR/g).length, 3);
  await stopped(cluster);
});

test('a_stream_that_fails_everywhere_after_some_text_ends_with_an_error_event_and_no_finish_reason', async (t) => {
  const cluster = await start(t, '--workers', 2);
  const whole = (await cluster.ask('[fail at 900] [reply 20] tell')).choices[0].message.content;
  const stream = await cluster.stream('[fail at 900] [reply 20] tell');
  assert.equal(stream.text, whole);
  const broken = await cluster.stream('[fail at 6] [reply 20] tell');
  assert.equal(broken.error.code, 'ALL_RETRIES_EXHAUSTED');
  assert.equal(broken.error.type, 'server_error');
  assert.equal(broken.error.context.tries.length, 2);
  assert.deepEqual(broken.finish, []);
  assert.ok(broken.contents.length >= 4);
  assert.ok((await cluster.ask('[reply 20] tell')).choices[0].message.content !== broken.text);
  await stopped(cluster);
});

test('a_stream_whose_worker_is_killed_goes_on_unbroken_at_another', async (t) => {
  const cluster = await start(t, '--workers', 3, '--fake-step-us', 10000);
  const prompt = '[reply 150] a long story';
  const sampling = {seed: 5, temperature: 1, stream_options: {include_usage: true}};
  const expected = await cluster.stream(prompt, sampling);
  const streams = [];
  for (let i = 0; i < 6; i++) streams.push(await cluster.streamUnderWay(prompt, sampling, 8));
  const [victim] = (await cluster.workers()).filter((worker) => worker.leases > 0);
  process.kill(victim.pid, 'SIGKILL');
  for (const stream of streams) {
    const got = readStream((await stream.ended).text);
    assert.equal(got.error, undefined);
    assert.equal(got.text, expected.text);
    assert.equal(got.finish, 'stop');
    assert.equal(got.usage.completion_tokens, expected.usage.completion_tokens);
    assert.equal(got.usage.prompt_tokens, expected.usage.prompt_tokens);
  }
  const {requests} = await cluster.get('/api/controller/metrics');
  assert.equal(requests.migrations, victim.leases);
  assert.equal(requests.failed, 0);
  const records = (await cluster.get('/api/controller/requests?state=succeeded')).requests;
  assert.equal(records.filter((record) => record.migrations === 1).length, victim.leases);
  await stopped(cluster);
});

test('where_streams_may_not_migrate_one_whose_worker_is_killed_ends_with_an_error', async (t) => {
  const cluster = await start(t, '--workers', 2, '--fake-step-us', 10000, '--migrate-max-tokens', 0);
  const stream = await cluster.streamUnderWay('[reply 150] a long story', {}, 8);
  const victim = (await cluster.workers()).find((worker) => worker.leases > 0);
  process.kill(victim.pid, 'SIGKILL');
  const got = readStream((await stream.ended).text);
  assert.equal(got.error.code, 'WORKER_OFFLINE');
  assert.deepEqual(got.finish, []);
  await stopped(cluster);
});

test('a_step_that_fails_once_fails_nobody', async (t) => {
  const cluster = await start(t);
  const beside = cluster.ask('[reply 40] beside', {seed: 2});
  const reply = await cluster.ask('[step error at 4] [reply 20]');
  assert.equal(reply.usage.completion_tokens, 20);
  assert.equal((await beside).usage.completion_tokens, 40);
  await stopped(cluster);
});

test('a_request_that_crashes_two_workers_is_not_given_to_a_third_one', async (t) => {
  const cluster = await start(t, '--workers', 3);
  const reply = await cluster.post({messages: user('[crash at 3] [reply 9]')});
  assert.equal(reply.json.error.type, 'server_error', reply.text);
  assert.ok(reply.status >= 500, reply.text);
  assert.equal(reply.json.error.message.match(/WORKER_OFFLINE/g).length, 2, reply.text);
  assert.equal((await cluster.ask('[reply 5]')).usage.completion_tokens, 5);
  await until('three workers online', limit(5000), async () => {
    const all = await cluster.workers();
    return all.filter(isUp).length === 3;
  });
  assert.equal(cluster.child.stderr.match(/ended by itself/g).length, 2, 'two processes died of it');
  await stopped(cluster);
});

test('requests_beside_one_that_crashes_the_worker_are_answered_elsewhere', async (t) => {
  const cluster = await start(t, '--workers', 3, '--migrate-max-tokens', 0);
  const prompts = Array.from({length: 9}, (_, i) => `[reply 60] beside ${i}`);
  const expected = await Promise.all(prompts.map((prompt) => cluster.ask(prompt, {seed: 3})));
  const answers = settled(prompts.map((prompt) => cluster.ask(prompt, {seed: 3})));
  await until('they run', limit(2000), async () => (await cluster.load()).running === 9);
  // Some of its text was shown, so it is not tried again and kills one worker only.
  const crashed = await cluster.stream('[crash at 5] [reply 9]');
  assert.equal(crashed.error.code, 'WORKER_OFFLINE');
  assert.ok(crashed.contents.length >= 3);
  const got = await answers;
  assert.deepEqual(
    got.map((one) => one.choices ?? one.message),
    expected.map((one) => one.choices),
  );
  assert.equal((await cluster.get('/api/cluster/status')).requests.retries, 3);
  await stopped(cluster);
});

test('with_one_worker_the_client_is_told_how_it_failed_and_not_that_there_are_no_workers', async (t) => {
  const cluster = await start(t);
  const reply = await cluster.post({messages: user('[fail at 3] [reply 9]')});
  assert.equal(reply.status, 500, reply.text);
  assert.equal(reply.json.error.code, 'ENGINE_ERROR');
  assert.equal(reply.headers['x-should-retry'], 'false');
  await stopped(cluster);
});

test('when_all_workers_are_full_and_nobody_may_wait_the_client_is_told_to_come_back', async (t) => {
  const one = ['--max-batch-size', 1, '--max-depth', 0];
  const cluster = await start(t, '--workers', 2, ...one, '--queue-max-requests', 0);
  const held = settled([1, 2].map((i) => cluster.ask(`[reply 100] ${i}`)));
  await until('both run', limit(2000), async () => (await cluster.load()).running === 2);
  const reply = await cluster.post({messages: user('[reply 2]')});
  assert.equal(reply.status, 503, reply.text);
  assert.ok(Number(reply.headers['retry-after']) > 0);
  assert.notEqual(reply.headers['x-should-retry'], 'false');
  for (const one of await held) assert.equal(one.usage?.completion_tokens, 100, one.message);
  await stopped(cluster);
});

test('when_all_workers_are_full_the_next_one_waits_and_is_served', async (t) => {
  const cluster = await start(t, '--workers', 2, '--max-batch-size', 1, '--max-depth', 0);
  const held = settled([1, 2].map((i) => cluster.ask(`[reply 400] ${i}`)));
  await until('both run', limit(2000), async () => (await cluster.load()).running === 2);
  assert.equal((await cluster.ask('[reply 2]')).usage.completion_tokens, 2);
  const {waitingRoom} = await cluster.get('/api/controller/metrics');
  assert.ok(waitingRoom.entered >= 1);
  for (const one of await held) assert.equal(one.usage?.completion_tokens, 400, one.message);
  await stopped(cluster);
});

test('a_hung_engine_ends_the_try_after_the_stall_limit_and_the_cluster_still_stops_in_time', async (t) => {
  const cluster = await start(t, '--workers', 2, '--stall-timeout-ms', 500);
  const reply = await cluster.post({messages: user('[hang at 3] [reply 9]')});
  assert.equal(reply.status, 502, reply.text);
  assert.equal(reply.json.error.message.match(/WORKER_TIMEOUT/g).length, 2);
  await stopped(cluster);
});

test('a_stream_whose_engine_hangs_ends_with_an_error_event', async (t) => {
  const cluster = await start(t, '--stall-timeout-ms', 500);
  const stream = await cluster.stream('[hang at 5] [reply 9]');
  assert.equal(stream.error.code, 'WORKER_TIMEOUT');
  assert.ok(stream.contents.length >= 3);
  await stopped(cluster);
});

test('a_request_over_its_total_time_gets_504_and_its_slot_is_freed', async (t) => {
  const cluster = await start(t, '--timeout-ms', 400, '--streaming-timeout-ms', 400);
  const reply = await cluster.post({messages: user('[reply 2000]')});
  assert.equal(reply.status, 504);
  assert.equal(reply.json.error.code, 'DEADLINE_EXCEEDED');
  const stream = await cluster.stream('[reply 2000]');
  assert.equal(stream.error.code, 'DEADLINE_EXCEEDED');
  assert.deepEqual(stream.finish, [], 'a deadline is no finish_reason');
  await until('no slot is in use', limit(1000), async () => (await cluster.load()).running === 0);
  await stopped(cluster);
});

test('a_stopped_worker_gets_no_new_work_after_3_s_and_its_waiting_requests_finish_elsewhere', async (t) => {
  const cluster = await start(t, '--workers', 2, '--heartbeat-interval-ms', 200);
  const [victim, other] = await cluster.workers();
  process.kill(victim.pid, 'SIGSTOP');
  t.after(() => {
    try {
      process.kill(victim.pid, 'SIGCONT');
    } catch {
      // It is gone, which is what the end of the test wants.
    }
  });
  const answers = await Promise.all([1, 2, 3, 4].map((i) => cluster.ask(`[reply 5] ${i}`)));
  assert.equal(answers.length, 4);
  await until('it is suspect', limit(3000), async () => {
    const now = await cluster.workers();
    return !isUp(now.find((worker) => worker.workerId === victim.workerId));
  });
  const finished = async () => (await cluster.live(other.workerId)).load.jobsFinished;
  const before = await finished();
  for (let i = 0; i < 4; i++) await cluster.ask(`[reply 5] again ${i}`);
  await until('the other one did all four', limit(1000), async () => (await finished()) === before + 4);
  process.kill(victim.pid, 'SIGCONT');
  await until('it is back', limit(3000), async () => {
    const now = await cluster.workers();
    return now.every(isUp);
  });
  await stopped(cluster);
});

test('characters_that_come_as_several_tokens_are_never_cut', async (t) => {
  const cluster = await start(t);
  const pieces = [];
  const prompt = '[reply 64] tell';
  const stream = await cluster.stream(prompt, {seed: 1}, {onText: (_, bytes) => pieces.push(bytes)});
  assert.match(stream.text, /é.*😀/u);
  assert.ok(!stream.text.includes('\ufffd'));
  for (const content of stream.contents) assert.ok(content.isWellFormed?.() ?? true);
  new TextDecoder('utf-8', {fatal: true}).decode(Buffer.concat(pieces));
  assert.equal((await cluster.ask(prompt, {seed: 1})).choices[0].message.content, stream.text);
  // Cut at every length: a character that is not complete is left out or replaced, never halved.
  const texts = await Promise.all(
    Array.from({length: 50}, async (_, i) => {
      const {choices} = await cluster.ask(prompt, {seed: 1, max_tokens: i + 1});
      return choices[0].message.content;
    }),
  );
  for (const text of texts) assert.ok(stream.text.startsWith(text.replace(/\ufffd$/, '')), text);
  await stopped(cluster);
});

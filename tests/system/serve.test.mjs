// `mlxd serve` as an operator sees it: it comes up, survives the death of each of its parts, and goes down whole.
import assert from 'node:assert/strict';
import {execFile} from 'node:child_process';
import {readFileSync, writeFileSync} from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import {test} from 'node:test';
import {promisify} from 'node:util';

import {Api, MODEL, freePort, isUp, mlxdEnd, serve, serveUnready, tempDir} from './lib/cluster.mjs';
import {FRANCE, PARIS} from './lib/facts.mjs';
import {isAlive} from './lib/process.mjs';
import {limit, timed, until, within} from './lib/wait.mjs';

const answer = async (api) => (await api.ask(FRANCE)).choices[0].message.content;

async function start(t, ...flags) {
  const cluster = await serve(...flags);
  t.after(() => cluster.child.killTree());
  return cluster;
}

/** Slow enough that requests are still under way whatever the test does next. */
const SLOW_FAKE = ['--engine', 'fake', '--fake-step-us', 20000];
const LONG = '[reply 2000] go on';

test('the_ready_block_shows_address_models_and_workers_and_its_curl_works', async (t) => {
  const cluster = await start(t, '--workers', 2);
  assert.match(cluster.ready, new RegExp(`http://127\\.0\\.0\\.1:${cluster.port}\\b`));
  assert.match(cluster.ready, /tiny-chat/);
  assert.match(cluster.ready, /workers\W+2\b/i);
  const [curl] = cluster.ready.match(/\bcurl (?:.*\\\n)*.*/);
  const {stdout} = await promisify(execFile)('bash', ['-c', curl], {timeout: limit(10000)});
  const reply = JSON.parse(stdout);
  assert.equal(reply.object, 'chat.completion');
  assert.equal(reply.choices[0].finish_reason, 'stop');
  assert.ok(reply.choices[0].message.content.length > 0);
  assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
});

test('when_it_says_ready_all_workers_are_online_and_the_first_request_succeeds', async (t) => {
  const cluster = await start(t, '--workers', 3);
  const workers = await cluster.workers();
  assert.deepEqual(
    workers.map((worker) => worker.status),
    ['online', 'online', 'online'],
  );
  assert.equal(await answer(cluster), PARIS);
  assert.equal((await cluster.send({path: '/health/ready'})).status, 200);
});

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`${signal}_ends_an_idle_cluster_with_0_within_5_s_and_leaves_no_process_and_no_file`, async (t) => {
    const cluster = await start(t, '--workers', 2);
    assert.equal(cluster.child.children().length, 4, 'nats-server, a controller, two workers');
    assert.deepEqual(await cluster.stop(signal), {code: 0, signal: null});
    assert.deepEqual(cluster.filesLeft(), []);
  });
}

test('SIGTERM_with_long_requests_under_way_answers_them_with_an_error_and_ends_within_5_s', async (t) => {
  const cluster = await start(t, '--workers', 2, ...SLOW_FAKE);
  const stream = await cluster.streamUnderWay(LONG);
  const buffered = cluster.post({messages: [{role: 'user', content: LONG}]}).catch((error) => error);
  await until('both requests run', limit(3000), async () => (await cluster.load()).running === 2);
  assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
  await stream.ended;
  assert.match(stream.text().slice(-400), /data: \{"error":.*"code":"CONTROLLER_DRAINING"/);
  const refused = await buffered;
  assert.equal(refused.status, 503, String(refused));
  assert.equal(refused.json.error.code, 'CONTROLLER_DRAINING');
});

test('SIGTERM_lets_requests_that_end_in_time_finish', async (t) => {
  const cluster = await start(t, ...SLOW_FAKE);
  const whole = await cluster.ask('[reply 50] short', {seed: 1});
  const stream = await cluster.streamUnderWay('[reply 50] short');
  const buffered = cluster.ask('[reply 50] short', {seed: 1});
  await until('both requests run', limit(3000), async () => (await cluster.load()).running === 2);
  assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
  assert.equal((await buffered).choices[0].message.content, whole.choices[0].message.content);
  assert.equal((await stream.ended).status, 200);
  assert.match(stream.text().slice(-400), /"finish_reason":"stop".*\n\ndata: \[DONE\]\n\n$/);
});

test('SIGTERM_before_it_is_ready_ends_it_and_leaves_no_process', async (t) => {
  const {child} = await serveUnready('--workers', 2);
  t.after(() => child.killTree());
  await until('the first child process', limit(5000), () => child.children().length > 0);
  child.signal('SIGTERM');
  const result = await within('its end', limit(5000), child.ended);
  assert.deepEqual(result, {code: 0, signal: null}, child.output);
  assert.deepEqual(child.survivors(), []);
});

test('a_port_in_use_ends_it_with_1_and_a_message_that_names_the_port', async (t) => {
  const other = net.createServer();
  t.after(() => other.close());
  await new Promise((resolve) => other.listen(0, '127.0.0.1', resolve));
  const {port} = other.address();
  const {child} = await serveUnready('--port', port);
  t.after(() => child.killTree());
  await until('its children or its end', limit(5000), () => child.result || child.children().length > 0);
  const result = await within('its end', limit(10000), child.ended);
  assert.deepEqual(result, {code: 1, signal: null}, child.output);
  assert.match(child.stderr, new RegExp(`\\b${port}\\b`));
  assert.match(child.stderr, /in use/);
  assert.deepEqual(child.survivors(), []);
});

test('a_model_that_is_not_there_ends_it_with_2_and_a_message_that_names_the_file', async (t) => {
  const {child} = await serveUnready('--model', '/nowhere/missing.gguf');
  t.after(() => child.killTree());
  const result = await within('its end', limit(10000), child.ended);
  assert.deepEqual(result, {code: 2, signal: null}, child.output);
  assert.match(child.stderr, /\/nowhere\/missing\.gguf/);
  assert.deepEqual(child.survivors(), []);
});

test('a_model_that_is_cut_short_ends_it_with_1_and_a_message_that_names_the_file', async (t) => {
  const file = path.join(tempDir(), 'broken.gguf');
  writeFileSync(file, readFileSync(MODEL).subarray(0, 100000));
  const {child} = await serveUnready('--model', file);
  t.after(() => child.killTree());
  await until('its children or its end', limit(5000), () => child.result || child.children().length > 0);
  const result = await within('its end', limit(20000), child.ended);
  assert.deepEqual(result, {code: 1, signal: null}, child.output);
  assert.ok(child.stderr.includes(file), child.stderr);
  assert.deepEqual(child.survivors(), []);
});

test('after_kill_9_of_a_worker_the_next_requests_succeed_and_it_is_back_within_3_s', async (t) => {
  const cluster = await start(t, '--workers', 3);
  const before = await cluster.workers();
  const victim = before[1];
  process.kill(victim.pid, 'SIGKILL');
  const killed = performance.now();
  for (let i = 0; i < 6; i++) assert.equal(await answer(cluster), PARIS);
  const now = await until('three workers online, one with another process', limit(3000), async () => {
    const workers = await cluster.workers();
    const online = workers.filter(isUp);
    return online.length === 3 && online.every((worker) => worker.pid !== victim.pid) && online;
  });
  t.diagnostic(`back after ${Math.round(performance.now() - killed)} ms`);
  const known = new Set(before.map((worker) => worker.incarnation));
  assert.equal(now.filter((worker) => !known.has(worker.incarnation)).length, 1);
  assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
});

test('a_request_on_a_killed_worker_is_answered_by_another_as_if_nothing_had_happened', async (t) => {
  const cluster = await start(t, '--workers', 3, ...SLOW_FAKE);
  const prompt = '[reply 60] retry me';
  const expected = await cluster.ask(prompt, {seed: 5});
  const reply = cluster.ask(prompt, {seed: 5});
  const busy = await until('a worker runs it', limit(3000), async () => {
    for (const worker of await cluster.workers())
      if ((await cluster.live(worker.workerId)).load.running === 1) return worker;
    return null;
  });
  process.kill(busy.pid, 'SIGKILL');
  assert.deepEqual((await reply).choices, expected.choices);
  assert.deepEqual((await reply).usage, expected.usage);
  const status = await cluster.get('/api/cluster/status');
  assert.equal(status.requests.retries, 1);
});

test('after_kill_9_of_the_controller_it_serves_again_within_3_s', async (t) => {
  const cluster = await start(t, '--workers', 2);
  const workers = cluster.processes('worker').map((one) => one.pid);
  const [controller] = cluster.processes('controller');
  process.kill(controller.pid, 'SIGKILL');
  await until('the old controller is gone', limit(1000), () => !isAlive(controller));
  const {ms} = await timed(() =>
    until('a right answer', limit(3000), async () => (await answer(cluster)) === PARIS),
  );
  t.diagnostic(`served again after ${Math.round(ms)} ms`);
  assert.deepEqual(
    cluster.processes('worker').map((one) => one.pid),
    workers,
    'no worker was restarted',
  );
  assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
});

test('with_port_0_a_restarted_controller_listens_on_the_port_that_was_announced', async (t) => {
  const cluster = await start(t, '--port', 0, '--engine', 'fake');
  const announced = Number(cluster.ready.match(/http:\/\/127\.0\.0\.1:(\d+)/)[1]);
  assert.ok(announced > 0);
  const api = new Api(announced);
  await api.ask('hello');
  const [controller] = cluster.processes('controller');
  process.kill(controller.pid, 'SIGKILL');
  await until('the old controller is gone', limit(1000), () => !isAlive(controller));
  await until('an answer on the same port', limit(3000), () => api.ask('hello'));
});

test('after_kill_9_of_nats_server_requests_succeed_again_within_10_s_without_other_restarts', async (t) => {
  const cluster = await start(t, '--workers', 2);
  const others = () =>
    [...cluster.processes('controller'), ...cluster.processes('worker')].map((one) => one.pid);
  const before = others();
  const [nats] = cluster.processes('nats');
  process.kill(nats.pid, 'SIGKILL');
  await until('the old nats-server is gone', limit(1000), () => !isAlive(nats));
  const {ms} = await timed(() =>
    until('both workers online and a right answer', limit(10000), async () => {
      const online = (await cluster.workers()).filter(isUp);
      return online.length === 2 && (await answer(cluster)) === PARIS;
    }),
  );
  t.diagnostic(`served again after ${Math.round(ms)} ms`);
  for (let i = 0; i < 6; i++) assert.equal(await answer(cluster), PARIS);
  assert.deepEqual(others(), before);
  assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
});

test('after_kill_9_of_the_supervisor_no_child_lives_longer_than_3_s', async (t) => {
  const cluster = await start(t, '--workers', 2, ...SLOW_FAKE);
  const stream = await cluster.streamUnderWay(LONG);
  const family = cluster.child.children();
  assert.equal(family.length, 4);
  cluster.child.signal('SIGKILL');
  await cluster.child.ended;
  await until('the end of every child', limit(3000), () => !family.some(isAlive));
  await stream.ended;
});

const BAD_FLAGS = [
  [['--workers', 0], /--workers.*1/],
  [['--workers', 'many'], /--workers.*many/],
  [['--workres', 2], /--workres.*--workers/],
  [['--port', 70000], /--port.*70000/],
  [['--engine', 'steam'], /--engine.*steam/],
  [['--max-batch-size'], /--max-batch-size/],
  [['surplus'], /surplus/],
];
for (const [flags, message] of BAD_FLAGS) {
  test(`serve_${flags.join('_')}_is_refused_with_2_and_names_the_flag`, async () => {
    const end = await mlxdEnd(limit(5000), 'serve', '--port', await freePort(), ...flags);
    assert.equal(end.code, 2, end.output);
    assert.match(end.stderr, message);
    assert.equal(end.stdout, '');
  });
}

// A cluster of processes that are started one by one on a NATS of somebody else, as over several machines.
import assert from 'node:assert/strict';
import {after, before, describe, test} from 'node:test';

import {freePort, mlxdEnd, serve} from './lib/cluster.mjs';
import {FRANCE, PARIS} from './lib/facts.mjs';
import * as parts from './lib/parts.mjs';
import {limit, timed, until, within} from './lib/wait.mjs';

const SLOW_FAKE = ['--engine', 'fake', '--fake-step-us', 20000];
/** Too seldom to matter: what is known soon must have come another way. */
const RARE_HEARTBEATS = [
  ...['--heartbeat-interval-ms', 60000, '--worker-offline-timeout-ms', 180000],
  ...['--controller-timeout-ms', 180000],
];

const {end, hasOnline, online} = parts;
const started = [];
function track(child) {
  started.push(child);
  return child;
}

const startNats = async (...args) => track(await parts.startNats(...args));
const startWorker = (...args) => track(parts.startWorker(...args));
async function startController(...args) {
  const controller = await parts.startController(...args);
  track(controller.child);
  return controller;
}

/** How many jobs it has done. A client may have its reply a moment before the worker counts it. */
const finished = async (api, id) => (await api.live(id)).load.jobsFinished;

/** What a test that failed has left must not take part in the next one. */
function killStarted() {
  for (const child of started.splice(0)) child.killTree();
}

let url;
let nats;
before(async () => {
  const port = await freePort();
  url = `nats://127.0.0.1:${port}`;
  nats = await startNats(port);
  started.length = 0;
});
after(() => nats.killTree());

describe('a controller and two workers on a nats-server of their own', () => {
  let controller;
  let api;
  let workers;
  before(async () => {
    workers = [startWorker(url, 'alpha'), startWorker(url, 'beta')];
    ({child: controller, api} = await startController(url));
    await hasOnline(api, 'alpha', 'beta');
  });
  after(async () => {
    try {
      for (const child of [controller, ...workers])
        assert.deepEqual(await end(child), {code: 0, signal: null});
    } finally {
      killStarted();
    }
  });

  test('requests_are_answered_and_spread_over_the_workers', async () => {
    const answers = await Promise.all(Array.from({length: 8}, () => api.ask(FRANCE)));
    for (const answer of answers) assert.equal(answer.choices[0].message.content, PARIS);
    for (const id of ['alpha', 'beta'])
      await until(`${id} has done its share`, limit(1000), async () => (await finished(api, id)) >= 2);
  });

  test('two_controllers_share_the_workers_and_the_death_of_one_leaves_the_other_alone', async () => {
    const second = await startController(url);
    await hasOnline(second.api, 'alpha', 'beta');
    const both = await Promise.all([api.stream(FRANCE), second.api.stream(FRANCE)]);
    assert.deepEqual(
      both.map((one) => one.text),
      [PARIS, PARIS],
    );
    await end(second.child, 'SIGKILL');
    assert.equal((await api.ask(FRANCE)).choices[0].message.content, PARIS);
  });

  test('a_controller_alone_ends_with_0_on_SIGTERM_and_the_workers_stay', async () => {
    const second = await startController(url);
    assert.deepEqual(await end(second.child), {code: 0, signal: null});
    assert.deepEqual(await online(api), ['alpha', 'beta']);
  });
});

test('a_controller_that_comes_after_the_workers_knows_them_at_once_without_a_heartbeat', async (t) => {
  t.after(killStarted);
  const flags = ['--engine', 'fake', ...RARE_HEARTBEATS];
  const workers = [startWorker(url, 'early1', ...flags), startWorker(url, 'early2', ...flags)];
  const first = await startController(url, ...RARE_HEARTBEATS);
  await hasOnline(first.api, 'early1', 'early2');
  const second = await startController(url, ...RARE_HEARTBEATS);
  const {ms} = await timed(() => hasOnline(second.api, 'early1', 'early2'));
  assert.ok(ms < limit(500), `known after ${ms} ms`);
  await second.api.ask('hello');
  for (const child of [first.child, second.child, ...workers])
    assert.deepEqual(await end(child), {code: 0, signal: null});
});

test('a_worker_on_SIGTERM_finishes_its_stream_takes_nothing_new_and_deregisters', async (t) => {
  t.after(killStarted);
  const leaving = startWorker(url, 'leaving', ...SLOW_FAKE);
  const {child, api} = await startController(url, ...RARE_HEARTBEATS);
  await hasOnline(api, 'leaving');
  const prompt = '[reply 80] before you go';
  const expected = (await api.ask(prompt, {seed: 4})).choices[0].message.content;
  let text = '';
  const stream = api.stream(prompt, {seed: 4}, {onText: (piece) => (text += piece)});
  await until('the stream has begun', limit(3000), () => text.includes('"content"'));
  const staying = startWorker(url, 'staying', ...SLOW_FAKE);
  await hasOnline(api, 'leaving', 'staying');

  leaving.signal('SIGTERM');
  await until('it takes nothing new', limit(1000), async () => (await online(api)).join() === 'staying');
  const others = await Promise.all([1, 2, 3].map((i) => api.ask(`[reply 2] number ${i}`)));
  assert.equal(others.length, 3);
  await until(
    'all three were done by the other',
    limit(1000),
    async () => (await finished(api, 'staying')) === 3,
  );

  const result = await stream;
  assert.equal(result.error, undefined);
  assert.equal(result.text, expected);
  assert.equal(result.finish, 'stop');
  assert.deepEqual(await within('its end', limit(3000), leaving.ended), {code: 0, signal: null});
  await until('it is deregistered', limit(1000), async () => {
    const left = (await api.workers()).find((worker) => worker.workerId === 'leaving');
    return !left || left.status === 'offline';
  });
  for (const one of [child, staying]) assert.deepEqual(await end(one), {code: 0, signal: null});
});

test('a_worker_that_was_killed_is_found_out_by_the_next_request_which_goes_elsewhere', async (t) => {
  t.after(killStarted);
  const [one, two] = ['dying', 'living'].map((id) =>
    startWorker(url, id, '--engine', 'fake', ...RARE_HEARTBEATS),
  );
  const {child, api} = await startController(url, ...RARE_HEARTBEATS);
  await hasOnline(api, 'dying', 'living');
  await end(one, 'SIGKILL');
  await Promise.all([1, 2, 3, 4].map((i) => api.ask(`[reply 50] ${i}`)));
  assert.deepEqual(await online(api), ['living']);
  for (const left of [child, two]) assert.deepEqual(await end(left), {code: 0, signal: null});
});

test('while_NATS_is_away_requests_get_503_and_when_it_is_back_they_succeed_without_a_restart', async (t) => {
  t.after(killStarted);
  const port = await freePort();
  const away = await startNats(port);
  const worker = startWorker(`nats://127.0.0.1:${port}`, 'patient', '--engine', 'fake');
  const {child, api} = await startController(`nats://127.0.0.1:${port}`);
  await hasOnline(api, 'patient');
  await end(away, 'SIGKILL');
  await until('the controller knows it', limit(3000), async () => {
    const {status} = await api.send({path: '/health/ready'});
    return status === 503;
  });
  assert.equal((await api.send({path: '/health'})).status, 200, 'nobody should restart it');
  const refused = await api.post({messages: [{role: 'user', content: 'hello'}]});
  assert.equal(refused.status, 503, refused.text);
  assert.equal(refused.json.error.code, 'NATS_ERROR');
  assert.equal(refused.json.error.type, 'server_error');
  assert.ok(Number(refused.headers['retry-after']) > 0);

  const back = await startNats(port);
  await until('a request succeeds', limit(10000), () => api.ask('hello'));
  assert.equal(child.result, undefined);
  assert.equal(worker.result, undefined);
  for (const one of [child, worker]) assert.deepEqual(await end(one), {code: 0, signal: null});
  await end(back);
});

test('serve_uses_an_external_NATS_with_password_and_starts_none_of_its_own', async (t) => {
  t.after(killStarted);
  const port = await freePort();
  const guarded = await startNats(port, '--user', 'cluster', '--pass', 'secret-pass');
  const cluster = await serve('--nats', `nats://cluster:secret-pass@127.0.0.1:${port}`, '--engine', 'fake');
  started.push(cluster.child);
  assert.equal(cluster.processes('nats').length, 0);
  await cluster.ask('hello');
  const shown = cluster.child
    .children()
    .map((one) => one.command)
    .join('\n');
  assert.ok(
    !shown.includes('secret-pass'),
    `no password in a command line that all users can read: ${shown}`,
  );
  assert.ok(!cluster.child.stdout.includes('secret-pass') && !cluster.child.stderr.includes('secret-pass'));
  assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
  assert.equal(guarded.result, undefined, 'the NATS of somebody else still runs');
  await end(guarded);
});

test('without_a_NATS_a_controller_and_a_worker_end_with_1_and_name_the_address', async (t) => {
  t.after(killStarted);
  const port = await freePort();
  const flags = ['--nats', `nats://127.0.0.1:${port}`, '--nats-connect-wait-ms', 300];
  const ends = await Promise.all([
    mlxdEnd(limit(5000), 'controller', ...flags, '--port', await freePort()),
    mlxdEnd(limit(5000), 'worker', ...flags, '--engine', 'fake'),
  ]);
  for (const one of ends) {
    assert.equal(one.code, 1, one.output);
    assert.match(one.stderr, new RegExp(`127\\.0\\.0\\.1:${port}`));
  }
});

test('a_controller_or_worker_without_any_NATS_is_refused_with_2_and_told_the_flag', async (t) => {
  t.after(killStarted);
  for (const command of ['controller', 'worker']) {
    const one = await mlxdEnd(limit(5000), command, '--engine', 'fake');
    assert.equal(one.code, 2, one.output);
    assert.match(one.stderr, /--nats/);
  }
});

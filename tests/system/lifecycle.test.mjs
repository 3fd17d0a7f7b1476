// A controller from its start to its end, as clients and load balancers see it, and the loss of NATS on the way.
import assert from 'node:assert/strict';
import http from 'node:http';
import {after, before, test} from 'node:test';

import {Api, freePort, mlxd, serve} from './lib/cluster.mjs';
import {readStream} from './lib/http.mjs';
import {Parts, end, hasOnline, startController, startNats, startWorker} from './lib/parts.mjs';
import {limit, pause, until, within} from './lib/wait.mjs';

const user = (content) => [{role: 'user', content}];
const textOf = (completion) => completion.choices[0].message.content;
const SLOW = ['--fake-step-us', 20000];

let calm;
before(async () => {
  calm = await serve('--engine', 'fake', '--fake-step-us', 0);
});
after(async () => {
  assert.deepEqual(await calm.stop(), {code: 0, signal: null});
});

/** [status, what it says of itself] of a health URL, or the error's code where nobody listens. */
async function health(api, path) {
  try {
    const reply = await api.send({path});
    return [reply.status, reply.json.status, reply.json.state];
  } catch (error) {
    return error.code;
  }
}

const isRefused = (reply) => {
  assert.equal(reply.status, 503, reply.text);
  assert.equal(reply.json.error.code, 'CONTROLLER_DRAINING');
  assert.equal(reply.json.error.type, 'server_error');
  assert.ok(Number(reply.headers['retry-after']) > 0);
  assert.equal(reply.headers.connection, 'close');
};

const isDraining = (api) =>
  until('it drains', limit(2000), async () => (await health(api, '/health'))[2] === 'draining');

test('health_and_ready_tell_starting_alone_ready_and_stopped_apart', async (t) => {
  const natsPort = await freePort();
  const url = `nats://127.0.0.1:${natsPort}`;
  const port = await freePort();
  const api = new Api(port);
  const controller = mlxd('controller', '--nats', url, '--port', port);
  t.after(() => controller.killTree());
  assert.equal(await health(api, '/health'), 'ECONNREFUSED', 'without NATS it does not listen');
  const nats = await startNats(natsPort);
  t.after(() => nats.killTree());
  await until('it answers', limit(5000), async () => (await health(api, '/health'))[0] === 200);
  assert.deepEqual(await health(api, '/health'), [200, 'ok', 'ready']);
  assert.deepEqual(await health(api, '/health/ready'), [503, 'not ready', 'ready'], 'nobody can do the work');
  const worker = startWorker(url, 'one', '--engine', 'fake');
  t.after(() => worker.killTree());
  await hasOnline(api, 'one');
  assert.deepEqual(await health(api, '/health/ready'), [200, 'ready', 'ready']);
  assert.deepEqual(await end(worker), {code: 0, signal: null});
  await until('it knows', limit(2000), async () => (await health(api, '/health/ready'))[0] === 503);
  assert.deepEqual(await health(api, '/health'), [200, 'ok', 'ready'], 'nobody should restart it');
  assert.deepEqual(await end(controller), {code: 0, signal: null});
  assert.equal(await health(api, '/health'), 'ECONNREFUSED');
});

test('while_it_drains_it_answers_new_connections_with_503_finishes_what_runs_and_ends_with_0', async (t) => {
  const parts = await Parts.start(t, {workers: {one: SLOW}});
  const {api} = parts;
  const keeping = new http.Agent({keepAlive: true, maxSockets: 1});
  t.after(() => keeping.destroy());
  assert.equal((await api.send({path: '/health', agent: keeping})).headers.connection, 'keep-alive');
  const prompt = '[reply 60] to the end';
  const stream = await api.streamUnderWay(prompt, {seed: 1});
  const whole = api.ask(prompt, {seed: 1});
  await until('both run', limit(3000), async () => (await api.load()).running === 2);

  parts.controller.signal('SIGTERM');
  await isDraining(api);
  await until('the idle connection is closed', limit(2000), () => {
    const sockets = Object.values(keeping.freeSockets).flat();
    return sockets.every((socket) => socket.destroyed || socket.readableEnded);
  });
  assert.deepEqual(await health(api, '/health'), [200, 'ok', 'draining']);
  assert.deepEqual(await health(api, '/health/ready'), [503, 'not ready', 'draining']);
  isRefused(await api.post({messages: user('too late')}));
  isRefused(await api.post({messages: user('too late'), stream: true}));

  const expected = await calm.ask(prompt, {seed: 1});
  assert.equal(textOf(await whole), textOf(expected));
  const shown = readStream((await stream.ended).text);
  assert.equal(shown.text, textOf(expected));
  assert.equal(shown.finish, 'stop');
  const result = await within('its end', limit(3000), parts.controller.ended);
  assert.deepEqual(result, {code: 0, signal: null}, parts.controller.output);
  assert.equal(await health(api, '/health'), 'ECONNREFUSED');
  await parts.stop();
});

test('what_does_not_finish_within_the_drain_limit_is_cut_with_an_error_that_says_why', async (t) => {
  const parts = await Parts.start(t, {
    workers: {one: SLOW},
    controller: ['--controller-drain-timeout-ms', 500],
  });
  const {api} = parts;
  const stream = await api.streamUnderWay('[reply 3000] on and on');
  const whole = api.post({messages: user('[reply 3000] on and on')});
  await until('both run', limit(3000), async () => (await api.load()).running === 2);
  parts.controller.signal('SIGTERM');
  isRefused(await whole);
  const cut = readStream((await stream.ended).text);
  assert.equal(cut.error.code, 'CONTROLLER_DRAINING');
  assert.deepEqual(cut.finish, []);
  assert.ok((await calm.ask('[reply 3000] on and on')).choices[0].message.content.startsWith(cut.text));
  const result = await within('its end', limit(3000), parts.controller.ended);
  assert.deepEqual(result, {code: 0, signal: null}, parts.controller.output);

  // Its jobs are cancelled: the next controller finds an idle worker.
  const next = await startController(parts.url);
  t.after(() => next.child.killTree());
  await hasOnline(next.api, 'one');
  await until('the worker is idle', limit(2000), async () => (await next.api.load()).running === 0);
  assert.deepEqual(await end(next.child), {code: 0, signal: null});
  await parts.stop();
});

test('of_two_controllers_on_one_port_the_one_that_drains_leaves_new_connections_to_the_other', async (t) => {
  const port = await freePort();
  const shared = ['--reuse-port', '--port', port];
  const parts = await Parts.start(t, {workers: {one: SLOW}, controller: shared});
  const api = new Api(port);
  const stream = await api.streamUnderWay('[reply 80] with the first one');
  const second = mlxd('controller', '--nats', parts.url, ...shared);
  t.after(() => second.killTree());
  await until('the second one listens', limit(5000), () => second.stderr.includes('"listening"'));
  parts.controller.signal('SIGTERM');
  await until('the first one drains', limit(2000), () => parts.controller.stderr.includes('"stopping"'));
  for (let i = 0; i < 20; i++) {
    const reply = await api.post({messages: user(`[reply 1] ${i}`)});
    assert.equal(reply.status, 200, reply.text);
  }
  assert.equal(parts.controller.result, undefined, 'the first one has a stream');
  assert.equal(readStream((await stream.ended).text).finish, 'stop');
  assert.deepEqual(await within('its end', limit(3000), parts.controller.ended), {code: 0, signal: null});
  assert.deepEqual(await end(second), {code: 0, signal: null});
  await parts.stop();
});

/** Every breaker is closed and nothing was held against a worker. */
async function assertNobodyIsBlamed(parts) {
  for (const [id, worker] of Object.entries(await parts.api.get('/api/controller/circuit-breakers'))) {
    for (const breaker of [worker.worker, ...Object.values(worker.models)]) {
      assert.equal(breaker.state, 'CLOSED', id);
      assert.equal(breaker.outcomes.failure, 0, `${id}: ${breaker.lastFailure}`);
      assert.equal(breaker.failureCount, 0, id);
    }
    assert.equal((await parts.counts(id)).jobsFailed, 0, id);
  }
}

/** What a request may come to while NATS is away: the right text, or an error that says so. Never other text. */
function assertRightOrClear(reply, expected) {
  if (reply.status === 200) {
    const text = reply.json ? textOf(reply.json) : readStream(reply.text).text;
    const {error} = reply.json ?? readStream(reply.text);
    if (!error) return assert.equal(text, expected);
    assert.ok(expected.startsWith(text), `${text} is no beginning of ${expected}`);
    return assert.equal(error.code, 'NATS_ERROR');
  }
  assert.equal(reply.status, 503, reply.text ?? String(reply));
  assert.ok(Number(reply.headers['retry-after']) > 0);
  return assert.equal(reply.json.error.code, 'NATS_ERROR', reply.text);
}

/** Requests before, during and after the time that `lose` and `bringBack` make. */
async function surviveOutage(parts, {lose, during, bringBack}) {
  const {api, pids} = parts;
  const prompt = '[reply 150] through it all';
  const expected = textOf(await calm.ask(prompt, {seed: 2}));
  const streams = [await api.streamUnderWay(prompt, {seed: 2}), await api.streamUnderWay(prompt, {seed: 2})];
  const inFlight = [1, 2].map(() => api.post({messages: user(prompt), seed: 2}));
  await until('all four run', limit(3000), async () => (await api.load()).running === 4);

  await lose();
  const meanwhile = await during(expected);
  await bringBack();

  const limitMs = limit(20000);
  const ends = await within('the end of all', limitMs, Promise.all([...streams.map((one) => one.ended), ...inFlight]));
  for (const reply of ends) assertRightOrClear(reply, expected);
  for (const {reply, text} of await within('the end of those during it', limitMs, meanwhile))
    assertRightOrClear(reply, text);

  await hasOnline(api, ...Object.keys(parts.workers).sort());
  const answers = await Promise.all(Array.from({length: 8}, () => api.ask(prompt, {seed: 2})));
  for (const answer of answers) assert.equal(textOf(answer), expected);
  await parts.allIdle();
  await assertNobodyIsBlamed(parts);
  assert.equal(parts.pids, pids);
  for (const child of [parts.controller, ...Object.values(parts.workers)])
    assert.equal(child.result, undefined, child.output);
}

const short = '[reply 5] meanwhile';
/** Some short requests: their replies, with the right text, once `surviveOutage` wants them. */
async function askMeanwhile(api, count) {
  const text = textOf(await calm.ask(short));
  return Promise.all(
    Array.from({length: count}, async () => ({reply: await api.post({messages: user(short)}), text})),
  );
}

test('a_worker_whose_engine_hangs_ends_all_the_same', async (t) => {
  const parts = await Parts.start(t, {
    workers: {one: ['--fake-fault', 'hang at 1', '--worker-drain-timeout-ms', 200]},
  });
  const {one} = parts.workers;
  const reply = parts.api.post({messages: user('hello'), stream: true});
  await until('it hangs', limit(5000), async () => (await parts.api.live('one')).load.running === 1);
  one.signal('SIGTERM');
  assert.deepEqual(await within('its end', limit(12000), one.ended), {code: 1, signal: null});
  assert.match(one.output, /"jobs_left":1.*an engine does not come back from a step/s);
  assert.match((await reply).text, /"code":"[A-Z_]+"/);
});

test('when_NATS_dies_and_comes_back_nothing_needs_a_restart_and_no_worker_is_blamed', async (t) => {
  const parts = await Parts.start(t, {
    workers: {one: SLOW, two: SLOW},
    controller: ['--stall-timeout-ms', 2000],
  });
  await surviveOutage(parts, {
    lose: async () => {
      await end(parts.nats, 'SIGKILL');
      await until('it is known', limit(3000), async () => (await health(parts.api, '/health/ready'))[0] === 503);
    },
    during: async () => {
      const replies = await askMeanwhile(parts.api, 6);
      for (const {reply} of replies) assert.equal(reply.json.error?.code, 'NATS_ERROR', reply.text);
      return replies;
    },
    bringBack: () => parts.restartNats(),
  });
  assert.equal((await parts.api.get('/api/cluster/status')).nats.reconnects, 1);
  await parts.stop();
});

test('when_NATS_stands_still_for_3_s_and_goes_on_no_worker_is_blamed_for_the_silence', async (t) => {
  const parts = await Parts.start(t, {
    workers: {one: SLOW, two: SLOW},
    controller: ['--stall-timeout-ms', 2000],
  });
  await surviveOutage(parts, {
    lose: () => parts.nats.signal('SIGSTOP'),
    during: async () => {
      const replies = askMeanwhile(parts.api, 6);
      await pause(3000);
      return replies;
    },
    bringBack: () => parts.nats.signal('SIGCONT'),
  });
  await parts.stop();
});

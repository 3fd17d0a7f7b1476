// Several controllers on one cluster, on ports of their own and as several processes on one port.
import assert from 'node:assert/strict';
import http from 'node:http';
import {test} from 'node:test';

import {Api, freePort, serve} from './lib/cluster.mjs';
import {readStream} from './lib/http.mjs';
import {end, hasOnline, startController, startNats, startWorker} from './lib/parts.mjs';
import {limit, timed, until} from './lib/wait.mjs';

const HEARTBEAT_MS = 250;
/** Two heartbeats, and what the way through a busy machine adds. */
const SOON_MS = limit(2 * HEARTBEAT_MS + 250);
const user = (content) => [{role: 'user', content}];

/** A nats-server, fake workers by their ids, and controllers as they are asked for; killed at the end of `t`. */
class Site {
  static async start(t, ids, ...flags) {
    const site = new Site();
    t.after(() => site.children.forEach((child) => child.killTree()));
    const port = await freePort();
    site.url = `nats://127.0.0.1:${port}`;
    site.ids = ids;
    site.common = ['--heartbeat-interval-ms', HEARTBEAT_MS, ...flags];
    site.children.push(await startNats(port));
    const fake = ['--engine', 'fake', '--fake-step-us', 10000];
    for (const id of ids) site.children.push(startWorker(site.url, id, ...fake, ...site.common));
    return site;
  }

  children = [];

  async controller(...flags) {
    const one = await startController(this.url, ...this.common, ...flags);
    this.children.push(one.child);
    return one;
  }

  /** Two that know each other and the workers. */
  async two() {
    const both = [await this.controller(), await this.controller()];
    for (const one of both) await this.knowing(one);
    await seesEachOther(...both);
    return both;
  }

  async knowing(controller) {
    await hasOnline(controller.api, ...this.ids);
    return controller;
  }

  /** Everything that still runs ends in order and with 0, the nats-server last. */
  async stop() {
    for (const child of this.children.slice(1).reverse())
      if (!child.result) assert.deepEqual(await end(child), {code: 0, signal: null}, child.output);
    await end(this.children[0]);
  }
}

const controllersOf = async (api) => (await api.get('/api/cluster/status')).controllers;
const seesEachOther = (...all) =>
  until('they see each other', limit(5000), async () => {
    for (const {api} of all) if ((await controllersOf(api)).length !== all.length) return false;
    return true;
  });
const breakersOf = (api) => api.get('/api/controller/circuit-breakers');
const session = (id) => ({session_id: id});
const selected = async (api) =>
  (await api.get('/api/controller/requests?state=ended&limit=1')).requests[0].selectedWorker;

test('a_breaker_that_opens_at_one_controller_is_open_at_the_other_within_two_heartbeats', async (t) => {
  const site = await Site.start(t, ['alpha', 'beta', 'gamma'], '--failure-threshold', 3, '--no-retry');
  const [one, two] = await site.two();
  const openOf = async (api) => {
    const isOpen = ([, worker]) => worker.models['tiny-chat'].state === 'OPEN';
    return Object.entries(await breakersOf(api)).find(isOpen)?.[0];
  };
  const opened = await until('a breaker opens', limit(10000), async () => {
    await one.api.post({messages: user('[fail at 2]')});
    return openOf(one.api);
  });
  const {ms} = await timed(() =>
    until('it is open there, too', limit(5000), async () => (await openOf(two.api)) === opened),
  );
  assert.ok(ms < SOON_MS, `open there after ${ms} ms`);
  await site.stop();
});

test('an_operators_word_at_one_controller_holds_at_all_and_outlives_the_one_it_was_said_to', async (t) => {
  const site = await Site.start(t, ['alpha', 'beta']);
  const [one, two] = await site.two();
  const stateOf = async (api) => (await breakersOf(api)).alpha.worker.state;
  const set = (api, action) =>
    api.send({method: 'POST', path: '/api/controller/circuit-breakers/alpha', body: {action}});
  assert.equal((await set(one.api, 'open')).status, 200);
  await until('it holds there', SOON_MS, async () => (await stateOf(two.api)) === 'FORCED_OPEN');
  await end(one.child, 'SIGKILL');
  const three = await site.knowing(await site.controller());
  await until('the new one knows', SOON_MS, async () => (await stateOf(three.api)) === 'FORCED_OPEN');
  for (let i = 0; i < 6; i++) {
    await three.api.ask('[reply 2]');
    assert.equal(await selected(three.api), 'beta');
  }
  assert.equal((await set(three.api, 'reset')).status, 200);
  await until('it is taken back', SOON_MS, async () => (await stateOf(two.api)) === 'CLOSED');
  await site.stop();
});

test('a_session_of_one_controller_is_honoured_by_the_others_and_by_one_that_starts_later', async (t) => {
  const site = await Site.start(t, ['alpha', 'beta', 'gamma', 'omega']);
  const [one, two] = await site.two();
  const homes = new Map();
  for (let i = 0; i < 8; i++) {
    await one.api.ask('[reply 2]', session(`s-${i}`));
    homes.set(`s-${i}`, await selected(one.api));
  }
  const adopted = async (api) => (await api.get('/api/controller/metrics')).controllers.sessionsAdopted;
  await until('they are known there', SOON_MS, async () => (await adopted(two.api)) >= 8);
  const three = await site.controller();
  const {ms} = await timed(() => hasOnline(three.api, ...site.ids));
  assert.ok(ms < limit(100), `workers known after ${ms} ms`);
  await until('they are known to the new one', SOON_MS, async () => (await adopted(three.api)) >= 8);
  for (const {api} of [two, three]) {
    for (const [id, home] of homes) {
      await api.ask('[reply 2]', session(id));
      assert.equal(await selected(api), home, id);
    }
  }
  await site.stop();
});

test('a_session_can_be_ended_at_a_controller_that_has_not_heard_of_it_yet', async (t) => {
  const site = await Site.start(t, ['alpha']);
  const [one, two] = await site.two();
  const drop = (api) => api.send({method: 'DELETE', path: '/api/sessions/s-1'});
  await one.api.ask('[reply 2]', session('s-1'));
  assert.equal((await drop(two.api)).status, 204);
  assert.equal((await drop(one.api)).status, 404);
  await site.stop();
});

test('SIGKILL_of_one_controller_breaks_its_own_streams_only_and_the_workers_end_what_it_left', async (t) => {
  const site = await Site.start(t, ['alpha', 'beta'], '--controller-timeout-ms', 1000, '--max-batch-size', 16);
  const [one, two] = await site.two();
  const prompts = Array.from({length: 4}, (_, i) => `[reply 150] story ${i}`);
  const begun = {one: 0, two: 0};
  const stream = (name, api, prompt) => {
    let text = '';
    const onText = (piece) => {
      if (text === '') begun[name]++;
      text += piece;
    };
    return api.stream(prompt, {seed: 7}, {onText}).then(
      (whole) => ({whole}),
      (error) => ({error, text}),
    );
  };
  const doomed = prompts.map((_, i) => stream('one', one.api, `[reply 2000] long story ${i}`));
  const spared = prompts.map((prompt) => stream('two', two.api, prompt));
  await until('all streams flow', limit(5000), () => begun.one === 4 && begun.two === 4);
  await end(one.child, 'SIGKILL');
  for (const {whole, error} of await Promise.all(doomed)) assert.ok(error, `a whole reply: ${whole?.raw}`);
  // Each would run for 20 seconds.
  const orphaned = async () => {
    let sum = 0;
    for (const id of site.ids) sum += (await two.api.live(id)).load.jobsOrphaned;
    return sum;
  };
  await until('the workers have ended four jobs', limit(3000), async () => (await orphaned()) === 4);
  const texts = (await Promise.all(spared)).map(({whole, error}) => whole?.text ?? error.message);
  const again = await Promise.all(prompts.map((prompt) => two.api.ask(prompt, {seed: 7})));
  assert.deepEqual(
    texts,
    again.map((one) => one.choices[0].message.content),
  );
  assert.equal(await orphaned(), 4);
  await until('nothing runs', limit(2000), async () => (await two.api.load()).running === 0);
  await site.stop();
});

/** Calls on connections of their own until each of the `count` processes on the port has answered. */
async function idsOnPort(api, count) {
  const ids = new Set();
  await until(`${count} processes answer`, limit(10000), async () => {
    ids.add((await api.get('/health')).controllerId);
    return ids.size >= count;
  });
  return ids;
}

test('processes_that_share_a_port_each_answer_and_any_of_them_finds_every_request', async (t) => {
  const site = await Site.start(t, ['alpha', 'beta']);
  const port = await freePort();
  const flags = ['--port', port, '--reuse-port'];
  const all = [];
  for (let i = 0; i < 3; i++) all.push(await site.controller(...flags));
  const api = new Api(port);
  assert.equal((await idsOnPort(api, 3)).size, 3);
  await until('each knows the others', limit(5000), async () => (await controllersOf(api)).length === 3);
  await hasOnline(api, ...site.ids);
  const ids = [];
  for (let i = 0; i < 12; i++) ids.push((await api.ask('[reply 2]')).id);
  // Every connection may reach another process.
  for (const id of ids)
    for (let i = 0; i < 4; i++) assert.equal((await api.get(`/api/controller/requests/${id}`)).requestId, id);
  const {ms, value} = await timed(() => api.send({path: '/api/controller/requests/chatcmpl-never'}));
  assert.equal(value.status, 404);
  assert.ok(ms < limit(450), `404 after ${ms} ms`);
  await end(all[0].child, 'SIGKILL');
  for (let i = 0; i < 12; i++) await api.ask('[reply 2]');
  await site.stop();
});

/** One streamed request on a connection of its own: {text}, with {error} when the connection broke. */
function streamOn(port, content) {
  return new Promise((resolve) => {
    const fields = {model: 'tiny-chat', stream: true, temperature: 0, seed: 7};
    const body = JSON.stringify({...fields, messages: user(content)});
    const headers = {'content-type': 'application/json', 'content-length': Buffer.byteLength(body)};
    const request = http.request(
      {host: '127.0.0.1', port, method: 'POST', path: '/v1/chat/completions', headers, agent: false},
      (response) => {
        let text = '';
        response.on('data', (piece) => (text += piece));
        response.on('error', (error) => resolve({error, text}));
        response.on('end', () => resolve({text}));
      },
    );
    request.on('error', (error) => resolve({error, text: ''}));
    request.end(body);
  });
}

test('serve_runs_several_controllers_on_its_port_and_restarts_one_that_dies', async (t) => {
  const flags = ['--engine', 'fake', '--fake-step-us', 5000, '--controllers', 3, '--workers', 2];
  const cluster = await serve(...flags, '--heartbeat-interval-ms', HEARTBEAT_MS, '--controller-id', 'front');
  t.after(() => cluster.child.killTree());
  assert.equal(cluster.processes('controller').length, 3);
  assert.deepEqual([...(await idsOnPort(cluster, 3))].sort(), ['front-1', 'front-2', 'front-3']);
  const text = (await cluster.ask('[reply 400]', {seed: 7})).choices[0].message.content;
  const streams = [];
  await until('each controller has a stream', limit(5000), async () => {
    if (streams.length < 40) streams.push(streamOn(cluster.port, '[reply 400]'));
    return (await controllersOf(cluster)).every((one) => one.activeRequests > 0);
  });
  const victim = cluster.processes('controller')[0];
  process.kill(victim.pid, 'SIGKILL');
  const results = await Promise.all(streams);
  const whole = results.filter(({error, text: raw}) => !error && raw.endsWith('data: [DONE]\n\n'));
  for (const one of whole) assert.equal(readStream(one.text).text, text);
  assert.ok(whole.length >= 1 && whole.length < results.length, `${whole.length} of ${results.length} whole`);
  await until('three again', limit(5000), () => cluster.processes('controller').length === 3);
  assert.equal((await idsOnPort(cluster, 3)).size, 3);
  await until('no job is left', limit(3000), async () => (await cluster.load()).running === 0);
  assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
});

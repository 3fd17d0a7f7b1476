// Every row of docs/ERRORS.md, caused with real processes where a client can: what comes is what the row says.
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import path from 'node:path';
import {after, before, test} from 'node:test';

import {ROOT, mlxdEnd, serve} from './lib/cluster.mjs';
import {readStream} from './lib/http.mjs';
import {Liar} from './lib/liar.mjs';
import {Parts, end, hasOnline, startController} from './lib/parts.mjs';
import {limit, until} from './lib/wait.mjs';

const user = (content) => [{role: 'user', content}];

/** {CODE: {status, type, retryable}} as printed from the table of the program. */
const TABLE = Object.fromEntries(
  [
    ...readFileSync(path.join(ROOT, 'docs/ERRORS.md'), 'utf8').matchAll(
      /^\| `(\w+)` \| (\d+) \| (\w+) \| (yes|no) \|/gm,
    ),
  ].map(([, code, status, type, retried]) => [
    code,
    {status: Number(status), type, retryable: retried === 'yes'},
  ]),
);
/** As OpenAI's clients know them. */
const SPELLED = {
  MODEL_NOT_FOUND: 'model_not_found',
  CONTEXT_LENGTH_EXCEEDED: 'context_length_exceeded',
};
/** Each kind of call counts on its own worker not being there any more: nobody waits for another. */
const NO_WAIT = ['--no-workers-timeout-ms', 50, '--queue-timeout-ms', 50];

/** Two workers that last for the whole file, one controller as by default and one that tries only once. */
let parts;
let once;
const kept = [];
before(async () => {
  parts = await Parts.start(
    {after: (work) => kept.push(work)},
    {workers: {one: [], two: []}, controller: ['--max-body-bytes', 65536, ...NO_WAIT]},
  );
  once = await startController(
    parts.url,
    ...['--heartbeat-interval-ms', 200, '--max-retries', 0, '--max-requests', 1, '--stall-timeout-ms', 300],
    ...NO_WAIT,
  );
});
after(async () => {
  try {
    assert.deepEqual(await end(once.child), {code: 0, signal: null});
    await parts.stop();
  } finally {
    once?.child.killTree();
    for (const work of kept) work();
  }
});

const long = {messages: user('[reply 3000] long')};
const post = (fields, options) => parts.api.post({messages: user('hello'), ...fields}, options);
const send = (method, url, body) => parts.api.send({method, path: url, body});

/** Holds a request that runs until `release`. */
async function hold(api) {
  const leaving = new AbortController();
  const ended = api.post(long, {signal: leaving.signal}).catch((error) => error);
  await until('it runs', limit(3000), async () => (await api.load()).running > 0);
  return {
    ended,
    async release() {
      leaving.abort();
      await ended;
      await until('it is gone', limit(3000), async () => (await api.load()).running === 0);
    },
  };
}

const started = (t, ...args) => Parts.start(t, ...args);

/** The reply of a request whose only worker answers its job with these events. */
async function liedTo(t, ...events) {
  const cluster = await started(t, {controller: ['--max-retries', 0, ...NO_WAIT]});
  const liar = await Liar.start(t, cluster.natsPort, 'liar', () => events);
  await hasOnline(cluster.api, 'liar');
  const reply = await cluster.api.post({messages: user('hello')});
  assert.equal(liar.jobs, 1);
  return reply;
}

/** How a client comes to each error: gives the reply. */
const CAUSES = {
  INVALID_JSON: () => send('POST', '/v1/chat/completions', '{'),
  REQUEST_VALIDATION_FAILED: () => post({temperature: 7}),
  CONTEXT_LENGTH_EXCEEDED: () => post({messages: user('word '.repeat(5000))}),
  BAD_HTTP_REQUEST: () => send('GET', '/%zz'),
  INVALID_SESSION_ID: () => post({session_id: 'two words'}),
  SESSION_NOT_FOUND: () => send('DELETE', '/api/sessions/nobody'),
  ROUTE_NOT_FOUND: () => send('GET', '/nothing'),
  MODEL_NOT_FOUND: () => post({model: 'nothing'}),
  WORKER_NOT_FOUND: () => send('GET', '/api/cluster/workers/nobody'),
  REQUEST_NOT_FOUND: () => send('GET', '/api/controller/requests/nothing'),
  async METHOD_NOT_ALLOWED() {
    const reply = await send('DELETE', '/v1/models');
    assert.equal(reply.headers.allow, 'GET');
    return reply;
  },
  async PAYLOAD_TOO_LARGE() {
    const reply = await post({messages: user('x'.repeat(70000))});
    assert.equal(reply.headers.connection, 'close');
    return reply;
  },
  HEADERS_TOO_LARGE: () => parts.api.send({path: '/health', headers: {'x-long': 'x'.repeat(40000)}}),
  async POISON_REQUEST(t) {
    const cluster = await serve('--engine', 'fake', '--workers', 2);
    t.after(() => cluster.child.killTree());
    const crash = {messages: user('[crash at 1] it')};
    const first = await cluster.post(crash);
    assert.equal(first.json.error.message.match(/WORKER_OFFLINE/g).length, 2, first.text);
    return cluster.post(crash);
  },
  ENGINE_ERROR: () => once.api.post({messages: user('[fail at 1] it')}),
  async ALL_RETRIES_EXHAUSTED() {
    const reply = await post({messages: user('[fail at 1] it')});
    assert.equal(reply.headers['x-should-retry'], 'false');
    assert.equal(reply.json.error.context.tries.length, 2);
    return reply;
  },
  async NO_WORKERS_AVAILABLE(t) {
    const empty = await started(t, {controller: NO_WAIT});
    return empty.api.post({messages: user('hello')});
  },
  async NO_HEALTHY_WORKERS(t) {
    const dying = await started(t, {workers: {one: []}, controller: NO_WAIT});
    await end(dying.workers.one, 'SIGKILL');
    await until('it is missed', limit(5000), async () => (await dying.counts('one')).status === 'suspect');
    return dying.api.post({messages: user('hello')});
  },
  async CIRCUIT_BREAKER_OPEN(t) {
    const closed = await started(t, {workers: {one: []}, controller: NO_WAIT});
    const path = '/api/controller/circuit-breakers/one';
    const forced = await closed.api.send({method: 'POST', path, body: {action: 'open'}});
    assert.equal(forced.status, 200, forced.text);
    return closed.api.post({messages: user('hello')});
  },
  async WORKER_OVERLOADED(t) {
    const full = await started(t, {
      workers: {one: ['--max-batch-size', 1, '--max-depth', 0]},
      controller: NO_WAIT,
    });
    await hold(full.api);
    return full.api.post({messages: user('hello')});
  },
  async RESOURCE_LIMIT_EXCEEDED(t) {
    const tight = await started(t, {workers: {one: ['--critical-memory-mb', 1]}, controller: NO_WAIT});
    await until('it notices', limit(3000), async () => !(await tight.api.live('one')).resources.canAcceptRequest);
    return tight.api.post({messages: user('hello')});
  },
  async WORKER_DRAINING(t) {
    const leaving = await started(t, {
      workers: {one: ['--worker-drain-timeout-ms', 100]},
      controller: ['--max-retries', 0, ...NO_WAIT],
    });
    const held = await hold(leaving.api);
    leaving.workers.one.signal('SIGTERM');
    return held.ended;
  },
  async CONTROLLER_DRAINING(t) {
    const leaving = await started(t, {workers: {one: []}, controller: NO_WAIT});
    await hold(leaving.api);
    leaving.controller.signal('SIGTERM');
    await until('it drains', limit(2000), async () => {
      const {state} = await leaving.api.get('/health');
      return state === 'draining';
    });
    return leaving.api.post({messages: user('hello')});
  },
  async CONTROLLER_OVERLOADED() {
    const held = await hold(once.api);
    const reply = await once.api.post({messages: user('hello')});
    await held.release();
    return reply;
  },
  async WORKER_UNAVAILABLE(t) {
    const dead = await started(t, {workers: {one: []}, controller: NO_WAIT, heartbeatMs: 1000});
    await end(dead.workers.one, 'SIGKILL');
    return dead.api.post({messages: user('hello')});
  },
  async WORKER_OFFLINE(t) {
    const cluster = await serve('--engine', 'fake', '--max-retries', 0);
    t.after(() => cluster.child.killTree());
    return cluster.post({messages: user('[crash at 1] it')});
  },
  async NATS_ERROR(t) {
    const cut = await started(t, {workers: {one: []}, controller: NO_WAIT});
    await end(cut.nats, 'SIGKILL');
    await until('it knows', limit(3000), async () => (await cut.api.send({path: '/health/ready'})).status === 503);
    return cut.api.post({messages: user('hello')});
  },
  async WORKER_TIMEOUT(t) {
    const hung = await started(t, {
      workers: {one: ['--fake-fault', 'hang at 1']},
      controller: ['--max-retries', 0, '--stall-timeout-ms', 300],
    });
    return hung.api.post({messages: user('hello')});
  },
  PROTOCOL_ERROR: (t) =>
    liedTo(t, {k: 'a'}, {k: 's', p: 5}, {k: 't', i: 0, id: 1, t: 'a'}, {k: 't', i: 2, id: 1, t: 'c'}),
  // The controller gives no job to a worker that says so in time; this one had just said that it is ready.
  MODEL_NOT_LOADED: (t) => liedTo(t, {k: 'e', c: 'MODEL_NOT_LOADED', m: 'it is still being loaded'}),
  MODEL_LOAD_FAILED: (t) => liedTo(t, {k: 'e', c: 'MODEL_LOAD_FAILED', m: 'its file is broken'}),
  async DEADLINE_EXCEEDED() {
    const reply = await parts.api.post(long, {headers: {'x-request-timeout-ms': '200'}});
    assert.equal(reply.json.error.context.timeoutMs, 200);
    return reply;
  },
};

/** Those that no client gets to see as a reply, and where they show instead. */
const SEEN_ELSEWHERE = {
  async CANCELLED() {
    const held = await hold(once.api);
    await held.release();
    const {requests} = await once.api.get('/api/controller/requests?state=cancelled&limit=1');
    assert.equal(requests[0].finalError.code, 'CANCELLED');
    assert.ok((await once.api.exposition())['mlx_controller_errors_total{code="CANCELLED"}'] > 0);
  },
  async CONFIG_INVALID() {
    const ended = await mlxdEnd(limit(5000), 'serve', '--engine', 'fake', '--fake-fault', 'burn');
    assert.equal(ended.code, 2, ended.output);
    assert.match(ended.stderr, /cluster\.worker\.fake\.fault: "burn" is no fault; there are, .*fail at N/);
    const url = parts.url;
    const worker = await mlxdEnd(limit(5000), 'worker', '--nats', url, '--engine', 'fake', '--fake-fault', 'burn');
    assert.equal(worker.code, 2, worker.output);
    assert.match(worker.stderr, /"code":"CONFIG_INVALID"/);
  },
  async START_FAILED() {
    const flags = ['--nats', parts.url, '--port', parts.api.port];
    const ended = await mlxdEnd(limit(5000), 'controller', ...flags);
    assert.equal(ended.code, 1, ended.output);
    assert.match(ended.stderr, new RegExp(`${parts.api.port}.*in use.*"code":"START_FAILED"`));
  },
};

/** Those that cannot be caused from outside in a test, and why. */
const NOT_CAUSED = {
  REQUEST_TIMEOUT: 'takes 30 s, which no option shortens; the unit tests of the HTTP server have it',
  INTERNAL_ERROR: 'needs a defect, or a machine without memory',
};

function assertRow(code, reply) {
  const row = TABLE[code];
  assert.equal(reply.status, row.status, reply.text ?? String(reply));
  assert.match(reply.headers['content-type'], /^application\/json\b/);
  const {error} = reply.json;
  assert.equal(error.code, SPELLED[code] ?? code, reply.text);
  assert.equal(error.type, row.type);
  assert.equal(error.retryable, row.retryable);
  assert.ok(error.message.length > 10, error.message);
  assert.ok(error.param === null || typeof error.param === 'string');
  assert.equal(typeof error.context, 'object');
  assert.ok(Math.abs(error.timestamp - Date.now()) < limit(10000), `${error.timestamp}`);
  const retryAfter = Number(reply.headers['retry-after'] ?? 0);
  if (row.status === 503) assert.ok(retryAfter >= 1 && retryAfter <= 60, `Retry-After: ${retryAfter}`);
  else assert.equal(retryAfter, 0, 'nothing gets better by waiting');
}

test('every_code_of_the_table_is_caused_in_this_file_or_has_a_reason_why_not', () => {
  const known = [CAUSES, SEEN_ELSEWHERE, NOT_CAUSED].flatMap(Object.keys);
  assert.equal(new Set(known).size, known.length, 'none is there twice');
  assert.deepEqual(known.sort(), Object.keys(TABLE).sort());
});

for (const [code, cause] of Object.entries(CAUSES))
  test(`${code}_reaches_the_client_as_the_table_says`, async (t) => assertRow(code, await cause(t)));

for (const [code, look] of Object.entries(SEEN_ELSEWHERE)) test(`${code}_is_seen_where_it_belongs`, look);

test('an_error_after_the_first_text_is_the_same_object_in_an_event_of_the_stream', async () => {
  const reply = await once.api.post({messages: user('[fail at 9] [reply 20] it'), stream: true});
  assert.equal(reply.status, 200);
  const {error, finish} = readStream(reply.text);
  assert.deepEqual(finish, []);
  assert.equal(error.code, 'ENGINE_ERROR');
  assert.equal(error.type, TABLE.ENGINE_ERROR.type);
  assert.equal(error.retryable, TABLE.ENGINE_ERROR.retryable);
  assert.equal(error.context.requestId.startsWith('chatcmpl-'), true);
  assert.equal(error.context.tries.length, 1);
  assert.equal(typeof error.timestamp, 'number');
});

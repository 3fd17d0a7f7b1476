// Clients that leave at any time: what they held on the worker is free within two steps, and nobody else notices.
import assert from 'node:assert/strict';
import http from 'node:http';
import {after, afterEach, before, describe, test} from 'node:test';

import {serve} from './lib/cluster.mjs';
import {randomFrom, SEED} from './lib/random.mjs';
import {RawClient, chatBytes} from './lib/raw.mjs';
import {limit, pause, until} from './lib/wait.mjs';

const CANCEL_STEPS_MAX = 2;
const LONG = '[reply 2000] go on';
/** Its prefill takes about 2 s: it is longer than several steps' token budget, each token of it costs time. */
const LONG_PROMPT = `[reply 2000] ${'word '.repeat(2000)}`;

/** A call whose client can leave: {leave(), text(), over}. */
function call(cluster, content, stream) {
  const body = JSON.stringify({model: 'tiny-chat', stream, messages: [{role: 'user', content}]});
  let text = '';
  const request = http.request({
    host: '127.0.0.1',
    port: cluster.port,
    method: 'POST',
    agent: false,
    path: '/v1/chat/completions',
    headers: {'content-type': 'application/json'},
  });
  request.on('response', (response) => {
    response.on('data', (piece) => (text += piece));
    response.on('error', () => {});
  });
  request.on('error', () => {});
  const over = new Promise((resolve) => request.on('close', resolve));
  request.end(body);
  return {leave: () => request.destroy(), text: () => text, over};
}

describe('one worker with two slots and slow steps', () => {
  let cluster;
  let workerId;
  let pidsAtFirst;
  const held = [];

  before(async () => {
    cluster = await serve(
      '--engine',
      'fake',
      '--fake-step-us',
      20000,
      '--fake-prompt-token-us',
      500,
      '--max-batch-size',
      2,
      '--batch-tokens',
      128,
    );
    [{workerId}] = await cluster.workers();
    pidsAtFirst = cluster.pids();
  });
  after(async () => {
    assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
  });
  afterEach(async () => {
    for (const one of held.splice(0)) one.leave();
    await until('an idle worker', limit(3000), () => shows({running: 0, queued: 0}));
    assert.equal(cluster.pids(), pidsAtFirst, 'no process was restarted');
  });

  const load = async () => (await cluster.live(workerId)).load;
  async function shows(wanted) {
    const now = await load();
    return Object.entries(wanted).every(([name, value]) => now[name] === value) && now;
  }
  function hold(content, stream) {
    const one = call(cluster, content, stream);
    held.push(one);
    return one;
  }
  async function assertFreedInTime(before) {
    const after = await until('the cancelled job is counted', limit(1000), async () => {
      const now = await load();
      return now.jobsCancelled === before.jobsCancelled + 1 && now;
    });
    assert.ok(after.cancelStepsMax <= CANCEL_STEPS_MAX, `cancelStepsMax ${after.cancelStepsMax}`);
  }

  for (const stream of [true, false]) {
    const kind = stream ? 'streaming' : 'buffered';

    test(`a_${kind}_client_that_leaves_while_queued_gives_its_place_back`, async () => {
      hold(LONG, true);
      hold(LONG, false);
      await until('both slots are taken', limit(3000), () => shows({running: 2, queued: 0}));
      const third = hold(LONG, stream);
      const before = await until('the third waits', limit(3000), () => shows({running: 2, queued: 1}));
      third.leave();
      await until('nobody waits', limit(500), () => shows({running: 2, queued: 0}));
      await assertFreedInTime(before);
      assert.equal(third.text(), '');
    });

    test(`a_${kind}_client_that_leaves_during_prefill_frees_its_slot`, async () => {
      const generated = (await load()).generatedTokens;
      const one = hold(LONG_PROMPT, stream);
      const before = await until('it is in prefill', limit(3000), async () => {
        const now = await load();
        return now.running === 1 && now;
      });
      one.leave();
      await until('the slot is free', limit(1000), () => shows({running: 0, queued: 0}));
      await assertFreedInTime(before);
      assert.equal((await load()).generatedTokens, generated, 'its prefill was never complete');
    });

    test(`a_${kind}_client_that_leaves_during_decode_frees_its_slot`, async () => {
      const begin = await load();
      const one = hold(LONG, stream);
      await until('five tokens', limit(3000), async () => {
        const now = await load();
        return now.generatedTokens >= begin.generatedTokens + 5;
      });
      if (stream) assert.match(one.text(), /"content":/);
      const before = await load();
      one.leave();
      await until('the slot is free', limit(500), () => shows({running: 0, queued: 0}));
      await assertFreedInTime(before);
    });
  }

  test('the_place_of_a_client_that_left_goes_to_the_one_who_waits', async () => {
    const first = hold(LONG, true);
    hold(LONG, true);
    await until('both slots are taken', limit(3000), () => shows({running: 2, queued: 0}));
    const waiting = cluster.ask('[reply 3] my turn');
    await until('it waits', limit(3000), () => shows({running: 2, queued: 1}));
    first.leave();
    assert.ok((await waiting).choices[0].message.content.length > 0);
  });

  test('pipelined_requests_are_answered_in_order', async () => {
    const client = await RawClient.connect(cluster.port);
    const stream = chatBytes({stream: true, messages: [{role: 'user', content: '[reply 5] first'}]});
    client.write(stream + 'GET /health HTTP/1.1\r\nHost: test\r\n\r\n');
    await client.hears(/data: \[DONE\]\n\n[^]*HTTP\/1\.1 200 [^]*"workersReady":1/, limit(5000));
    assert.equal(client.text.match(/HTTP\/1\.1 200 /g).length, 2);
    client.close();
  });

  test('a_client_that_pipelines_and_leaves_frees_its_slot_and_does_no_harm', async () => {
    for (const stream of [true, false]) {
      for (const leave of ['destroy', 'resetAndDestroy', 'end']) {
        const client = await RawClient.connect(cluster.port);
        const bytes = chatBytes({stream, messages: [{role: 'user', content: LONG}]});
        client.write(bytes + bytes + bytes.slice(0, 40));
        await until('the first one runs', limit(3000), () => shows({running: 1}));
        client.socket[leave]();
        await until('no slot is in use', limit(1000), () => shows({running: 0, queued: 0}));
        client.close();
        assert.equal((await cluster.ask('[reply 2] still there?')).object, 'chat.completion');
      }
    }
    assert.equal(cluster.pids(), pidsAtFirst);
  });

  test('a_client_that_leaves_in_the_middle_of_its_request_is_forgotten', async () => {
    const bytes = chatBytes({messages: [{role: 'user', content: LONG}]});
    for (const length of [1, 20, 100, bytes.length - 1]) {
      const client = await RawClient.connect(cluster.port);
      client.write(bytes.slice(0, length));
      client.socket.end();
      await client.isOver(limit(2000));
      client.close();
    }
    assert.deepEqual(await cluster.load(), {running: 0, queued: 0});
  });

  test('a_client_that_stops_reading_does_not_hold_up_the_others', async () => {
    const client = await RawClient.connect(cluster.port);
    client.write(chatBytes({stream: true, messages: [{role: 'user', content: LONG}]}));
    await until('it runs', limit(3000), () => shows({running: 1}));
    client.socket.pause();
    const reply = await cluster.ask('[reply 10] me too');
    assert.ok(reply.usage.completion_tokens > 0);
    client.close();
  });
});

test('200_clients_that_leave_at_random_leave_nothing_behind_and_the_others_get_their_own_text', async (t) => {
  t.diagnostic(`MLX_SEED=${SEED}`);
  const random = randomFrom(SEED);
  const cluster = await serve(
    '--workers',
    2,
    '--engine',
    'fake',
    '--fake-step-us',
    2000,
    '--fake-prompt-token-us',
    20,
    '--max-batch-size',
    4,
  );
  t.after(() => cluster.child.killTree());
  const pids = cluster.pids();
  const prompts = Array.from({length: 12}, (_, i) => `[reply ${10 + 5 * i}] prompt number ${i}`);
  const right = new Map();
  for (const prompt of prompts)
    right.set(prompt, (await cluster.ask(prompt, {seed: 9})).choices[0].message.content);

  let leaving = 200;
  let staying = 60;
  async function leaver() {
    while (leaving-- > 0) {
      const words = random() < 0.3 ? 'word '.repeat(300) : '';
      const one = call(cluster, `[reply 400] ${words}`, random() < 0.5);
      await Promise.race([one.over, pause(random() * 80)]);
      one.leave();
    }
  }
  async function stayer() {
    while (staying-- > 0) {
      const prompt = prompts[Math.floor(random() * prompts.length)];
      const streamed = random() < 0.5;
      const text = streamed
        ? (await cluster.stream(prompt, {seed: 9})).text
        : (await cluster.ask(prompt, {seed: 9})).choices[0].message.content;
      assert.equal(text, right.get(prompt));
    }
  }
  await Promise.all([...Array.from({length: 10}, leaver), ...Array.from({length: 4}, stayer)]);

  await until('nothing runs or waits', limit(3000), async () => {
    const {running, queued} = await cluster.load();
    return running === 0 && queued === 0;
  });
  for (const worker of await cluster.workers()) {
    const now = await cluster.live(worker.workerId);
    assert.equal(now.leases, 0);
    assert.ok(now.load.cancelStepsMax <= CANCEL_STEPS_MAX, `cancelStepsMax ${now.load.cancelStepsMax}`);
  }
  const {requests, http: connections, protocol} = await cluster.get('/api/cluster/status');
  assert.equal(requests.active, 0);
  assert.equal(requests.failed, 0);
  assert.ok(requests.cancelled > 100, `${requests.cancelled} were cancelled`);
  assert.equal(protocol.gaps + protocol.malformedMessages + protocol.impossibleEvents, 0);
  await until('no connection but this one', limit(2000), async () => {
    const {http: now} = await cluster.get('/api/cluster/status');
    return now.connections <= 1;
  });
  assert.ok(connections.clientLeft > 100);
  assert.equal(cluster.pids(), pids);
  assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
});

// What logs hold: one line a request, JSON throughout, and nothing of what clients and models say.
import assert from 'node:assert/strict';
import {test} from 'node:test';

import {serve} from './lib/cluster.mjs';

const CANARY = 'Zebrafink-4711';

const linesOf = (cluster) =>
  cluster.child.stderr
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));

test('each_request_has_one_line_at_info_and_every_line_is_json_with_time_level_and_message', async (t) => {
  const cluster = await serve('--engine', 'fake', '--fake-step-us', 100);
  t.after(() => cluster.child.killTree());
  const good = await cluster.ask('[reply 3] hi');
  const bad = await cluster.post({messages: [{role: 'user', content: '[fail at 1]'}]});
  assert.equal(bad.status, 500);
  await cluster.stop();
  for (const line of linesOf(cluster)) {
    assert.ok(!Number.isNaN(Date.parse(line.ts)), JSON.stringify(line));
    assert.match(line.level, /^(debug|info|warn|error)$/);
    assert.equal(typeof line.msg, 'string');
  }
  const requests = linesOf(cluster).filter((line) => line.msg === 'request');
  assert.deepEqual(
    requests.map((line) => [line.level, line.id, line.status]),
    [
      ['info', good.id, 'OK'],
      ['info', bad.json.error.context.requestId, 'ENGINE_ERROR'],
    ],
  );
});

test('no_log_holds_prompt_or_reply_text_not_even_at_debug', async (t) => {
  const cluster = await serve('--log-level', 'debug', '--engine', 'fake', '--fake-step-us', 100, '--workers', 2);
  t.after(() => cluster.child.killTree());
  const content = `${CANARY} [reply 40]`;
  const whole = await cluster.ask(content, {session_id: 'a-session'});
  const stream = await cluster.stream(content);
  await cluster.post({messages: [{role: 'user', content: `${CANARY} [fail at 2]`}]});
  await cluster.post({messages: [{role: 'user', content: CANARY}], temperature: 9});
  const records = JSON.stringify(await cluster.get('/api/controller/requests?limit=100'));
  await cluster.stop();
  const output = cluster.child.output;
  assert.ok(output.includes('"debug"'), 'it logs at debug');
  const said = [whole.choices[0].message.content, stream.text].flatMap((text) => text.match(/\w+ \w+ \w+/g));
  for (const text of [CANARY, ...said]) {
    assert.ok(!output.includes(text), `"${text}" is in the log`);
    assert.ok(!records.includes(text), `"${text}" is in the records`);
  }
});

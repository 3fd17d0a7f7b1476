// Input that is wrong gets the right status and an error that names what is wrong; the server goes on unharmed.
import assert from 'node:assert/strict';
import {execFile} from 'node:child_process';
import {truncateSync, writeFileSync} from 'node:fs';
import path from 'node:path';
import {after, before, test} from 'node:test';

import {freePort, mlxdEnd, serve, tempDir} from './lib/cluster.mjs';
import {RawClient} from './lib/raw.mjs';
import {limit, until} from './lib/wait.mjs';

const MEGABYTE = 1 << 20;
const FRANCE = [{role: 'user', content: 'What is the capital of France?'}];
const GOOD = {model: 'tiny-chat', temperature: 0, messages: FRANCE};

let cluster;
let pidsAtFirst;
before(async () => {
  cluster = await serve('--workers', 2);
  pidsAtFirst = cluster.pids();
});
after(async () => {
  assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
});

async function assertUnharmed() {
  const reply = await cluster.post({messages: FRANCE});
  assert.equal(reply.status, 200, reply.text);
  assert.equal(reply.json.choices[0].message.content, 'The capital of France is Paris.');
  assert.equal(cluster.pids(), pidsAtFirst, 'no process was restarted');
}

function post(body, headers) {
  return cluster.send({method: 'POST', path: '/v1/chat/completions', body, headers});
}

function assertError(reply, status, {param, code} = {}) {
  assert.equal(reply.status, status, reply.text);
  assert.match(reply.headers['content-type'], /^application\/json\b/);
  const {error} = reply.json;
  assert.equal(error.type, status < 500 ? 'invalid_request_error' : 'server_error');
  assert.ok(error.message.length > 10, error.message);
  assert.equal(typeof error.code, 'string');
  if (param !== undefined) assert.equal(error.param, param, reply.text);
  if (code !== undefined) assert.equal(error.code, code);
}

const nested = (depth) => '['.repeat(depth) + ']'.repeat(depth);

const NOT_JSON = {
  an_empty_body: '',
  broken_JSON: '{"model":"tiny-chat","messages":[{"role":"user","content":"hi"}',
  a_trailing_comma: '{"model":"tiny-chat","messages":[],}',
  two_values: '{"model":"tiny-chat"} {"model":"tiny-chat"}',
  bytes_that_are_not_utf8: Buffer.concat([
    Buffer.from('{"model":"tiny-chat","messages":[{"role":"user","content":"'),
    Buffer.from([0xff, 0xfe, 0xc3]),
    Buffer.from('"}]}'),
  ]),
  a_NaN_literal_as_temperature: `{"model":"tiny-chat","messages":${JSON.stringify(FRANCE)},"temperature":NaN}`,
  a_number_over_every_double: `{"model":"tiny-chat","messages":${JSON.stringify(FRANCE)},"temperature":1e999}`,
  ten_thousand_levels_of_nesting: nested(10000),
  ten_thousand_levels_in_a_field: `{"model":"tiny-chat","messages":${JSON.stringify(FRANCE)},"x":${nested(10000)}}`,
  ten_thousand_levels_in_messages: `{"model":"tiny-chat","messages":${nested(10000)}}`,
  ten_thousand_levels_never_closed: '{"messages":'.repeat(10000),
};
for (const [what, body] of Object.entries(NOT_JSON)) {
  test(`${what}_is_refused_with_400_INVALID_JSON`, async () => {
    assertError(await post(body), 400, {code: 'INVALID_JSON'});
  });
}

test('a_body_that_is_no_object_is_refused_with_400', async () => {
  for (const body of ['[]', 'null', '"text"', '12']) assertError(await post(body), 400);
});

// [what is wrong, fields over a good request (undefined: left out), the param that the error must name]
const WRONG = [
  ['model missing', {model: undefined}, 'model'],
  ['model null', {model: null}, 'model'],
  ['model a number', {model: 5}, 'model'],
  ['model empty', {model: ''}, 'model'],
  ['model too long', {model: 'm'.repeat(200)}, 'model'],
  ['model with a wildcard', {model: 'tiny *.>'}, 'model'],
  ['messages missing', {messages: undefined}, 'messages'],
  ['messages null', {messages: null}, 'messages'],
  ['messages empty', {messages: []}, 'messages'],
  ['messages a string', {messages: 'hi'}, 'messages'],
  ['messages an object', {messages: {}}, 'messages'],
  ['a message that is a string', {messages: ['hi']}, 'messages[0]'],
  ['role missing', {messages: [{content: 'hi'}]}, 'messages[0].role'],
  ['role unknown', {messages: [{role: 'king', content: 'hi'}]}, 'messages[0].role'],
  ['role a number', {messages: [{role: 1, content: 'hi'}]}, 'messages[0].role'],
  ['content missing', {messages: [FRANCE[0], {role: 'user'}]}, 'messages[1].content'],
  ['content null', {messages: [{role: 'user', content: null}]}, 'messages[0].content'],
  ['content a number', {messages: [{role: 'user', content: 5}]}, 'messages[0].content'],
  ['content an object', {messages: [{role: 'user', content: {}}]}, 'messages[0].content'],
  ['temperature a string', {temperature: '0.5'}, 'temperature'],
  ['temperature the string NaN', {temperature: 'NaN'}, 'temperature'],
  ['temperature below', {temperature: -0.1}, 'temperature'],
  ['temperature above', {temperature: 2.1}, 'temperature'],
  ['temperature a boolean', {temperature: true}, 'temperature'],
  ['temperature a list', {temperature: [1]}, 'temperature'],
  ['top_p above', {top_p: 1.5}, 'top_p'],
  ['top_p a string', {top_p: 'all'}, 'top_p'],
  ['top_k negative', {top_k: -1}, 'top_k'],
  ['top_k a fraction', {top_k: 1.5}, 'top_k'],
  ['min_p above', {min_p: 2}, 'min_p'],
  ['seed a string', {seed: 'x'}, 'seed'],
  ['seed a fraction', {seed: 0.5}, 'seed'],
  ['max_tokens 0', {max_tokens: 0}, 'max_tokens'],
  ['max_tokens negative', {max_tokens: -5}, 'max_tokens'],
  ['max_tokens a string', {max_tokens: '5'}, 'max_tokens'],
  ['max_tokens over every integer', {max_tokens: 1e30}, 'max_tokens'],
  ['max_completion_tokens 0', {max_completion_tokens: 0}, 'max_completion_tokens'],
  ['max_completion_tokens a list', {max_completion_tokens: [1]}, 'max_completion_tokens'],
  ['stream a string', {stream: 'true'}, 'stream'],
  ['stream a number', {stream: 1}, 'stream'],
  ['stream_options a boolean', {stream: true, stream_options: true}, 'stream_options'],
  [
    'include_usage a string',
    {stream: true, stream_options: {include_usage: 'yes'}},
    'stream_options.include_usage',
  ],
  ['stop a number', {stop: 5}, 'stop'],
  ['stop empty', {stop: ''}, 'stop'],
  ['stop of numbers', {stop: ['a', 5]}, 'stop[1]'],
  ['stop too many', {stop: ['a', 'b', 'c', 'd', 'e']}, 'stop'],
  ['stop too long', {stop: 's'.repeat(1000)}, 'stop'],
  ['presence_penalty above', {presence_penalty: 3}, 'presence_penalty'],
  ['frequency_penalty a string', {frequency_penalty: 'a'}, 'frequency_penalty'],
  ['n not 1', {n: 2}, 'n'],
  ['priority unknown', {priority: 'urgent'}, 'priority'],
  ['max_tokens huge', {max_tokens: 2147483647}, 'max_tokens'],
  ['tools not built yet', {tools: [{type: 'function', function: {name: 'f'}}]}, 'tools'],
  ['response_format not built yet', {response_format: {type: 'json_object'}}, 'response_format'],
  ['logprobs not built yet', {logprobs: true}, 'logprobs'],
  ['session_id a number', {session_id: 5}, 'session_id'],
];
for (const [what, fields, param] of WRONG) {
  test(`${what.replaceAll(' ', '_')}_is_refused_with_400_that_names_${param}`, async () => {
    assertError(await post({...GOOD, ...fields}), 400, {param, code: 'REQUEST_VALIDATION_FAILED'});
  });
}

test('an_unknown_model_is_refused_with_404_model_not_found', async () => {
  assertError(await post({...GOOD, model: 'no-such-model'}), 404, {param: 'model', code: 'model_not_found'});
});

test('null_for_an_optional_field_means_that_it_is_absent', async () => {
  const optional = ['top_p', 'top_k', 'min_p', 'seed', 'max_tokens', 'max_completion_tokens', 'stream'];
  optional.push(
    'stream_options',
    'stop',
    'presence_penalty',
    'frequency_penalty',
    'n',
    'priority',
    'session_id',
  );
  const reply = await post({...GOOD, ...Object.fromEntries(optional.map((name) => [name, null]))});
  assert.equal(reply.status, 200, reply.text);
});

test('a_max_tokens_over_the_context_means_as_many_as_fit', async () => {
  for (const most of [3000, 100000, 1048576]) {
    const reply = await post({...GOOD, max_tokens: most});
    assert.equal(reply.status, 200, reply.text);
    assert.equal(reply.json.choices[0].finish_reason, 'stop');
  }
});

test('an_unknown_url_is_404_and_a_wrong_method_405_with_Allow', async () => {
  for (const url of ['/', '/v1', '/v1/chat/completionsX', '/v1/nothing', '/..%2f..%2fetc/passwd'])
    assertError(await cluster.send({path: url}), 404);
  for (const url of ['/%00', '/%zz', '/health%'])
    assertError(await cluster.send({path: url}), 400, {code: 'BAD_HTTP_REQUEST'});
  for (const [method, url, allow] of [
    ['GET', '/v1/chat/completions', 'POST'],
    ['DELETE', '/v1/chat/completions', 'POST'],
    ['PUT', '/v1/chat/completions', 'POST'],
    ['POST', '/v1/models', 'GET'],
    ['DELETE', '/api/cluster/workers', 'GET'],
  ]) {
    const reply = await cluster.send({method, path: url, body: method === 'GET' ? undefined : '{}'});
    assertError(reply, 405);
    assert.match(reply.headers.allow, new RegExp(`\\b${allow}\\b`));
  }
  assertError(await cluster.send({path: '/api/cluster/workers/nobody'}), 404, {code: 'WORKER_NOT_FOUND'});
  assertError(await cluster.send({path: '/v1/models/nothing'}), 404, {code: 'model_not_found'});
});

test('a_100_MB_body_with_Content_Length_is_refused_with_413_that_the_client_can_read', async () => {
  const client = await RawClient.connect(cluster.port);
  client.write(
    `POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nContent-Length: ${100 * MEGABYTE}\r\n\r\n`,
  );
  const poured = client.pour(Buffer.alloc(MEGABYTE, 0x20), 100);
  await assertRefusedWith413(client);
  await poured;
  client.close();
});

test('a_100_MB_chunked_body_is_refused_with_413_that_the_client_can_read', async () => {
  const client = await RawClient.connect(cluster.port);
  client.write('POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n');
  const chunk = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(MEGABYTE, 0x20), Buffer.from('\r\n')]);
  const poured = client.pour(chunk, 100);
  await assertRefusedWith413(client);
  await poured;
  client.close();
});

async function assertRefusedWith413(client) {
  await client.hears(/^HTTP\/1\.1 413 [^]*\r\n\r\n\{[^]*\}\}/, limit(5000));
  assert.match(client.text, /PAYLOAD_TOO_LARGE/);
  assert.match(client.text, /^connection: close/im);
  await client.isOver(limit(10000));
  await assertUnharmed();
}

test('curl_that_sends_100_MB_gets_the_413_and_no_broken_connection', async () => {
  const file = path.join(tempDir(), 'body');
  writeFileSync(file, '');
  truncateSync(file, 100 * MEGABYTE);
  for (const extra of [[], ['-H', 'Expect:'], ['-H', 'Transfer-Encoding: chunked']]) {
    const args = ['-s', '-o', '-', '-w', '\n%{http_code}', '--data-binary', `@${file}`, ...extra];
    const printed = await new Promise((resolve, reject) =>
      execFile(
        'curl',
        [...args, `${cluster.url}/v1/chat/completions`],
        {timeout: limit(20000)},
        (error, out) => (error ? reject(new Error(`curl ${extra}: ${error.code} ${out}`)) : resolve(out)),
      ),
    );
    assert.match(printed, /PAYLOAD_TOO_LARGE[^]*\n413$/);
  }
});

test('malformed_HTTP_is_refused_with_an_error_in_JSON_and_the_connection_is_closed', async () => {
  for (const [bytes, status] of [
    ['this is not HTTP\r\n\r\n', 400],
    ['POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n', 400],
    [
      'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello',
      400,
    ],
    ['POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 400],
    [`GET /health HTTP/1.1\r\nHost: x\r\nX-Long: ${'a'.repeat(100000)}\r\n\r\n`, 431],
    [`GET /${'a'.repeat(100000)} HTTP/1.1\r\nHost: x\r\n\r\n`, 431],
  ]) {
    const client = await RawClient.connect(cluster.port);
    client.write(bytes);
    await client.hears(new RegExp(`^HTTP/1\\.1 ${status} [^]*"error"`), limit(5000));
    await client.isOver(limit(5000));
    client.close();
  }
});

test('after_all_of_it_every_process_is_the_same_and_answers', async () => {
  await assertUnharmed();
  await until('nothing runs or waits', limit(2000), async () => {
    const {running, queued} = await cluster.load();
    return running === 0 && queued === 0;
  });
  assert.equal((await cluster.get('/api/cluster/status')).requests.active, 0);
});

// [name, file, what the message must say beside file name]
const BAD_FILES = [
  ['a_typo_in_a_key', 'cluster:\n  controller:\n    prot: 8080\n', /:3: .*cluster\.controller\.prot.*port/],
  [
    'a_typo_in_a_section',
    'logging:\n  level: info\nclutser:\n  serve:\n    workers: 2\n',
    /:3: .*clutser.*cluster/,
  ],
  ['a_wrong_type', 'cluster:\n  serve:\n    workers: many\n', /:3: .*cluster\.serve\.workers.*many/],
  [
    'a_value_out_of_range',
    'cluster:\n  controller:\n    port: 70000\n',
    /:3: .*cluster\.controller\.port.*65535/,
  ],
  [
    'a_key_given_twice',
    'cluster:\n  serve:\n    workers: 1\n    workers: 2\n',
    /:4: .*cluster\.serve\.workers/,
  ],
  ['broken_YAML', 'cluster:\n  serve: [\n', /:\d+: /],
];
for (const [name, content, message] of BAD_FILES) {
  test(`a_config_file_with_${name}_is_refused_with_file_line_key_and_what_would_be_right`, async () => {
    const file = path.join(tempDir(), 'bad.yaml');
    writeFileSync(file, content);
    const end = await mlxdEnd(limit(5000), 'serve', '--config', file, '--port', await freePort());
    assert.equal(end.code, 2, end.output);
    assert.ok(end.stderr.includes(file), end.stderr);
    assert.match(end.stderr, message);
  });
}

test('a_config_file_that_is_not_there_is_refused_by_name', async () => {
  const end = await mlxdEnd(limit(5000), 'serve', '--config', '/nowhere/cluster.yaml');
  assert.equal(end.code, 2, end.output);
  assert.match(end.stderr, /\/nowhere\/cluster\.yaml/);
});

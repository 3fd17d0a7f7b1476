// The official client of OpenAI, unchanged, against mlxd: what it reads, what it throws, what it cancels.
import assert from 'node:assert/strict';
import {after, before, describe, test} from 'node:test';

import OpenAI from 'openai';

import {serve} from './lib/cluster.mjs';
import * as facts from './lib/facts.mjs';
import {limit, until} from './lib/wait.mjs';

const request = (content) => ({model: 'tiny-chat', temperature: 0, messages: [{role: 'user', content}]});
const FRANCE = request(facts.FRANCE);
const STORY = request(facts.STORY);
const {PARIS, QUESTIONS} = facts;

function clientOf(cluster, options = {}) {
  return new OpenAI({baseURL: `${cluster.url}/v1`, apiKey: 'none is asked for', maxRetries: 0, ...options});
}

describe('with the real model', () => {
  let cluster;
  let client;
  before(async () => {
    cluster = await serve('--workers', 2);
    client = clientOf(cluster);
  });
  after(async () => {
    assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
  });

  test('create_returns_the_whole_completion', async () => {
    const {data, response} = await client.chat.completions.create(FRANCE).withResponse();
    assert.equal(data.choices[0].message.content, PARIS);
    assert.equal(data.choices[0].message.role, 'assistant');
    assert.equal(data.object, 'chat.completion');
    assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
    assert.equal(response.headers.get('x-request-id'), data.id);
  });

  test('create_with_stream_yields_chunks_that_add_up_to_the_completion', async () => {
    const whole = await client.chat.completions.create(STORY);
    const stream = await client.chat.completions.create({
      ...STORY,
      stream: true,
      stream_options: {include_usage: true},
    });
    let text = '';
    let usage;
    const finishes = [];
    for await (const chunk of stream) {
      assert.equal(chunk.object, 'chat.completion.chunk');
      text += chunk.choices[0]?.delta.content ?? '';
      if (chunk.choices[0]?.finish_reason) finishes.push(chunk.choices[0].finish_reason);
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, whole.choices[0].message.content);
    assert.deepEqual(finishes, ['stop']);
    assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
    assert.equal(usage.prompt_tokens, whole.usage.prompt_tokens);
  });

  test('the_stream_helper_gathers_the_final_completion', async () => {
    const deltas = [];
    const runner = client.chat.completions.stream({...STORY, stream_options: {include_usage: true}});
    runner.on('content', (delta) => deltas.push(delta));
    const final = await runner.finalChatCompletion();
    assert.ok(deltas.length > 10);
    assert.equal(deltas.join(''), final.choices[0].message.content);
    assert.equal(final.choices[0].finish_reason, 'stop');
    assert.ok(final.usage.total_tokens > 100);
    assert.equal(
      await runner.finalContent(),
      (await client.chat.completions.create(STORY)).choices[0].message.content,
    );
  });

  test('models_list_and_retrieve_know_the_model', async () => {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert.deepEqual(ids, ['tiny-chat']);
    const model = await client.models.retrieve('tiny-chat');
    assert.equal(model.object, 'model');
    assert.ok(model.created > 1.7e9);
    await assert.rejects(client.models.retrieve('no-such-model'), OpenAI.NotFoundError);
  });

  test('a_bad_field_throws_BadRequestError_that_names_it', async () => {
    await assert.rejects(client.chat.completions.create({...FRANCE, temperature: 9}), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.equal(error.status, 400);
      assert.equal(error.param, 'temperature');
      assert.equal(error.type, 'invalid_request_error');
      assert.match(error.message, /temperature/);
      return true;
    });
  });

  test('an_unknown_model_throws_NotFoundError_streamed_or_not', async () => {
    for (const stream of [false, true]) {
      await assert.rejects(
        client.chat.completions.create({...FRANCE, model: 'gpt-nowhere', stream}),
        (error) => {
          assert.ok(error instanceof OpenAI.NotFoundError);
          assert.equal(error.code, 'model_not_found');
          assert.equal(error.param, 'model');
          assert.match(error.message, /gpt-nowhere/);
          return true;
        },
      );
    }
  });

  test('an_unknown_url_throws_NotFoundError', async () => {
    await assert.rejects(client.embeddings.create({model: 'tiny-chat', input: 'x'}), OpenAI.NotFoundError);
  });

  test('many_calls_of_one_client_at_once_share_its_connections_and_do_not_mix', async () => {
    const calls = [...QUESTIONS, ...QUESTIONS, ...QUESTIONS].map(async ({question, answer}) => {
      const messages = [{role: 'user', content: question}];
      const reply = await client.chat.completions.create({...FRANCE, messages});
      assert.equal(reply.choices[0].message.content, answer);
    });
    await Promise.all(calls);
  });
});

describe('with slow replies', () => {
  const LONG = {model: 'tiny-chat', messages: [{role: 'user', content: '[reply 2000] go on'}]};
  let cluster;
  let client;
  before(async () => {
    cluster = await serve(
      '--engine',
      'fake',
      '--fake-step-us',
      20000,
      '--max-batch-size',
      2,
      '--max-depth',
      1,
    );
    client = clientOf(cluster);
  });
  after(async () => {
    assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
  });
  const isIdle = async () => {
    const {running, queued} = await cluster.load();
    return running === 0 && queued === 0;
  };

  test('abort_in_the_middle_of_a_stream_frees_its_slot', async () => {
    const abort = new AbortController();
    const stream = await client.chat.completions.create({...LONG, stream: true}, {signal: abort.signal});
    let chunks = 0;
    for await (const chunk of stream) {
      if (chunk.choices[0].delta.content && ++chunks === 3) {
        assert.equal((await cluster.load()).running, 1);
        abort.abort();
      }
    }
    assert.ok(chunks >= 3);
    await until('no slot is in use', limit(1000), isIdle);
  });

  test('abort_of_a_buffered_call_throws_APIUserAbortError_and_frees_its_slot', async () => {
    const abort = new AbortController();
    const call = client.chat.completions.create(LONG, {signal: abort.signal});
    const thrown = assert.rejects(call, OpenAI.APIUserAbortError);
    await until('it runs', limit(2000), async () => (await cluster.load()).running === 1);
    abort.abort();
    await thrown;
    await until('no slot is in use', limit(1000), isIdle);
  });

  test('leaving_the_loop_over_a_stream_frees_its_slot', async () => {
    const stream = await client.chat.completions.create({...LONG, stream: true});
    for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
    await until('no slot is in use', limit(1000), isIdle);
  });

  test('the_time_limit_of_the_client_throws_APIConnectionTimeoutError_and_frees_the_slot', async () => {
    await assert.rejects(
      client.chat.completions.create(LONG, {timeout: limit(400)}),
      OpenAI.APIConnectionTimeoutError,
    );
    await until('no slot is in use', limit(1000), isIdle);
  });

  test('a_full_cluster_throws_InternalServerError_with_503_and_says_when_to_come_back', async () => {
    const abort = new AbortController();
    const held = Array.from({length: 3}, () =>
      assert.rejects(client.chat.completions.create(LONG, {signal: abort.signal}), OpenAI.APIUserAbortError),
    );
    await until('two run and one waits', limit(3000), async () => {
      const {running, queued} = await cluster.load();
      return running === 2 && queued === 1;
    });
    await assert.rejects(client.chat.completions.create(LONG), (error) => {
      assert.ok(error instanceof OpenAI.InternalServerError);
      assert.equal(error.status, 503);
      assert.equal(error.type, 'server_error');
      assert.ok(Number(error.headers.get('retry-after')) > 0);
      return true;
    });
    abort.abort();
    await Promise.all(held);
    await until('no slot is in use', limit(1000), isIdle);
  });
});

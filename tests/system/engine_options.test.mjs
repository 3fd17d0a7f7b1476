// Options of the engine as an operator meets them: they reach llama.cpp, and wrong ones end the start with a reason.
import assert from 'node:assert/strict';
import {test} from 'node:test';

import {mlxdEnd, serve, serveUnready} from './lib/cluster.mjs';
import {FRANCE, PARIS} from './lib/facts.mjs';
import {limit, within} from './lib/wait.mjs';

const lines = (child) =>
  child.stderr
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));

test('options_of_the_engine_are_in_force_and_the_answer_is_the_same', async () => {
  const cluster = await serve(
    ...['--threads-batch', 2, '--batch-tokens', 256, '--micro-batch-tokens', 96, '--load-mode', 'read'],
    ...['--cache-type-k', 'q8_0', '--cache-type-v', 'bf16', '--flash-attention', 'on', '--no-offload-kqv'],
  );
  try {
    const open = lines(cluster.child).find((line) => line.msg === 'engine is open');
    assert.equal(open.threads, 1);
    assert.equal(open.threads_batch, 2);
    assert.equal(open.batch_tokens, 256);
    assert.equal(open.micro_batch_tokens, 96);
    const reply = await cluster.ask(FRANCE);
    assert.equal(reply.choices[0].message.content, PARIS);
  } finally {
    await cluster.stop();
  }
});

test('a_gpu_that_is_not_there_ends_the_start_at_once_and_says_what_there_is', async () => {
  const {child} = await serveUnready('--devices', 'CUDA98,CUDA99');
  try {
    const {code} = await within('the end of mlxd', limit(10000), child.ended);
    assert.equal(code, 1);
    const said = lines(child).filter((line) => /there is no GPU "CUDA98"; there are /.test(line.reason));
    assert.deepEqual(
      said.map((line) => line.msg),
      ['worker failed', 'worker-1 does not start'],
      child.output,
    );
  } finally {
    child.killTree();
  }
});

test('options_that_contradict_each_other_are_refused_with_what_would_be_right', async () => {
  const rows = [
    [['--cache-type-v', 'q8_0', '--flash-attention', 'off'], /quantized values need flash attention; set .*auto or on/],
    [['--main-gpu', 1], /is for cluster\.worker\.split_mode none/],
    [['--tensor-split', '1,1', '--split-mode', 'none'], /must be empty when cluster\.worker\.split_mode is none/],
    [['--tensor-split', '1,two'], /--tensor-split: must be a number from 0 to 1000 .*not "two"/],
    [['--micro-batch-tokens', 1024], /must not be more than cluster\.worker\.batch_tokens, 512/],
    [['--cache-type', 'q8_0'], /--cache-type: unknown option; did you mean --cache-type-/],
  ];
  for (const [flags, message] of rows) {
    const {code, stderr} = await mlxdEnd(limit(5000), 'serve', ...flags);
    assert.equal(code, 2, stderr);
    assert.match(stderr, message);
  }
});

test('devices_names_what_models_can_be_computed_on', async () => {
  const {code, stdout} = await mlxdEnd(limit(10000), 'devices');
  assert.equal(code, 0);
  const [cpu, ...gpus] = stdout.trim().split('\n');
  assert.match(cpu, /^CPU +.+, \d+ cores, \d+ MiB$/);
  assert.ok(gpus.length > 0, 'the GPUs, or that there is none');
  for (const gpu of gpus) assert.match(gpu, /^(no GPU|\S+ +.+, \d+ MiB, \d+ MiB free)$/);
  assert.equal((await mlxdEnd(limit(5000), 'devices', 'all')).code, 2);
});

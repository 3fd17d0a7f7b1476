// A folder with one good model and many broken copies of it: each broken one is refused with its reason, and the
// worker that met them all serves the good one in the same process. What no check can find is a changed weight.
import assert from 'node:assert/strict';
import {readFileSync, writeFileSync} from 'node:fs';
import path from 'node:path';
import {after, before, test} from 'node:test';

import {MODEL, mlxdEnd, serve, tempDir} from './lib/cluster.mjs';
import {limit} from './lib/wait.mjs';

const SEED = 20261126;
const GOOD = readFileSync(MODEL);
const TOKENS_AT = 780; // the key with the vocabulary
const HEADER_END = GOOD.indexOf('blk.5.ffn_down.weight') + 60;
const DATA_AT = 67040;

// The place behind a name in the header: of a key's type, or of a tensor's number of dimensions.
function behind(name) {
  const at = GOOD.indexOf(name);
  assert.ok(at > 0 && at < HEADER_END, name);
  return at + name.length;
}

function changed(change) {
  const bytes = Buffer.from(GOOD);
  change(bytes);
  return bytes;
}
const u32 = (at, value) => changed((bytes) => bytes.writeUInt32LE(value, at));
const u64 = (at, value) => changed((bytes) => bytes.writeBigUInt64LE(value, at));
const keyU32 = (key, value) => u32(behind(key) + 4, value);

// A tensor with two dimensions: 4 bytes how many, 16 of sizes, 4 of type, 8 of offset.
const TENSOR = behind('blk.2.attn_q.weight');
const ALIGNMENT = changed((bytes) => {
  bytes.write('general.alignment', behind('general.file_type') - 'general.file_type'.length);
  bytes.writeUInt32LE(48, behind('general.file_type') + 4);
});

// A key of one byte: name, type, value.
const key = (name, type, value) => {
  const bytes = Buffer.alloc(8 + name.length + 5);
  bytes.writeBigUInt64LE(BigInt(name.length));
  bytes.write(name, 8);
  bytes.writeUInt32LE(type, 8 + name.length);
  bytes[8 + name.length + 4] = value;
  return bytes;
};
// With two keys more, which take 64 bytes, so that the data stays aligned.
const NOT_CAUSAL = Buffer.concat([
  u64(16, GOOD.readBigUInt64LE(16) + 2n).subarray(0, 24),
  key('llama.attention.causal', 7, 0),
  key('general.padding_', 0, 0),
  GOOD.subarray(24),
]);

// [name of the file, its bytes, what the reason must say]
const BROKEN = [
  ['empty', Buffer.alloc(0), /not a GGUF file/],
  ['text', Buffer.from('<!DOCTYPE html>\n'.repeat(100)), /not a GGUF file/],
  ['cut-in-the-counts', GOOD.subarray(0, 12), /the file is cut off/],
  ['cut-in-the-keys', GOOD.subarray(0, 62000), /the file is cut off/],
  ['cut-in-the-tensors', GOOD.subarray(0, 65000), /tensor .* the file is cut off|ends behind the file/],
  ['cut-in-the-data', GOOD.subarray(0, GOOD.length - 1), /the file is cut off: the tensors end/],
  ['old-version', u32(4, 1), /version 1 of GGUF/],
  ['other-byte-order', u32(4, 0x03000000), /big-endian/],
  ['endless-tensors', u64(8, 1n << 63n), /9223372036854775808 tensors/],
  ['endless-keys', u64(16, 1n << 40n), /1099511627776 keys/],
  ['one-tensor-more', u64(8, 57n), /tensor/],
  ['endless-key', u64(24, (1n << 64n) - 1n), /its name has 18446744073709551615 bytes/],
  ['endless-text', u64(behind('general.name') + 4, 1n << 62n), /key "general.name".*a text of/],
  ['endless-vocabulary', u64(behind('tokenizer.ggml.tokens') + 8, 1n << 61n), /do not fit into the file/],
  ['vocabulary-of-lists', u32(behind('tokenizer.ggml.tokens') + 4, 9), /list of lists/],
  ['vocabulary-of-numbers', u32(behind('tokenizer.ggml.tokens') + 4, 4), /must be a list of texts/],
  ['alignment-48', ALIGNMENT, /general.alignment.*a power of two/],
  ['zero-size', u64(TENSOR + 4, 0n), /blk\.2\.attn_q\.weight.*dimension 0 is zero/],
  ['no-such-type', u32(TENSOR + 20, 99), /the type 99, which is unknown/],
  ['not-aligned', u64(TENSOR + 24, 17n), /not aligned to 32 bytes/],
  ['behind-the-file', u64(TENSOR + 24, 1n << 60n), /ends behind the file/],
  ['missing-layers', keyU32('llama.block_count', 40), /blk\.6\./],
  ['half-a-template', changed((bytes) => bytes.write('{%- xx', GOOD.indexOf('{%- if'))), /template/],
  ['not-causal', NOT_CAUSAL, /not a model that writes text from left to right/],
  // Only computing with it shows this one: an assertion of the engine that ends the process.
  ['not-a-number', keyU32('llama.attention.layer_norm_rms_epsilon', 0x7fc00000), /crashed \(signal 6, Aborted\)/],
];

function randomNumbers(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

// One flipped bit each; refused or served, as it happens.
const random = randomNumbers(SEED);
const flipped = (from, to) =>
  changed((bytes) => {
    bytes[from + random(to - from)] ^= 1 << random(8);
  });
const FLIPPED = [
  ['flip-counts', flipped(8, 24)],
  ['flip-keys', flipped(24, TOKENS_AT)],
  ['flip-vocabulary', flipped(TOKENS_AT, behind('tokenizer.ggml.token_type'))],
  ['flip-merges', flipped(behind('tokenizer.ggml.merges'), behind('tokenizer.ggml.bos_token_id'))],
  ['flip-tensors', flipped(behind('general.file_type'), HEADER_END)],
  ['flip-weight', flipped(DATA_AT, GOOD.length)],
];

const FRANCE = 'What is the capital of France?';
const folder = tempDir();
let cluster;
let pidsAtFirst;

async function assertServes(model) {
  const reply = await cluster.ask(FRANCE, {model});
  assert.equal(reply.choices[0].message.content, 'The capital of France is Paris.');
}

before(async () => {
  writeFileSync(path.join(folder, 'tiny-chat-q8_0.gguf'), GOOD);
  for (const [name, bytes] of [...BROKEN, ...FLIPPED]) writeFileSync(path.join(folder, `${name}.gguf`), bytes);
  cluster = await serve('--model-dir', folder, '--max-batch-size', 2, '--context-tokens', 256);
  pidsAtFirst = cluster.pids();
});
after(async () => {
  assert.deepEqual(await cluster.stop(), {code: 0, signal: null});
});

async function models() {
  const [worker] = await cluster.workers();
  return new Map(worker.models.map((model) => [model.name, model]));
}

test('each_broken_file_is_refused_with_its_reason', async () => {
  const all = await models();
  assert.equal(all.size, 1 + BROKEN.length + FLIPPED.length);
  for (const [name, , reason] of BROKEN) {
    const model = all.get(name);
    assert.equal(model.state, 'failed', name);
    assert.match(model.error, reason, name);
    assert.ok(Buffer.byteLength(model.error) <= 200, name);
  }
});

test('a_flipped_bit_is_refused_with_a_reason_or_the_model_is_served', async () => {
  const all = await models();
  for (const [name] of FLIPPED) {
    const model = all.get(name);
    if (model.state === 'failed') {
      assert.ok(model.error.length > 10, name);
      continue;
    }
    assert.equal(model.state, 'ready', name);
    const reply = await cluster.post({model: name, max_tokens: 8, messages: [{role: 'user', content: FRANCE}]});
    assert.equal(reply.status, 200, `${name}: ${reply.text}`);
  }
  assert.equal(all.get('flip-weight').state, 'ready', 'nothing can tell a wrong weight from a right one');
});

test('the_good_model_is_served_by_the_worker_that_met_all_of_them', async () => {
  const good = (await models()).get('tiny-chat');
  assert.equal(good.state, 'ready');
  assert.equal(good.error, undefined);
  await Promise.all(Array.from({length: 4}, () => assertServes('tiny-chat')));
  assert.equal(cluster.pids(), pidsAtFirst, 'no process was restarted, and no check is left');
});

test('a_request_for_a_broken_model_is_refused', async () => {
  const reply = await cluster.post({model: 'alignment-48', messages: [{role: 'user', content: 'hi'}]});
  assert.ok(reply.status >= 400, reply.text);
  assert.ok(reply.json.error.message.length > 10);
  await assertServes('tiny-chat');
});

test('check_model_tells_what_a_good_file_is', async () => {
  const result = await mlxdEnd(limit(20000), 'check-model', MODEL, '--threads', 1);
  assert.equal(result.code, 0, result.output);
  for (const line of [/architecture +llama/, /parameters +5\.0 million/, /quantization +Q8_0/, /context +2048 tokens/])
    assert.match(result.stdout, line);
  assert.match(result.stdout, /loads +yes, tried in/);
});

test('check_model_of_a_folder_tells_what_is_wrong_with_each_file', async () => {
  const result = await mlxdEnd(limit(60000), 'check-model', folder, '--model-check', 'header');
  assert.equal(result.code, 1, result.output);
  assert.match(result.stdout, /alignment-48\.gguf\n +broken +key "general.alignment"/);
  assert.equal(result.stdout.match(/\.gguf\n/g).length, 1 + BROKEN.length + FLIPPED.length);
  const crash = await mlxdEnd(limit(20000), 'check-model', path.join(folder, 'not-a-number.gguf'), '--threads', 1);
  assert.equal(crash.code, 1);
  assert.match(crash.stdout, /loads +no: loading it crashed \(signal 6, Aborted\)/);
});

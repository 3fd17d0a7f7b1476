// More models than memory for them, with real files: loaded for whoever asks, unloaded for others, warmed as told.
import assert from 'node:assert/strict';
import {copyFileSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import path from 'node:path';
import {test} from 'node:test';

import {Cluster, MODEL, mlxdEnd, serve, serveUnready, tempDir} from './lib/cluster.mjs';
import {FRANCE, PARIS} from './lib/facts.mjs';
import {limit, until} from './lib/wait.mjs';

// Each takes 53 MiB: 5 of weights, 48 of KV cache for 8 sequences of 2048 tokens.
const ROOM_FOR_ONE = 60;
const ROOM_FOR_TWO = 110;

function folderWith(...names) {
  const folder = tempDir();
  for (const name of names) copyFileSync(MODEL, path.join(folder, `${name}.gguf`));
  return folder;
}

async function modelsOf(cluster) {
  const {models, modelMemory} = await cluster.live('worker-1');
  return {...Object.fromEntries(models.map((model) => [model.name, model])), modelMemory};
}

async function states(cluster) {
  const {modelMemory, ...models} = await modelsOf(cluster);
  return Object.fromEntries(Object.entries(models).map(([name, model]) => [name, model.state]));
}

const asks = async (cluster, model) =>
  assert.equal((await cluster.ask(FRANCE, {model})).choices[0].message.content, PARIS);

test('a model without room is loaded for who asks, and the one used longest ago makes way', async () => {
  const cluster = await serve('--model-dir', folderWith('a', 'b', 'c'), '--models-memory-mb', ROOM_FOR_TWO);
  try {
    assert.deepEqual(await states(cluster), {a: 'ready', b: 'ready', c: 'unloaded'});
    assert.match(cluster.child.output, /no room to have a model warm.*\bc\b/);
    const {c, modelMemory} = await modelsOf(cluster);
    assert.equal(c.architecture, 'llama');
    assert.equal(c.quantization, 'Q8_0');
    assert.equal(c.contextTokens, 2048);
    assert.ok(c.parameters > 4e6 && c.onDemand);
    assert.ok(modelMemory.usedBytes > 100 << 20 && modelMemory.usedBytes <= modelMemory.maxBytes);
    await asks(cluster, 'a');
    await asks(cluster, 'c');
    assert.deepEqual(await states(cluster), {a: 'ready', b: 'unloaded', c: 'ready'});
    await Promise.all(['b', 'a', 'c', 'b'].map((model) => asks(cluster, model)));
    const {data} = await cluster.get('/v1/models');
    assert.deepEqual(data.map((model) => model.id).sort(), ['a', 'b', 'c']);
  } finally {
    await cluster.stop();
  }
});

test('models that are always wanted take turns where there is room for one', async () => {
  const cluster = await serve(
    ...['--model-dir', folderWith('a', 'b'), '--models-memory-mb', ROOM_FOR_ONE, '--load-patience-ms', 500],
  );
  try {
    let over = false;
    const client = async (model) => {
      let count = 0;
      for (; !over; count++) await asks(cluster, model);
      return count;
    };
    const clients = ['a', 'a', 'b', 'b'].map(client);
    await until('each to have been loaded twice', limit(20000), async () => {
      const {a, b} = await modelsOf(cluster);
      return a.loads >= 2 && b.loads >= 2;
    });
    over = true;
    for (const count of await Promise.all(clients)) assert.ok(count >= 2, `${count}`);
  } finally {
    await cluster.stop();
  }
});

test('models are warmed in the order that is told, and those that are told are pinned', async () => {
  const cluster = await serve(
    ...['--model-dir', folderWith('a', 'b', 'c'), '--models-memory-mb', ROOM_FOR_TWO],
    ...['--pre-warming-models', 'c,a', '--register-when', 'complete'],
  );
  try {
    const models = await modelsOf(cluster);
    assert.deepEqual([models.a.state, models.b.state, models.c.state], ['ready', 'unloaded', 'ready']);
    assert.ok(models.c.pinned && models.a.pinned && !models.b.pinned);
    const log = cluster.child.output;
    const at = (name) => log.search(new RegExp(`model is ready.*"?model"?[:=] ?"?${name}\\b`));
    assert.ok(at('c') >= 0 && at('c') < at('a'), log);
    const reply = await cluster.post({model: 'b', messages: [{role: 'user', content: FRANCE}]});
    assert.equal(reply.status, 500);
    assert.equal(reply.json.error.code, 'MODEL_LOAD_FAILED');
    assert.match(reply.json.error.message, /takes 53 MB.*models_memory_mb is 110.*pinned models take 106 MB/);
  } finally {
    await cluster.stop();
  }
});

test('without pre-warming the first request loads, and several at once load once', async () => {
  const cluster = await serve('--model-dir', folderWith('a'), '--no-pre-warming');
  try {
    assert.deepEqual(await states(cluster), {a: 'unloaded'});
    await Promise.all([1, 2, 3, 4].map(() => asks(cluster, 'a')));
    const {a} = await modelsOf(cluster);
    assert.equal(a.loads, 1);
    await until('the metrics', limit(5000), async () => {
      const metrics = await cluster.exposition();
      return metrics['mlx_controller_models{state="ready"}'] === 1;
    });
  } finally {
    await cluster.stop();
  }
});

test('a file that comes is served, a broken one is not, what is removed goes and may come back', async () => {
  const folder = folderWith('a');
  const cluster = await serve(
    ...['--model-dir', folder, '--model-scan-interval-ms', 100, '--pre-warming-models', 'a'],
  );
  try {
    copyFileSync(MODEL, path.join(folder, 'b.gguf'));
    writeFileSync(path.join(folder, 'half.gguf'), readFileSync(MODEL).subarray(0, 1 << 20));
    await until('the new model', limit(5000), async () => (await states(cluster)).b === 'unloaded');
    await asks(cluster, 'b');
    await until('a word about the broken one', limit(5000), () =>
      /left alone.*half\.gguf.*(cut off|behind the file)/.test(cluster.child.output),
    );
    assert.deepEqual(await states(cluster), {a: 'ready', b: 'ready'});
    rmSync(path.join(folder, 'a.gguf'));
    await until('its end', limit(5000), async () => !('a' in (await states(cluster))));
    const {data} = await cluster.get('/v1/models');
    assert.deepEqual(data.map((model) => model.id), ['b']);
    assert.equal((await cluster.post({model: 'a', messages: [{role: 'user', content: FRANCE}]})).status, 404);
    await asks(cluster, 'b');
    const loads = async () =>
      (await cluster.exposition())['mlx_controller_worker_model_loads_total{worker="worker-1"}'];
    assert.equal(await loads(), 2);
    copyFileSync(MODEL, path.join(folder, 'a.gguf'));
    await until('its return', limit(5000), async () => (await states(cluster)).a === 'ready');
    assert.ok((await modelsOf(cluster)).a.pinned);
    await until('its load in the metrics', limit(5000), async () => (await loads()) === 3);
  } finally {
    await cluster.stop();
  }
});

test('a worker whose folder has only broken files waits for a good one', async () => {
  const folder = tempDir();
  const good = readFileSync(MODEL);
  for (const [i, size] of [100, 3000, 1 << 20].entries())
    writeFileSync(path.join(folder, `broken${i}.gguf`), good.subarray(0, size));
  const {child, port, runtimeDir} = await serveUnready('--model-dir', folder, '--model-scan-interval-ms', 100);
  const cluster = new Cluster(child, port, runtimeDir);
  try {
    await until('a word about it', limit(5000), () =>
      /no model could be loaded; the worker waits/.test(cluster.child.output),
    );
    copyFileSync(MODEL, path.join(folder, 'good.gguf'));
    await until('the good one', limit(5000), async () => (await states(cluster)).good === 'unloaded');
    await asks(cluster, 'good');
  } finally {
    await cluster.stop();
  }
});

test('a name that is to be warmed and is not there is told at the start', async () => {
  const {code, output} = await mlxdEnd(
    limit(5000),
    ...['worker', '--nats', 'nats://127.0.0.1:1', '--model-dir', folderWith('a'), '--pre-warming-models', 'x'],
  );
  assert.notEqual(code, 0);
  assert.match(output, /pre_warming\.models: there is no model \\?"x/);
});

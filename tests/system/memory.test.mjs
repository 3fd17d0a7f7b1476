// Workers in a real memory control group that another process fills up: what they refuse and what they go on with.
import assert from 'node:assert/strict';
import {test} from 'node:test';

import {MLXD, MODEL, mlxdEnd} from './lib/cluster.mjs';
import {MemoryGroup} from './lib/cgroup.mjs';
import {FRANCE} from './lib/facts.mjs';
import {Parts, hasOnline} from './lib/parts.mjs';
import {limit, until, within} from './lib/wait.mjs';

const MIB = 1 << 20;
const GROUP = 512 * MIB;
/** What a helper holds beside what it was asked to, at most, and what worker and kernel take meanwhile. */
const SOFT = 0.89;
const HARD = 0.96;
const PATIENCE = ['--no-workers-timeout-ms', 50, '--queue-timeout-ms', 50];
const WORKER = ['--heartbeat-interval-ms', 200, '--check-interval-ms', 20, '--recover-after-ms', 500, '--threads', 1];
const LONG_TOKENS = 4000;

function makeGroup(t) {
  try {
    return MemoryGroup.make(t, GROUP);
  } catch (error) {
    t.skip(`no memory control group can be made here: ${error.message}`);
    return undefined;
  }
}

/** One that serves tiny-chat, with the real engine where it is built, and one with a model that takes its time. */
async function startIn(t, group) {
  const parts = await Parts.start(t, {controller: PATIENCE});
  const {stdout} = await mlxdEnd(limit(5000), '--version');
  const engine = stdout.includes('without llama.cpp') ? ['--engine', 'fake'] : ['--model', MODEL];
  const flags = ['worker', '--nats', parts.url, ...WORKER];
  parts.workers.one = group.spawn(MLXD, ...flags, '--worker-id', 'one', ...engine);
  parts.workers.slow = group.spawn(
    MLXD,
    ...[...flags, '--worker-id', 'slow', '--engine', 'fake', '--fake-step-us', 2000],
    ...['--model', 'slow=slow.gguf', '--context-tokens', 2 * LONG_TOKENS],
  );
  await hasOnline(parts.api, 'one', 'slow');
  return parts;
}

/** Until both say so themselves, and the controller has heard it. */
async function untilLevel(parts, level, retry = async () => {}) {
  for (const id of ['one', 'slow']) {
    await until(`${id} is at ${level}`, limit(5000), async () => {
      const heard = await parts.counts(id);
      const {resources} = await parts.api.live(id);
      if (resources.level === level && heard.resources.level === level) return true;
      await retry();
      throw new Error(JSON.stringify(resources));
    });
  }
  return (await parts.api.live('one')).resources;
}

/** The group uses that share of its limit then. */
function fillTo(group, share) {
  const bytes = share * GROUP - group.used();
  assert.ok(bytes > 0, `${group.used()} bytes are used already`);
  return group.hold(bytes);
}

async function ask(parts, priority) {
  const reply = await parts.api.post({messages: [{role: 'user', content: FRANCE}], max_tokens: 8, priority});
  return reply.status === 200 ? 'served' : reply.json.error.code;
}

async function askAll(parts) {
  const answers = {};
  for (const priority of ['low', 'medium', 'high']) answers[priority] = await ask(parts, priority);
  return answers;
}

const REFUSED = 'RESOURCE_LIMIT_EXCEEDED';
const SERVED = {low: 'served', medium: 'served', high: 'served'};

test('a_group_that_fills_up_stops_low_jobs_then_all_and_the_kernel_kills_nobody', async (t) => {
  const group = makeGroup(t);
  if (!group) return;
  const parts = await startIn(t, group);
  await untilLevel(parts, 'ok');
  assert.deepEqual(await askAll(parts), SERVED);

  const running = await parts.api.streamUnderWay(`[reply ${LONG_TOKENS}] long`, {model: 'slow'});
  const first = await fillTo(group, SOFT);
  const soft = await untilLevel(parts, 'soft');
  assert.ok(soft.memoryUsed >= soft.softLimit && soft.memoryUsed < soft.hardLimit, JSON.stringify(soft));
  assert.equal(soft.signal, 'cgroup');
  assert.equal(soft.softLimit, Math.floor(GROUP * 0.85));
  assert.equal(soft.hardLimit, Math.floor(GROUP * 0.93));
  assert.equal(soft.canAcceptRequest, true);
  assert.deepEqual(await askAll(parts), {...SERVED, low: REFUSED});

  // A worker that gets there first gives memory back, and the group is filled up again.
  const held = [first, await fillTo(group, HARD)];
  const hard = await untilLevel(parts, 'hard', async () => {
    if (group.used() < HARD * GROUP - 4e6) held.push(await fillTo(group, HARD));
  });
  // The level holds for a while; the kernel may have dropped mapped pages of the group since it was reached.
  assert.ok(hard.memoryUsed > hard.softLimit && hard.memoryUsed < GROUP, JSON.stringify(hard));
  assert.equal(hard.canAcceptRequest, false);
  assert.deepEqual(await askAll(parts), {low: REFUSED, medium: REFUSED, high: REFUSED});
  const metrics = await parts.api.exposition();
  assert.equal(metrics['mlx_controller_worker_memory_level{worker="one"}'], 2);

  const ended = await within('the end of the stream', limit(30000), running.ended);
  assert.match(ended.text, /"finish_reason":"stop"[^]*\[DONE\]/);
  assert.ok(ended.text.split('\n\n').length > LONG_TOKENS / 2, 'all of it came');
  assert.equal((await parts.api.live('slow')).load.jobsFinished, 1);
  assert.notEqual((await parts.api.live('slow')).resources.level, 'ok');

  for (const child of held) {
    child.killTree();
    await child.ended;
  }
  await untilLevel(parts, 'ok');
  assert.deepEqual(await askAll(parts), SERVED);
  assert.deepEqual(group.harm(), {killed: 0, hits: 0});
  for (const level of ['soft', 'hard', 'ok'])
    assert.match(parts.workers.one.stderr, new RegExp(`"level":"${level}","signal":"\\w+","numbers":"\\w+: \\d+ MiB`));
  await parts.stop();
});

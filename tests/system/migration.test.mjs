// The real engine: a stream whose worker is killed in the middle goes on at another one.
import assert from 'node:assert/strict';
import {test} from 'node:test';

import {isUp, serve} from './lib/cluster.mjs';
import {readStream} from './lib/http.mjs';
import {limit, until} from './lib/wait.mjs';

const KILLS = 4;

test('a_story_goes_on_at_another_worker_each_time_that_its_worker_is_killed', async (t) => {
  const cluster = await serve('--workers', 2);
  t.after(() => cluster.child.killTree());
  const fields = {temperature: 0, max_tokens: 150, stream_options: {include_usage: true}};
  const prompt = 'Tell me a story about a fox.';
  const whole = await cluster.stream(prompt, fields);
  for (let i = 0; i < KILLS; i++) {
    const pids = (await cluster.workers()).map((worker) => worker.pid);
    // At once, or the story is over before we know who tells it.
    const stopAll = () => pids.forEach((pid) => process.kill(pid, 'SIGSTOP'));
    const stream = await cluster.streamUnderWay(prompt, fields, 3, stopAll);
    const {requests} = await cluster.get('/api/controller/requests?state=active');
    assert.equal(requests.length, 1, 'it is still being told');
    const victim = (await cluster.workers()).find((worker) => worker.workerId === requests[0].selectedWorker);
    process.kill(victim.pid, 'SIGKILL');
    for (const pid of pids.filter((pid) => pid !== victim.pid)) process.kill(pid, 'SIGCONT');
    const got = readStream((await stream.ended).text);
    assert.equal(got.error, undefined);
    assert.equal(got.finish, 'stop');
    assert.equal(got.usage.prompt_tokens, whole.usage.prompt_tokens);
    // With quantized weights the words behind the cut may be others; they are words of the same story.
    assert.equal(got.text.slice(0, 20), whole.text.slice(0, 20));
    assert.match(got.text, /\bfox\b.*[.!]$/su);
    const isAlive = (worker) => isUp(worker) && worker.pid !== victim.pid;
    await until('both are up again', limit(10000), async () => (await cluster.workers()).filter(isAlive).length === 2);
  }
  assert.equal((await cluster.get('/api/controller/metrics')).requests.migrations, KILLS);
  await cluster.stop();
});

// A cluster of processes that are started one by one on a nats-server of their own, as over several machines.
import assert from 'node:assert/strict';

import {Api, freePort, isUp, mlxd} from './cluster.mjs';
import {Child} from './process.mjs';
import {limit, until, within} from './wait.mjs';

export async function startNats(port, ...more) {
  const nats = new Child('nats-server', ['-a', '127.0.0.1', '-p', String(port), ...more]);
  try {
    await until('nats-server listens', limit(5000), () => nats.stderr.includes('Server is ready'));
  } catch (error) {
    nats.killTree();
    throw new Error(`${error.message}\n${nats.output}`);
  }
  return nats;
}

export function startWorker(url, id, ...flags) {
  return mlxd('worker', '--nats', url, '--worker-id', id, '--threads', 1, ...flags);
}

/** {child, api}, once it answers. It may be given its --port. */
export async function startController(url, ...flags) {
  const at = flags.indexOf('--port');
  const port = at >= 0 ? flags[at + 1] : await freePort();
  const child = mlxd('controller', '--nats', url, '--port', port, ...flags);
  const api = new Api(port);
  try {
    await until('the controller answers', limit(10000), () => {
      if (child.result) throw new Error(child.output);
      return api.get('/health');
    });
  } catch (error) {
    child.killTree();
    throw new Error(`${error.message}\n${child.output}`);
  }
  return {child, api};
}

export const online = async (api) =>
  (await api.workers())
    .filter(isUp)
    .map((worker) => worker.workerId)
    .sort();

export const hasOnline = (api, ...ids) =>
  until(`online: ${ids}`, limit(10000), async () => {
    if ((await online(api)).join() === ids.join()) return true;
    throw new Error((await api.workers()).map((worker) => `${worker.workerId} ${worker.status}`).join());
  });

/** The signal, and how it ended. */
export async function end(child, signal = 'SIGTERM') {
  child.signal(signal);
  const result = await within(`the end of ${child.command}`, limit(5000), child.ended);
  await child.assertSound();
  return result;
}

/** A nats-server, one controller and fake workers, by their ids. */
export class Parts {
  /**
   * `workers` has the flags of each worker by its id, `all` those of all of them; `controller` those of the
   * controller. Heartbeats are fast, so that silence shows soon. Returns when every worker is online. What runs at the end of the test `t` is killed.
   */
  static async start(t, {workers = {}, all = [], controller = [], heartbeatMs = 200}) {
    const parts = new Parts();
    t.after(() => parts.kill());
    const heartbeats = ['--heartbeat-interval-ms', heartbeatMs];
    parts.all = ['--engine', 'fake', ...heartbeats, ...all];
    parts.natsPort = await freePort();
    parts.url = `nats://127.0.0.1:${parts.natsPort}`;
    parts.nats = await startNats(parts.natsPort);
    for (const [id, flags] of Object.entries(workers)) parts.addWorker(id, ...flags);
    ({child: parts.controller, api: parts.api} = await startController(
      parts.url,
      ...heartbeats,
      ...controller,
    ));
    await hasOnline(parts.api, ...Object.keys(workers).sort());
    return parts;
  }

  workers = {};

  /** Another worker; not waited for. A worker of the same id that has ended may be started again. */
  addWorker(id, ...flags) {
    this.workers[id] = startWorker(this.url, id, ...this.all, ...flags);
    return this.workers[id];
  }

  /** The nats-server again, on the port where it was. */
  async restartNats() {
    this.nats = await startNats(this.natsPort);
  }

  /** Everything that was started and has not been replaced. */
  get children() {
    return [this.controller, ...Object.values(this.workers), this.nats].filter(Boolean);
  }

  kill() {
    for (const child of this.children) child.killTree();
  }

  /** Everything that still runs ends in order and with 0. */
  async stop() {
    for (const child of [this.controller, ...Object.values(this.workers)])
      if (!child.result) assert.deepEqual(await end(child), {code: 0, signal: null}, child.output);
    await end(this.nats);
  }

  /** The process ids of controller and workers, to see later that none was restarted. */
  get pids() {
    return [this.controller, ...Object.values(this.workers)].map((child) => child.pid).join(' ');
  }

  /** How the controller counts this worker: {jobsSent, jobsFailed, leases, status...}. */
  async counts(id) {
    return (await this.api.workers()).find((worker) => worker.workerId === id);
  }

  /** The breaker of the model on that worker, which is what a failing engine opens. */
  async breaker(id) {
    return (await this.api.get('/api/controller/circuit-breakers'))[id].models['tiny-chat'];
  }

  /** Once every worker has no job and the controller no lease. */
  allIdle(ms = limit(3000)) {
    return until('no lease, and nothing runs or waits on a worker', ms, async () => {
      const all = await this.api.workers();
      if (all.some((worker) => worker.leases > 0)) throw new Error(JSON.stringify(all));
      const {running, queued} = await this.api.load();
      return running + queued === 0;
    });
  }
}

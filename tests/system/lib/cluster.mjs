// `mlxd` as a running cluster: started with flags, asked over HTTP, ended with nothing left behind.
import {mkdtempSync, readdirSync, rmSync, existsSync} from 'node:fs';
import net from 'node:net';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {fileURLToPath} from 'node:url';

import {readStream, send} from './http.mjs';
import {Child} from './process.mjs';
import {limit, until, within} from './wait.mjs';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
export const MODEL = path.join(ROOT, 'models/tiny-chat-q8_0.gguf');

function findMlxd() {
  const tried = [process.env.MLXD, path.join(ROOT, 'build/dev/bin/mlxd')].filter(Boolean);
  const found = tried.find((file) => existsSync(file));
  if (!found)
    throw new Error(`no mlxd: set MLXD to its path, or build it (make build); tried ${tried.join(', ')}`);
  return path.resolve(found);
}
export const MLXD = findMlxd();

/** It takes jobs, maybe few at first: a worker that has just come back is "degraded" for a while. */
export const isUp = (worker) => ['online', 'degraded'].includes(worker.status);

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const {port} = server.address();
      server.close(() => resolve(port));
    });
  });
}

const tempDirs = [];
process.on('exit', () => tempDirs.forEach((dir) => rmSync(dir, {recursive: true, force: true})));

export function tempDir() {
  const dir = mkdtempSync(path.join(tmpdir(), 'mlxd-system-'));
  tempDirs.push(dir);
  return dir;
}

/** Starts `mlxd ARGS...` without waiting for anything. */
export function mlxd(...args) {
  return new Child(MLXD, args.map(String), {cwd: ROOT});
}

/** Runs `mlxd ARGS...` to its end: {code, signal, stdout, stderr, output}. */
export async function mlxdEnd(ms, ...args) {
  const child = mlxd(...args);
  try {
    const result = await within(
      `the end of ${child.command}`,
      ms,
      child.closed.then(() => child.result),
    );
    return {...result, stdout: child.stdout, stderr: child.stderr, output: child.output, child};
  } finally {
    child.killTree();
  }
}

/** One HTTP face of a cluster, with the calls that tests make. */
export class Api {
  constructor(port) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
  }

  send(options) {
    return send({port: this.port, ...options});
  }

  async get(path) {
    const reply = await this.send({path});
    if (reply.status !== 200) throw new Error(`GET ${path}: ${reply.status} ${reply.text}`);
    return reply.json;
  }

  /** POST /v1/chat/completions; `fields` win over a small default request. */
  post(fields, options = {}) {
    const body = {model: 'tiny-chat', temperature: 0, ...fields};
    return this.send({method: 'POST', path: '/v1/chat/completions', body, ...options});
  }

  /** One user message, answered whole: the parsed reply. Throws unless it is a 200. */
  async ask(content, fields = {}) {
    const reply = await this.post({messages: [{role: 'user', content}], ...fields});
    if (reply.status !== 200) throw new Error(`${reply.status} ${reply.text}`);
    return reply.json;
  }

  /** The same, streamed; see readStream. */
  async stream(content, fields = {}, options = {}) {
    const messages = [{role: 'user', content}];
    const reply = await this.post({messages, stream: true, ...fields}, options);
    if (reply.status !== 200) throw new Error(`${reply.status} ${reply.text}`);
    return {...readStream(reply.text), raw: reply.text, headers: reply.headers};
  }

  /**
   * A stream of which at least `chunks` chunks have come: {text(), ended}. `text` gives the raw events so far; `ended`
   * gives the reply, or the error with which the connection broke.
   */
  async streamUnderWay(content, fields = {}, chunks = 3, then = () => {}) {
    let raw = '';
    let isUnderWay = false;
    const onText = (piece) => {
      raw += piece;
      if (isUnderWay || raw.split('\n\n').length <= chunks) return;
      isUnderWay = true;
      then();
    };
    const ended = this.post({messages: [{role: 'user', content}], stream: true, ...fields}, {onText}).catch(
      (error) => error,
    );
    await until(`${chunks} chunks of the stream`, limit(5000), () => isUnderWay);
    return {ended, text: () => raw};
  }

  /** As registered, with the numbers of the last heartbeat. */
  workers() {
    return this.get('/api/cluster/workers');
  }

  /** What the controller remembers of a request: its own id for it, as in the reply. */
  record(id) {
    return this.get(`/api/controller/requests/${id}`);
  }

  /** What GET /metrics shows: numbers by name with labels, as they stand there. */
  async exposition() {
    const reply = await this.send({path: '/metrics'});
    const lines = reply.text.split('\n').filter((line) => line && !line.startsWith('#'));
    return Object.fromEntries(
      lines.map((line) => {
        const at = line.lastIndexOf(' ');
        return [line.slice(0, at), Number(line.slice(at + 1))];
      }),
    );
  }

  /** The numbers of this moment, from the worker itself. */
  async live(workerId) {
    const one = await this.get(`/api/cluster/workers/${workerId}`);
    if (one.live !== true) throw new Error(`worker ${workerId} did not answer: ${JSON.stringify(one)}`);
    return one;
  }

  /** Sums over the live numbers of all workers. */
  async load() {
    const sum = {running: 0, queued: 0};
    for (const worker of await this.workers()) {
      const {load} = await this.live(worker.workerId);
      sum.running += load.running;
      sum.queued += load.queued;
    }
    return sum;
  }
}

/** A running `mlxd serve`. */
export class Cluster extends Api {
  constructor(child, port, runtimeDir) {
    super(port);
    this.child = child;
    this.runtimeDir = runtimeDir;
  }

  get ready() {
    return this.child.stdout;
  }

  /** The child process whose command fits: 'nats', 'controller' or 'worker'. */
  processes(role) {
    const pattern = {nats: /nats-server/, controller: /mlxd\S* controller/, worker: /mlxd\S* worker/}[role];
    return this.child.children().filter((one) => pattern.test(one.command));
  }

  /** Ids of everything that runs, to see later that nothing was restarted. */
  pids() {
    return this.child
      .children()
      .map((one) => one.pid)
      .sort((a, b) => a - b)
      .join(' ');
  }

  filesLeft() {
    return readdirSync(this.runtimeDir);
  }

  /** SIGTERM and wait; {code, signal}. What is left after the limit is killed, and that is an error. */
  async stop(signal = 'SIGTERM', ms = limit(5000)) {
    try {
      this.child.children();
      this.child.signal(signal);
      const result = await within(`the end of mlxd after ${signal}`, ms, this.child.ended);
      const left = this.child.survivors();
      if (left.length > 0) throw new Error(`left behind: ${left.map((one) => one.command).join('; ')}`);
      await within('the end of all output', limit(1000), this.child.assertSound());
      return result;
    } finally {
      this.child.killTree();
    }
  }
}

/** `mlxd serve` with flags, ready to take requests. */
export async function serve(...flags) {
  const {child, port, runtimeDir} = await serveUnready(...flags);
  try {
    const cluster = new Cluster(child, port, runtimeDir);
    await until('the ready block', limit(20000), () => {
      if (child.result) throw new Error(`mlxd ended: ${JSON.stringify(child.result)}`);
      return /curl[^]*\n/.test(child.stdout);
    });
    return cluster;
  } catch (error) {
    child.killTree();
    throw new Error(`${error.message}\n${child.output}`);
  }
}

/** The same, but returned at once: {child, port, runtimeDir}. Flags win over those that are set here. */
export async function serveUnready(...flags) {
  const given = flags.map(String);
  const runtimeDir = tempDir();
  const at = given.indexOf('--port');
  const port = at >= 0 ? Number(given[at + 1]) : await freePort();
  // One computing thread: several wait for each other in spin loops, and when something else uses a core, each
  // token takes a hundred times as long.
  const own = ['--port', port, '--runtime-dir', runtimeDir, '--threads', 1];
  return {child: mlxd('serve', ...own, ...given), port, runtimeDir};
}

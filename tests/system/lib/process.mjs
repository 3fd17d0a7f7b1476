// Child processes that never outlive the test, and what /proc says about them.
import {spawn} from 'node:child_process';
import {readdirSync, readFileSync} from 'node:fs';

/** [pid, ppid, start time, state] of every process. A start time tells a process from a later one of the same id. */
function processes() {
  const found = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const one = look(Number(name));
    if (one) found.push(one);
  }
  return found;
}

function look(pid) {
  let stat;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return {pid, state: fields[0], ppid: Number(fields[1]), started: fields[19]};
}

/** Whether that very process still runs. A zombie does not: it only waits for its parent to look. */
export function isAlive({pid, started}) {
  const now = look(pid);
  return now !== null && now.started === started && now.state !== 'Z' && now.state !== 'X';
}

export function commandOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').trim();
  } catch {
    return '';
  }
}

/** All living processes below `pid`, without itself. */
export function descendants(pid) {
  const all = processes().filter((one) => one.state !== 'Z' && one.state !== 'X');
  const below = [];
  let parents = new Set([pid]);
  while (parents.size > 0) {
    const next = all.filter((one) => parents.has(one.ppid));
    below.push(...next);
    parents = new Set(next.map((one) => one.pid));
  }
  return below.map((one) => ({...one, command: commandOf(one.pid)}));
}

// Every child of this test file with all that was ever seen below it, so that nothing is left when it ends.
const running = new Set();

function killAll() {
  for (const child of running) child.killTree();
}
process.on('exit', killAll);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

const OUTPUT_MAX = 16 * 1024 * 1024;

/** A program under test: what it printed, how it ended. */
export class Child {
  constructor(program, args, options = {}) {
    this.command = [program, ...args].join(' ');
    this.stdout = '';
    this.stderr = '';
    this.family = new Map();
    this.process = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {...process.env, ...options.env},
      cwd: options.cwd,
    });
    this.pid = this.process.pid;
    for (const name of ['stdout', 'stderr']) {
      this.process[name].setEncoding('utf8');
      this.process[name].on('data', (text) => {
        if (this[name].length < OUTPUT_MAX) this[name] += text;
      });
    }
    /** {code, signal}; resolves when the process has ended. */
    this.ended = new Promise((resolve, reject) => {
      this.process.on('error', reject);
      this.process.on('exit', (code, signal) => {
        this.result = {code, signal};
        resolve(this.result);
      });
    });
    this.ended.catch(() => {});
    /** Resolves when in addition all output was read, which needs every process that shares it to be gone. */
    this.closed = new Promise((resolve) => this.process.on('close', resolve));
    running.add(this);
  }

  signal(name) {
    this.process.kill(name);
  }

  /** The processes below it now; they are remembered, for survivors(). */
  children() {
    const now = this.result ? [] : descendants(this.pid);
    for (const one of now) this.family.set(`${one.pid}/${one.started}`, one);
    return now;
  }

  /** Those that were ever seen below it and still run. */
  survivors() {
    this.children();
    return [...this.family.values()].filter(isAlive);
  }

  killTree() {
    const left = this.survivors();
    if (!this.result) this.process.kill('SIGKILL');
    for (const one of left) {
      try {
        if (isAlive(one)) process.kill(one.pid, 'SIGKILL');
      } catch {
        // It ended by itself in this moment.
      }
    }
    running.delete(this);
  }

  /** Throws what a sanitizer found in it or in a process below it: leaks come out at the very end. */
  async assertSound() {
    await this.closed;
    const at = this.stderr.search(/^.*(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|: runtime error: )/m);
    if (at >= 0) throw new Error(`${this.command}\n${this.stderr.slice(at, at + 6000)}`);
  }

  /** What it said, for the message of a failed test. */
  get output() {
    return `$ ${this.command}\n${this.stdout}${this.stderr.slice(-6000)}`;
  }
}

// A memory control group of a test's own, of either version of the kernel's interface, and what is charged to it.
import {existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync} from 'node:fs';
import path from 'node:path';

import {Child} from './process.mjs';
import {limit, until} from './wait.mjs';

const readIf = (file) => (existsSync(file) ? readFileSync(file, 'utf8') : '');

/** The folder of this process's own group: of version 1, with the memory controller, or of version 2. */
function ownFolder(version) {
  const isIt = version === 2 ? /^0::(.*)$/m : /^\d+:(?:[^:\n]*,)?memory(?:,[^:\n]*)?:(.*)$/m;
  const group = readIf('/proc/self/cgroup').match(isIt)?.[1];
  for (const line of readIf('/proc/self/mountinfo').split('\n')) {
    const [, , , top, point, ...rest] = line.split(' ');
    const [type, , options] = rest.slice(rest.indexOf('-') + 1);
    const fits = version === 2 ? type === 'cgroup2' : type === 'cgroup' && options.split(',').includes('memory');
    if (fits && group !== undefined && top === '/') return path.join(point, group);
  }
  return undefined;
}

/** Where a group can be made: {version, parent}, or undefined. */
function findParent() {
  const v2 = ownFolder(2);
  // A group of version 2 with processes in it has no children with controllers: ours goes beside it.
  const parent = v2 && path.dirname(path.join(v2, 'x', existsSync(path.join(v2, 'memory.current')) ? '..' : ''));
  if (parent && /\bmemory\b/.test(readIf(path.join(parent, 'cgroup.subtree_control')))) return {version: 2, parent};
  const v1 = ownFolder(1);
  return v1 && {version: 1, parent: v1};
}

export class MemoryGroup {
  /** A group with that limit, gone with the test `t`; throws with a reason where none can be made. */
  static make(t, bytes) {
    const found = findParent();
    if (!found) throw new Error('there is no memory control group that may have children');
    const group = new MemoryGroup();
    group.version = found.version;
    group.folder = path.join(found.parent, `mlxd-test-${process.pid}`);
    mkdirSync(group.folder);
    t.after(() => group.remove());
    writeFileSync(group.file(group.version === 2 ? 'memory.max' : 'memory.limit_in_bytes'), String(bytes));
    return group;
  }

  children = [];

  file(name) {
    return path.join(this.folder, name);
  }

  /** A program that is in the group from its first instruction on. */
  spawn(program, ...args) {
    const join = 'echo $$ > "$0" && exec "$@"';
    const child = new Child('/bin/sh', ['-c', join, this.file('cgroup.procs'), program, ...args.map(String)]);
    this.children.push(child);
    return child;
  }

  /** A process in it that holds so many bytes until it ends. */
  async hold(bytes) {
    const code = `const held = Buffer.alloc(${Math.round(bytes)}, 1); console.log('held'); setInterval(() => held, 1e6)`;
    const child = this.spawn(process.execPath, '-e', code);
    await until('it holds the memory', limit(10000), () => child.stdout.includes('held'));
    return child;
  }

  /** Bytes, without pages of files that were not touched lately. */
  used() {
    const [usage, key] = this.version === 2 ? ['memory.current', 'inactive_file'] : ['memory.usage_in_bytes', 'total_inactive_file'];
    const stat = readFileSync(this.file('memory.stat'), 'utf8');
    return Number(readFileSync(this.file(usage), 'utf8')) - Number(stat.match(new RegExp(`^${key} (\\d+)$`, 'm'))[1]);
  }

  /** How often the kernel killed a process of the group for its memory, and how often the limit was hit. */
  harm() {
    const text = readFileSync(this.file(this.version === 2 ? 'memory.events' : 'memory.oom_control'), 'utf8');
    const number = (key) => Number(text.match(new RegExp(`^${key} (\\d+)$`, 'm'))?.[1] ?? 0);
    const hits = this.version === 2 ? number('max') : Number(readFileSync(this.file('memory.failcnt'), 'utf8'));
    return {killed: number('oom_kill'), hits};
  }

  async remove() {
    for (const child of this.children) child.killTree();
    await until('the group is empty', limit(5000), () => {
      rmdirSync(this.folder);
      return true;
    });
  }
}

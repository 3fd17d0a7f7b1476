// A worker that speaks docs/PROTOCOL.md over a bare socket to NATS, and says what a test wants it to say.
import net from 'node:net';

import {limit, until} from './wait.mjs';

const INCARNATION = 'liar00000000';

export class Liar {
  /** Registers as a ready worker of tiny-chat; `answer(job)` gives the events of a job, without `r` and `a`. */
  static async start(t, natsPort, workerId, answer) {
    const liar = new Liar();
    Object.assign(liar, {workerId, answer, heard: Buffer.alloc(0), jobs: 0});
    liar.socket = net.connect({host: '127.0.0.1', port: natsPort});
    liar.socket.on('error', () => {}); // NATS may end first
    liar.socket.on('data', (bytes) => liar.hear(bytes));
    t.after(() => {
      clearInterval(liar.beating);
      liar.socket.destroy();
    });
    liar.socket.write('CONNECT {"verbose":false}\r\n');
    liar.socket.write(`SUB inference.${workerId} 1\r\nSUB worker.${workerId}.control 2\r\nPING\r\n`);
    await until('NATS answers', limit(2000), () => liar.ponged);
    liar.publish('worker.register', liar.info);
    liar.beating = setInterval(() => liar.publish('worker.heartbeat', liar.info), 50);
    return liar;
  }

  get info() {
    const models = [{name: 'tiny-chat', state: 'ready', contextTokens: 4096, slots: 8}];
    return {v: 1, workerId: this.workerId, incarnation: INCARNATION, phase: 'ready', models};
  }

  publish(subject, message) {
    const text = JSON.stringify(message);
    this.socket.write(`PUB ${subject} ${Buffer.byteLength(text)}\r\n${text}\r\n`);
  }

  /** Takes the lines and messages that are complete. */
  hear(bytes) {
    this.heard = Buffer.concat([this.heard, bytes]);
    for (;;) {
      const end = this.heard.indexOf('\r\n');
      if (end < 0) return;
      const words = this.heard.toString('latin1', 0, end).split(' ');
      const isMessage = words[0] === 'MSG';
      const size = isMessage ? Number(words.at(-1)) + 2 : 0;
      if (this.heard.length < end + 2 + size) return;
      const payload = this.heard.subarray(end + 2, end + size);
      this.heard = this.heard.subarray(end + 2 + size);
      if (words[0] === 'PING') this.socket.write('PONG\r\n');
      else if (words[0] === 'PONG') this.ponged = true;
      else if (isMessage) this.take(words, payload);
    }
  }

  take([, subject, , reply], payload) {
    if (!subject.startsWith('inference.')) return this.publish(reply, this.info);
    const job = JSON.parse(payload.toString('utf8'));
    this.jobs++;
    const ev = this.answer(job).map((event) => ({...event, r: job.request, a: job.attempt}));
    return this.publish(`reply.${job.controller}.events.${this.workerId}`, {
      v: 1,
      w: this.workerId,
      inc: INCARNATION,
      ev,
    });
  }
}

// A client on a bare socket, for what no HTTP library would send.
import net from 'node:net';

import {until} from './wait.mjs';

/** A connection to 127.0.0.1:port that keeps all it hears in `text`. */
export class RawClient {
  static async connect(port) {
    const client = new RawClient();
    client.text = '';
    client.ended = false;
    client.socket = net.connect({host: '127.0.0.1', port, allowHalfOpen: true});
    client.socket.setEncoding('utf8');
    client.socket.on('data', (text) => (client.text += text));
    client.socket.on('end', () => (client.ended = true));
    client.socket.on('close', () => (client.ended = true));
    client.socket.on('error', (error) => (client.error = error));
    await new Promise((resolve, reject) => {
      client.socket.once('connect', resolve);
      client.socket.once('error', reject);
    });
    return client;
  }

  write(text) {
    this.socket.write(text);
  }

  /** Sends in turns as the other side takes them, until all is sent or the connection is over. */
  async pour(piece, times) {
    for (let i = 0; i < times && !this.ended && !this.error && this.socket.writable; i++) {
      if (this.socket.write(piece)) continue;
      await new Promise((resolve) => {
        this.socket.once('drain', resolve);
        this.socket.once('close', resolve);
        this.socket.once('end', resolve);
      });
    }
  }

  hears(pattern, ms) {
    return until(`${pattern} on the socket`, ms, () => this.text.match(pattern));
  }

  isOver(ms) {
    return until('the end of the connection', ms, () => this.ended);
  }

  close() {
    this.socket.destroy();
  }
}

export function chatBytes(fields, headers = '') {
  const body = JSON.stringify({model: 'tiny-chat', temperature: 0, ...fields});
  return (
    'POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n' +
    `Content-Length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`
  );
}

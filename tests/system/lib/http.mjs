// A plain HTTP client: each request has a connection of its own unless an agent is passed, nothing is retried.
import http from 'node:http';

/**
 * Sends one request to 127.0.0.1:port. `body` is a string, a Buffer or a value that is written as JSON. Returns
 * {status, headers, text, json}: json is undefined when the body is none. `onText` gets each piece as it comes.
 */
export function send({port, method = 'GET', path = '/', headers = {}, body, signal, agent = false, onText}) {
  return new Promise((resolve, reject) => {
    const raw = typeof body === 'string' || Buffer.isBuffer(body) || body === undefined;
    const data = raw ? body : JSON.stringify(body);
    const head = {...(data === undefined ? {} : {'content-type': 'application/json'}), ...headers};
    const options = {host: '127.0.0.1', port, method, path, headers: head, agent, signal};
    const request = http.request(options, (response) => {
      const pieces = [];
      response.on('data', (piece) => {
        pieces.push(piece);
        onText?.(piece.toString('utf8'), piece);
      });
      response.on('error', reject);
      response.on('end', () => resolve(reply(response, Buffer.concat(pieces))));
    });
    request.on('error', reject);
    request.end(data);
  });
}

function reply(response, bytes) {
  const text = bytes.toString('utf8');
  let json;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return {status: response.statusCode, headers: response.headers, bytes, text, json};
}

/** The events of a text/event-stream body: the text after "data: " of each. Throws on anything else in it. */
export function sseEvents(text) {
  if (!text.endsWith('\n\n'))
    throw new Error(`the stream does not end with an empty line: ${text.slice(-80)}`);
  return text
    .slice(0, -2)
    .split('\n\n')
    .map((event) => {
      if (!event.startsWith('data: ') || event.includes('\n')) throw new Error(`not one data line: ${event}`);
      return event.slice('data: '.length);
    });
}

/** {chunks, text, finish, usage}: what a stream of chat chunks says; it must end with [DONE]. */
export function readStream(text) {
  const events = sseEvents(text);
  if (events.at(-1) !== '[DONE]') throw new Error(`the last event is not [DONE]: ${events.at(-1)}`);
  const chunks = events.slice(0, -1).map((event) => JSON.parse(event));
  const contents = chunks.flatMap((chunk) => chunk.choices?.[0]?.delta?.content || []);
  const finishes = chunks.flatMap((chunk) => chunk.choices?.[0]?.finish_reason ?? []);
  return {
    events,
    chunks,
    contents,
    text: contents.join(''),
    finish: finishes.length === 1 ? finishes[0] : finishes,
    usage: chunks.find((chunk) => chunk.usage)?.usage,
    error: chunks.find((chunk) => chunk.error)?.error,
  };
}

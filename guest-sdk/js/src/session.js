// What held sessions see and use: events, and the client's end. The WIT items are `types.event` and `types.next`.

import { host } from './errors.js';
import { bytes, fromWit, toWit } from './fields.js';

/** Ends a session when it is returned from a callback; nothing, or undefined, waits for the next event. */
export class Stop {
  constructor(trailers = {}) {
    this.trailers = trailers;
  }
}

/** Writes a response body. */
export class Writer {
  #raw;

  constructor(raw) {
    this.#raw = raw;
  }

  write(chunk) {
    host(() => this.#raw.write(bytes(chunk)));
  }
}

/** Sends on a WebSocket. */
export class Sender {
  #raw;

  constructor(raw) {
    this.#raw = raw;
  }

  send(message) {
    const tag = typeof message === 'string' ? 'text' : 'binary';
    host(() => this.#raw.send({ tag, val: message }));
  }

  close(code = 1000, reason = '') {
    this.#raw.close(code, reason);
  }
}

/** Sends server-sent events (WHATWG HTML, section 9.2). Text from elsewhere cannot start a field of its own. */
export class SseWriter {
  #out;

  constructor(out) {
    this.#out = out;
  }

  send(data, { event, id } = {}) {
    this.#out.write(`${field('event', event)}${field('id', id)}${lines('data: ', data)}\n`);
  }

  comment(text) {
    this.#out.write(`${lines(': ', text)}\n`);
  }

  retry(milliseconds) {
    this.#out.write(`retry: ${milliseconds}\n\n`);
  }
}

function field(name, value) {
  if (value === undefined) return '';
  if (/[\r\n\0]/.test(value)) {
    throw new RangeError(`the ${name} of a server-sent event cannot contain line breaks or U+0000`);
  }
  return `${name}: ${value}\n`;
}

function lines(prefix, text) {
  return text
    .split(/\r\n|\r|\n/)
    .map((line) => `${prefix}${line}\n`)
    .join('');
}

/** The contract's event. */
export function event({ tag, val }) {
  switch (tag) {
    case 'message':
      return { type: 'message', topic: val.topic, payload: val.payload, missed: val.missed };
    case 'timer':
      return { type: 'timer', id: val };
    case 'body':
      return { type: 'body', data: val };
    case 'body-end':
      return { type: 'body-end', trailers: fromWit(val) };
    case 'drain':
      return { type: 'drain', milliseconds: Number(val) };
    default:
      return { type: 'disconnect', reason: val };
  }
}

/** The contract's `next`. */
export function next(step) {
  if (step === undefined) return { tag: 'continue' };
  if (step instanceof Stop) return { tag: 'stop', val: toWit(step.trailers) };
  throw new TypeError('a callback returns nothing or a Stop');
}

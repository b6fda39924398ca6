// What a handler answers: the five shapes of a response.

import { SseWriter, Stop } from './session.js';

/** A response that is complete when it is returned. */
export class Buffered {
  constructor(body = '', { status = 200, headers = {}, trailers = {} } = {}) {
    Object.assign(this, { body, status, headers, trailers });
  }
}

/** A value as JSON. */
export function json(value, { status = 200, headers = {} } = {}) {
  const pairs = typeof headers[Symbol.iterator] === 'function' ? [...headers] : Object.entries(headers);
  return new Buffered(JSON.stringify(value), { status, headers: [['content-type', 'application/json'], ...pairs] });
}

/** A response whose body is written piece by piece, from an iterable, which may be async. */
export class Stream {
  constructor(chunks, { status = 200, headers = {} } = {}) {
    Object.assign(this, { chunks, status, headers });
  }
}

/** A response that is held open and driven by events. */
export class EventLoop {
  constructor(session, { status = 200, headers = {}, bodyEvents = false } = {}) {
    const onEvent = typeof session === 'function' ? session : (event, out) => session.onEvent(event, out);
    Object.assign(this, { onEvent, status, headers, bodyEvents });
  }
}

/** A held response that sends server-sent events. */
export function sse(session) {
  const headers = { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' };
  return new EventLoop((event, out) => session(event, new SseWriter(out)), { headers });
}

/** A response whose body is a file below a granted directory. */
export class SendFile {
  constructor(directory, path, { status = 200, headers = {}, range } = {}) {
    Object.assign(this, { directory, path, status, headers, range });
  }
}

/** The acceptance of a WebSocket handshake (RFC 6455, 8441 or 9220). */
export class WebSocket {
  constructor(session, { headers = {}, subprotocol } = {}) {
    const handler = typeof session === 'function' ? { onMessage: session } : session;
    Object.assign(this, { handler: { onOpen() {}, onMessage() {}, onEvent: closeOnDrain, ...methods(handler) }, headers, subprotocol });
  }
}

/** The handler's own callbacks, bound to it: it may be an instance of a class. */
function methods(handler) {
  const names = ['onOpen', 'onMessage', 'onEvent'].filter((name) => name in handler);
  return Object.fromEntries(names.map((name) => [name, handler[name].bind(handler)]));
}

/** A shutdown of the host closes with 1001 (RFC 6455, 7.4.1). */
function closeOnDrain(event, out) {
  if (event.type !== 'drain') return undefined;
  out.close(1001, 'the server is shutting down');
  return new Stop();
}

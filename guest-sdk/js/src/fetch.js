// Joins a program that has a `fetch` method, as apps of Hono and itty-router have, to the shapes of the contract.
//
// What the response's body has ready with its head makes a buffered response; any other is a stream, whose head leaves at
// once. A request's body is read from the wire as the app asks for it.

import { rejection } from './errors.js';
import { bytes } from './fields.js';
import { Buffered, Stream } from './response.js';

/** The most bytes of a buffered response. */
const BUFFERED = 65536;

/** Turns of the queue of promises after which a chunk is not ready. */
const TURNS = 16;

/** A handler that asks the `fetch` method of an app. `env` is what Workers know as bindings. */
export function handlerOf(app, env = {}) {
  return async (raw) => {
    const source = new Source(raw);
    const waiting = [];
    const context = { waitUntil: (promise) => void waiting.push(promise), passThroughOnException() {} };
    let response;
    try {
      response = await app.fetch(request(raw, source), env, context);
    } catch (error) {
      throw source.failure ?? error;
    }
    if (!(response instanceof Response)) throw new TypeError('fetch() has returned no Response');
    if (source.failure !== undefined && response.status >= 400 && rejection(source.failure)) throw source.failure;
    return answer(response, source, waiting);
  };
}

/** The body of a request: whether all of it was read, and the error that ended it. */
class Source {
  constructor(raw) {
    this.body = ['GET', 'HEAD'].includes(raw.method) ? undefined : raw.body();
    this.isRead = this.body === undefined || this.body.isEmpty;
    this.failure = undefined;
  }

  stream() {
    return new ReadableStream(
      {
        pull: (controller) => {
          try {
            const piece = this.body.read();
            if (piece === undefined) {
              this.isRead = true;
              controller.close();
            } else {
              // Bytes from the host are of another realm.
              controller.enqueue(new Uint8Array(piece));
            }
          } catch (error) {
            this.failure = error;
            controller.error(error);
          }
        },
      },
      { highWaterMark: 0 },
    );
  }
}

function request(raw, source) {
  const query = raw.query === undefined ? '' : `?${raw.query}`;
  const url = `${raw.scheme}://${raw.authority || 'localhost'}${raw.path}${query}`;
  const init = { method: raw.method, headers: raw.headers };
  if (!source.isRead) Object.assign(init, { body: source.stream(), duplex: 'half' });
  return new Request(url, init);
}

async function answer(response, source, waiting) {
  const head = { status: response.status, headers: [...response.headers] };
  const reader = response.body?.getReader();
  const chunks = [];
  let next;
  // A body may be that of the request: reading it would hold up the head until the client has sent it.
  if (source.isRead) {
    let size = 0;
    while (reader !== undefined && size <= BUFFERED) {
      next = reader.read();
      const ready = await soon(next);
      if (ready === LATER) break;
      next = undefined;
      if (ready.done) break;
      chunks.push(bytes(ready.value));
      size += chunks.at(-1).length;
    }
    const isWhole = next === undefined && size <= BUFFERED;
    if (isWhole && waiting.length === 0) return new Buffered(joined(chunks, size), head);
    if (isWhole) return new Stream(drained(chunks, waiting), head);
  }
  return new Stream(rest(chunks, next, reader, waiting), head);
}

async function* drained(chunks, waiting) {
  yield* chunks;
  await Promise.allSettled(waiting);
}

async function* rest(chunks, next, reader, waiting) {
  try {
    yield* chunks;
    while (reader !== undefined) {
      const { done, value } = await (next ?? reader.read());
      next = undefined;
      if (done) break;
      yield bytes(value);
    }
  } finally {
    reader?.cancel().catch(() => {});
  }
  await Promise.allSettled(waiting);
}

const LATER = Symbol('later');

/** What a promise has within a few turns, without any time passing. */
function soon(promise) {
  const later = (async () => {
    for (let turn = 0; turn < TURNS; turn++) await undefined;
    return LATER;
  })();
  return Promise.race([promise, later]);
}

function joined(chunks, size) {
  if (chunks.length === 1) return chunks[0];
  const all = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

/** `fetch`, with an error that says where the request went and what may be missing. */
export function explained(fetch) {
  return async (resource, options) => {
    try {
      return await fetch(resource, options);
    } catch (error) {
      if (error?.name === 'AbortError' || error?.name === 'TimeoutError') throw error;
      const { origin } = new URL(typeof resource === 'string' ? resource : (resource.url ?? String(resource)));
      const hint = 'the manifest grants requests with `outbound` of the component';
      throw new TypeError(`the request to ${origin} failed: ${error?.message ?? error} (${hint})`, { cause: error });
    }
  };
}

// Joins a handler function, or an app with a `fetch` method, to the exports of `roadrunner:handler`.
//
// What the handler returned is kept here between the host's calls; one instance answers one request, so there is one place
// for it. The build command makes these the component's exports.

import { GuestError, rejection, toWit as errorToWit } from './errors.js';
import { handlerOf } from './fetch.js';
import { bytes, toWit } from './fields.js';
import { Request } from './request.js';
import { Buffered, EventLoop, SendFile, Stream, WebSocket } from './response.js';
import { Sender, Writer, event, next } from './session.js';

/** The exports of a component with this default export. `env` is passed to a `fetch` method. */
export function exportsOf(program, env) {
  const handle = typeof program === 'function' ? program : handlerOf(checked(program), env);
  let held;

  const expect = (kind, call) => {
    if (!(held instanceof kind)) throw new Error(`the host called ${call}, which the response did not ask for`);
    return held;
  };

  return {
    handler: {
      async handle(raw) {
        let response;
        try {
          response = await handle(new Request(raw));
        } catch (error) {
          const answer = rejection(error);
          if (answer === undefined) throw logged(error);
          response = new Buffered(`${answer.message}\n`, { status: answer.status });
        }
        const split = toContract(response);
        held = split.held;
        return split.answer;
      },
    },
    streaming: {
      async run(out) {
        const { chunks } = expect(Stream, 'streaming.run');
        held = undefined;
        try {
          return toWit(await writeAll(chunks, new Writer(out)));
        } catch (error) {
          // An error of the contract is thrown as what componentize-js takes for one.
          throw Object.assign(isClosed(error) ? error : logged(error), { payload: errorToWit(error) });
        }
      },
    },
    eventLoop: {
      onEvent: (raw, out) => step(() => expect(EventLoop, 'event-loop.on-event').onEvent(event(raw), new Writer(out))),
    },
    websocket: {
      onOpen: (out) => step(() => expect(WebSocket, 'websocket.on-open').handler.onOpen(new Sender(out))),
      onMessage: (message, out) =>
        step(() => expect(WebSocket, 'websocket.on-message').handler.onMessage(message.val, new Sender(out))),
      onEvent: (raw, out) =>
        step(() => expect(WebSocket, 'websocket.on-event').handler.onEvent(event(raw), new Sender(out))),
    },
  };
}

function checked(program) {
  if (typeof program?.fetch === 'function') return program;
  throw new TypeError('the default export of the program is neither a handler nor an object with a method `fetch`');
}

/** Sends every chunk, and gives what a generator returns: the trailer fields. */
async function writeAll(chunks, out) {
  const iterator = (chunks[Symbol.asyncIterator] ?? chunks[Symbol.iterator]).call(chunks);
  try {
    for (;;) {
      const { done, value } = await iterator.next();
      if (done) return value;
      out.write(value);
    }
  } catch (error) {
    // It may have something to release.
    await iterator.return?.();
    throw error;
  }
}

/** The contract's `next` has no error. A client that left ends the session quietly; any other error becomes a trap, because
 * only a trap aborts the body, and a body that was cut must not look whole. */
async function step(call) {
  try {
    return next(await call());
  } catch (error) {
    if (isClosed(error)) return { tag: 'stop', val: [] };
    throw logged(error);
  }
}

/** Takes a response apart into what goes to the host now and what is kept for its next call. */
function toContract(response) {
  // Bytes from the host are of another realm: they are no instances of this one's Uint8Array.
  if (typeof response === 'string' || ArrayBuffer.isView(response)) return toContract(new Buffered(response));
  if (response instanceof Buffered) {
    const { body, trailers } = response;
    const { status, headers } = head(response);
    if (body.length > 0 && !headers.some(([name]) => name === 'content-type')) {
      const kind = typeof body === 'string' ? 'text/plain; charset=utf-8' : 'application/octet-stream';
      headers.push(['content-type', bytes(kind)]);
    }
    const val = { head: { status, headers }, body: bytes(body), trailers: toWit(trailers) };
    return { answer: { tag: 'buffered', val } };
  }
  if (response instanceof Stream) return { answer: { tag: 'stream', val: head(response) }, held: response };
  if (response instanceof EventLoop) {
    return { answer: { tag: 'loop', val: { head: head(response), bodyEvents: response.bodyEvents } }, held: response };
  }
  if (response instanceof SendFile) {
    const { directory, path } = response;
    const range = response.range && {
      start: BigInt(response.range.start),
      length: response.range.length === undefined ? undefined : BigInt(response.range.length),
    };
    return { answer: { tag: 'sendfile', val: { head: head(response), directory, path, range } } };
  }
  if (response instanceof WebSocket) {
    const val = { headers: toWit(response.headers), subprotocol: response.subprotocol };
    return { answer: { tag: 'websocket', val }, held: response };
  }
  throw new TypeError(`a handler cannot return ${response?.constructor?.name ?? typeof response}`);
}

function head({ status, headers }) {
  return { status, headers: toWit(headers) };
}

function isClosed(error) {
  return error instanceof GuestError && error.kind === 'closed';
}

/** What ends an instance is worth a line with the place it came from. */
function logged(error) {
  console.error(`${error}\n${error?.stack ?? ''}`);
  return error instanceof Error ? error : new Error(String(error));
}

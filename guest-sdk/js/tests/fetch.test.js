// Programs with a `fetch` method: what is buffered and what is streamed, and whose fault an error is. `node --test tests`.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { exportsOf } from '../src/adapter.js';
import { explained } from '../src/fetch.js';

const text = (bytes) => new TextDecoder().decode(bytes);
const field = (name, value) => [name, new TextEncoder().encode(value)];

/** A request of the contract; `pieces` are those of its body, or what reading throws. */
function request(target, { method = 'GET', headers = [], pieces, reads = [] } = {}) {
  const [path, query] = target.split('?');
  const left = pieces && [...pieces];
  const body = left && {
    read() {
      const piece = left.shift();
      if (piece?.payload !== undefined) throw piece;
      reads.push(piece);
      return piece === undefined ? undefined : new TextEncoder().encode(piece);
    },
  };
  return {
    method: () => method,
    scheme: () => 'http',
    authority: () => 'localhost:8080',
    path: () => path,
    query: () => query,
    headers: () => headers,
    body: () => body,
  };
}

function asks(fetch, env) {
  const component = exportsOf({ fetch }, env);
  return {
    ask: (target, options) => component.handler.handle(request(target, options)),
    stream: async (out) => component.streaming.run(out),
  };
}

/** The chunks that a client gets. */
async function chunks({ stream }) {
  const got = [];
  await stream({ write: (chunk) => void got.push(text(chunk)) });
  return got;
}

test('a response that is ready is buffered', async () => {
  const app = asks(async (request, env) => {
    assert.equal(request.url, 'http://localhost:8080/a%20b?c=d');
    assert.equal(request.headers.get('x-a'), '1, 2');
    return Response.json({ method: request.method, colour: env.colour }, { status: 201, headers: { 'x-b': '3' } });
  }, { colour: 'blue' });
  const { tag, val } = await app.ask('/a%20b?c=d', { headers: [field('x-a', '1'), field('x-a', '2')] });
  assert.equal(tag, 'buffered');
  assert.deepEqual([val.head.status, text(val.body)], [201, '{"method":"GET","colour":"blue"}']);
  const headers = Object.fromEntries(val.head.headers.map(([name, value]) => [name, text(value)]));
  assert.deepEqual(headers, { 'content-type': 'application/json', 'x-b': '3' });
  const empty = await asks(() => new Response(null, { status: 204 })).ask('/');
  assert.deepEqual([empty.tag, empty.val.head.status, empty.val.body.length], ['buffered', 204, 0]);
});

test('a body is read as a whole or as it arrives', async () => {
  const length = await asks(async (request) => new Response(`${(await request.text()).length}`)).ask('/', {
    method: 'POST',
    pieces: ['abc', 'de'],
  });
  assert.deepEqual([length.tag, text(length.val.body)], ['buffered', '5']);

  const reads = [];
  const echo = asks((request) => new Response(request.body));
  const { tag } = await echo.ask('/', { method: 'POST', pieces: ['abc', 'de'], reads });
  assert.deepEqual([tag, reads], ['stream', []], 'the head leaves before the body is read');
  assert.deepEqual(await chunks(echo), ['abc', 'de']);
});

test('a chunk that takes time does not hold up the head', async () => {
  const app = asks(
    () =>
      new Response(
        new ReadableStream({
          async start(controller) {
            controller.enqueue(new TextEncoder().encode('now'));
            await new Promise((resolve) => setTimeout(resolve, 50));
            controller.enqueue(new TextEncoder().encode('later'));
            controller.close();
          },
        }),
      ),
  );
  assert.equal((await app.ask('/')).tag, 'stream');
  assert.deepEqual(await chunks(app), ['now', 'later']);
});

test('what is waited for is done before the instance ends', async () => {
  const steps = [];
  const app = asks((_, env, context) => {
    context.waitUntil(new Promise((resolve) => setTimeout(resolve, 20)).then(() => steps.push('done')));
    return new Response('sent');
  });
  assert.equal((await app.ask('/')).tag, 'stream');
  assert.deepEqual([await chunks(app), steps], [['sent'], ['done']]);
});

test('a body that does not arrive is the fault of the client', async () => {
  const app = asks(async (request) => {
    try {
      return new Response(await request.text());
    } catch {
      return new Response('oh', { status: 500 });
    }
  });
  for (const [error, status] of [[{ tag: 'closed' }, 400], [{ tag: 'timeout' }, 408], [{ tag: 'too-large', val: 3n }, 413]]) {
    const cut = Object.assign(new Error('cut'), { payload: error });
    const { val } = await app.ask('/', { method: 'POST', pieces: ['abc', cut] });
    assert.equal(val.head.status, status);
  }
  await assert.rejects(asks(() => 'text').ask('/'), /no Response/);
  assert.throws(() => exportsOf({}), /a method `fetch`/);
});

test('a body that fails is cut', async () => {
  const app = asks(
    () =>
      new Response(
        new ReadableStream({
          async start(controller) {
            controller.enqueue(new TextEncoder().encode('half'));
            await new Promise((resolve) => setTimeout(resolve, 20));
            controller.error(new Error('the rest is gone'));
          },
        }),
      ),
  );
  assert.equal((await app.ask('/')).tag, 'stream');
  await assert.rejects(chunks(app), /the rest is gone/);
});

test('an outgoing request that fails names the key of the manifest', async () => {
  const fetch = explained(() => Promise.reject(new TypeError('network')));
  await assert.rejects(fetch('http://api.example.com/a'), /http:\/\/api\.example\.com failed: network .*`outbound`/);
});

// The demo's routes in JavaScript: one for each shape of response. guests/README.md has the table.

import {
  Buffered,
  GuestError,
  SendFile,
  SqlFault,
  Stream,
  WebSocket,
  bus,
  config,
  json,
  log,
  secrets,
  sql,
  sse,
  store,
  timers,
} from 'roadrunner-guest';

export default function demo(request) {
  const path = request.path.replace(/^\/js(?=\/)/, '');
  switch (path) {
    case '/hello':
      return 'hello, world\n';
    case '/json':
      return answer(request);
    case '/echo':
      return echo(request);
    case '/stream':
      return stream(request);
    case '/clock':
      return clock();
    case '/room':
      return room();
    case '/settings':
      return settings();
    case '/upload':
      return upload(request);
    case '/ws':
      return new WebSocket((message, out) => out.send(message));
    case '/secret':
      // What a secret is leaves the guest here, because this shows that it is there.
      return secrets.get(request.searchParams.get('name') ?? '') ?? new Buffered('', { status: 404 });
    case '/sql':
      return useDatabase();
    default:
      if (path.startsWith('/store/')) return useStore(request, path.slice('/store/'.length));
      if (path.startsWith('/files/')) return new SendFile('files', decodeURIComponent(path.slice('/files/'.length)));
      return new Buffered('there is nothing here\n', { status: 404 });
  }
}

/** What a small API answers. */
function answer({ method, version, peer }) {
  return json({ message: 'hello, world', method, version, peer });
}

/** Sends each piece of the request body back as it arrives, then the request's trailers. */
function echo(request) {
  const body = request.body();
  const headers = ['content-type', 'trailer']
    .map((name) => [name, request.header(name)])
    .filter(([, value]) => value !== undefined);
  function* chunks() {
    yield* body;
    return body.trailers();
  }
  return new Stream(chunks(), { headers });
}

/** `n` chunks (10), `delay` milliseconds (0) after each but the last, and their number as a trailer. */
function stream(request) {
  const query = request.searchParams;
  const count = Number(query.get('n') ?? 10);
  const delay = Number(query.get('delay') ?? 0);
  async function* chunks() {
    for (let chunk = 0; chunk < count; chunk++) {
      if (chunk > 0 && delay > 0) await new Promise((wake) => setTimeout(wake, delay));
      yield `chunk ${chunk}\n`;
    }
    return { 'x-chunks': String(count) };
  }
  return new Stream(chunks(), { headers: { 'content-type': 'text/plain; charset=utf-8', trailer: 'x-chunks' } });
}

/** A tick a second. */
function clock() {
  timers.every(1000);
  let ticks = 0;
  return sse((event, out) => {
    if (event.type === 'timer') out.send(String(++ticks));
  });
}

/** Speaks to itself on the topic `room`, leaves it with the third tick of a timer, and says how many still listen. */
function room() {
  bus.subscribe('room');
  const start = timers.after(1);
  let clock;
  let ticks = 0;
  return sse((event, out) => {
    if (event.type === 'message') {
      out.send(new TextDecoder().decode(event.payload));
    } else if (event.type === 'timer' && event.id === start) {
      bus.publish('room', 'ping');
      clock = timers.every(20);
    } else if (event.type === 'timer' && ++ticks === 3) {
      timers.cancel(clock);
      bus.unsubscribe('room');
      out.send(String(bus.publish('room', 'unheard')));
    }
  });
}

/** The manifest's value for `greeting`; the log says that it was asked for. */
function settings() {
  log.warn('the greeting was asked for');
  return `${config.get('greeting') ?? 'none'}\n`;
}

/** Counts the bytes of a body of any size without keeping them. */
function upload(request) {
  let count = 0;
  for (const piece of request.body()) count += piece.length;
  return `${count}\n`;
}

/** Values that come and go in a transaction on the database `demo`, and the SQLSTATE of a wrong statement. */
function useDatabase() {
  let database;
  try {
    database = new sql.Database('demo');
  } catch (error) {
    if (!(error instanceof GuestError)) throw error;
    return new Buffered(`${error.kind}\n`, { status: 409 });
  }
  const table = 'demo (id int8, name text, data bytea, price numeric, half float8, yes bool)';
  const { count, rows } = database.transaction((transaction) => {
    transaction.execute(`create temp table ${table} on commit drop`);
    const values = [-7, null, new Uint8Array([0, 255]), '12.50', -0.5, true];
    const count = transaction.execute('insert into demo values ($1, $2, $3, $4, $5, $6)', values);
    return { count, rows: transaction.query('select * from demo').rows };
  });
  for (const row of rows) row.data = [...row.data];
  try {
    database.query('select * from demo');
  } catch (error) {
    if (error instanceof SqlFault) return json({ count, rows, fault: error.code });
    throw error;
  }
  return new Buffered('the table is still there\n', { status: 500 });
}

/** One operation on the store `store` (`demo`): on `key`, with the body as the value. An error is 409 with its name. */
function useStore(request, operation) {
  const query = request.searchParams;
  const value = request.body().readAll();
  try {
    const bucket = new store.Bucket(query.get('store') ?? 'demo');
    return operate(bucket, operation, query, value) ?? new Buffered('there is nothing here\n', { status: 404 });
  } catch (error) {
    if (!(error instanceof GuestError)) throw error;
    const limit = error.limit === undefined ? '' : ` ${error.limit}`;
    return new Buffered(`${error.kind}${limit}\n`, { status: 409 });
  }
}

function operate(bucket, operation, query, value) {
  const key = query.get('key') ?? '';
  const ttl = query.has('ttl') ? Number(query.get('ttl')) : undefined;
  switch (operation) {
    case 'get':
      return bucket.get(key) ?? new Buffered('', { status: 404 });
    case 'set':
      bucket.set(key, value, { ttl });
      return 'done\n';
    case 'set-if':
      return `${bucket.setIf(key, query.get('expected') ?? undefined, value, { ttl })}\n`;
    case 'delete':
      return `${bucket.delete(key)}\n`;
    case 'exists':
      return `${bucket.exists(key)}\n`;
    case 'increment':
      return `${bucket.increment(key, BigInt(query.get('by') ?? 1))}\n`;
    case 'keys':
      return json(bucket.keys(key, { cursor: query.get('cursor') ?? undefined, limit: Number(query.get('limit') ?? 0) }));
    default:
      return undefined;
  }
}

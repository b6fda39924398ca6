/**
 * Write Roadrunner handlers in JavaScript or TypeScript.
 *
 * The default export of a program is its handler. Every request gets an instance of its own, which starts from what the
 * program's memory held once it was loaded: a module's variables last for one request or one held session.
 */

/** Header or trailer fields: an object, or pairs where a name is repeated. */
export type Fields = Record<string, string> | Iterable<readonly [string, string]>;

/** What a handler may return. */
export type Response = string | Uint8Array | Buffered | Stream | EventLoop | SendFile | WebSocket;

/** The default export of a program. */
export type Handler = (request: Request) => Response | Promise<Response>;

/** A request. Nothing of it is copied into the guest before it is asked for. */
export interface Request {
  /** The id that also stands in the access log. */
  readonly id: string;
  /** The method, in the client's case: `GET`. */
  readonly method: string;
  /** `http` or `https`. */
  readonly scheme: string;
  /** The host, and the port when one was given: `example.com:8080`. */
  readonly authority: string;
  /** The path as it was sent, still percent-encoded, without the query. */
  readonly path: string;
  /** What follows the `?`, still percent-encoded; undefined without a `?`. */
  readonly query: string | undefined;
  /** The query's pairs, decoded. */
  readonly searchParams: URLSearchParams;
  /** The HTTP version that the client spoke. */
  readonly version: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2.0' | 'HTTP/3.0';
  /** The client's address and port, after trusted forwarding; `local` on a Unix socket. */
  readonly peer: string;
  /** The client's TLS certificate, if it has shown one that the listener trusts. */
  readonly clientCertificate: ClientCertificate | undefined;
  /** All captures of the route's pattern, percent-decoded. */
  readonly params: Record<string, string>;
  /** The name of the route that matched, if the manifest gave it one. */
  readonly route: string | undefined;
  /** Every header field, with its name in lower case. */
  readonly headers: [string, string][];
  /** What the request asks to become, on a WebSocket or WebTransport handshake. */
  readonly upgrade: { to: 'websocket'; protocols: string[] } | { to: 'webtransport' } | undefined;
  /** What the route's pattern captured under this name, percent-decoded. */
  param(name: string): string | undefined;
  /** The first value of a header. */
  header(name: string): string | undefined;
  /** Every value of a header, in order. */
  headerValues(name: string): string[];
  /** The body; an empty one when the request has none, and from the second call on. */
  body(): Body;
  /** The body as UTF-8. Throws `HttpError` 400 for anything else. */
  text(): string;
  /** The body as JSON. Throws `HttpError`: 415 for another content type, 400 for what is not JSON. */
  json(): unknown;
  /** The pairs of a urlencoded form. Throws `HttpError` 415 for another content type. */
  form(): URLSearchParams;
}

/** What a client's TLS certificate says, which the host has verified. */
export interface ClientCertificate {
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  readonly names: string[];
  readonly sha256: string;
}

/** A request body. Iterating over it gives its pieces as they come. */
export interface Body extends Iterable<Uint8Array> {
  /** The next piece, of at most `limit` bytes (0: as much as is there, at most 64 KiB); undefined at the end. */
  read(limit?: number): Uint8Array | undefined;
  /** All that is left. */
  readAll(): Uint8Array;
  /** The trailer fields that followed the body; what is left of the body is read and dropped first. */
  trailers(): [string, string][];
}

/** A response that is complete when it is returned. */
export class Buffered {
  /** Text is `text/plain; charset=utf-8` unless the headers say otherwise, bytes are `application/octet-stream`. */
  constructor(body?: string | Uint8Array, options?: { status?: number; headers?: Fields; trailers?: Fields });
}

/** A value as JSON. */
export function json(value: unknown, options?: { status?: number; headers?: Fields }): Buffered;

/** What a stream is made of. What a generator returns are the trailer fields. */
export type Chunks =
  | Iterable<string | Uint8Array>
  | AsyncIterable<string | Uint8Array>
  | Generator<string | Uint8Array, Fields | void>
  | AsyncGenerator<string | Uint8Array, Fields | void>;

/**
 * A response whose body is written piece by piece. Each chunk leaves at once, and the next one is asked for when the client
 * has room for it. An error aborts the body, so that the client can tell that it is not whole.
 */
export class Stream {
  constructor(chunks: Chunks, options?: { status?: number; headers?: Fields });
}

/** What a callback returns: nothing to wait for the next event, or a `Stop`. */
export type Step = void | Stop | Promise<void | Stop>;

/** Ends a session, with trailer fields (ignored for a WebSocket). */
export class Stop {
  constructor(trailers?: Fields);
}

/** What wakes a held session. */
export type Event =
  | { type: 'message'; topic: string; payload: Uint8Array; missed: number }
  | { type: 'timer'; id: bigint }
  | { type: 'body'; data: Uint8Array }
  | { type: 'body-end'; trailers: [string, string][] }
  | { type: 'drain'; milliseconds: number }
  | { type: 'disconnect'; reason: 'closed' | 'reset' | 'connection-lost' | 'timeout' };

/** Writes a response body. */
export interface Writer {
  /** Sends one chunk, which leaves at once. Waits while the client does not read. */
  write(chunk: string | Uint8Array): void;
}

/** A response that is held open and driven by events. Subscribe and set timers before returning it. */
export class EventLoop {
  /** A function, or an object whose fields are the session's state. */
  constructor(
    session: ((event: Event, out: Writer) => Step) | { onEvent(event: Event, out: Writer): Step },
    options?: { status?: number; headers?: Fields; bodyEvents?: boolean },
  );
}

/** Sends server-sent events. Each call is one chunk. */
export interface SseWriter {
  /** Sends an event; its data may have many lines. */
  send(data: string, options?: { event?: string; id?: string }): void;
  /** Sends a comment, which clients ignore and proxies take as a sign of life. */
  comment(text: string): void;
  /** Tells the client how long to wait before it connects again. */
  retry(milliseconds: number): void;
}

/** A held response that sends server-sent events. */
export function sse(session: (event: Event, out: SseWriter) => Step): EventLoop;

/** A response whose body is a file below a granted directory. The host sends it, with ranges and caching. */
export class SendFile {
  constructor(
    directory: string,
    path: string,
    options?: { status?: number; headers?: Fields; range?: { start: number; length?: number } },
  );
}

/** Sends on a WebSocket. */
export interface Sender {
  /** Sends one message: text for a string, binary for bytes. Waits while the client does not read. */
  send(message: string | Uint8Array): void;
  /** Starts the close handshake (RFC 6455, 7.4). Nothing can be sent after it. */
  close(code?: number, reason?: string): void;
}

/** What drives a WebSocket. Without `onEvent`, a shutdown of the host closes with 1001. */
export interface WebSocketHandler {
  onOpen?(out: Sender): Step;
  onMessage?(message: string | Uint8Array, out: Sender): Step;
  onEvent?(event: Event, out: Sender): Step;
}

/** The acceptance of a WebSocket handshake (RFC 6455, 8441 or 9220). */
export class WebSocket {
  constructor(
    session: ((message: string | Uint8Array, out: Sender) => Step) | WebSocketHandler,
    options?: { headers?: Fields; subprotocol?: string },
  );
}

/** An operation on a body, a writer or a topic failed. */
export class GuestError extends Error {
  readonly kind: 'closed' | 'timeout' | 'too-large' | 'refused' | 'internal';
  /** The limit in bytes, for `too-large`. */
  readonly limit: number | undefined;
}

/** Ends a handler with this status and a line of text for the client. */
export class HttpError extends Error {
  constructor(status: number, message: string);
  readonly status: number;
}

/** Topics that join the sessions of one component owner. */
export const bus: {
  /** Delivers later messages of this topic to this session as events. */
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  /** Sends to every session subscribed now, and returns how many there are on this host. Never waits. */
  publish(topic: string, payload: string | Uint8Array): number;
};

/** Timers of a held session; each firing is an event. Times are in milliseconds. */
export const timers: {
  after(milliseconds: number): bigint;
  every(milliseconds: number): bigint;
  cancel(id: bigint): void;
};

/** The values that the manifest gives to this route and component. */
export const config: {
  get(key: string): string | undefined;
  entries(): Record<string, string>;
};

/** The secrets that the manifest grants to this component. Undefined for any other name. Do not log them. */
export const secrets: {
  get(name: string): Uint8Array | undefined;
  text(name: string): string | undefined;
};

/** Some keys of a bucket, in no certain order. */
export interface Page {
  readonly keys: string[];
  /** What brings the next page; undefined after the last. */
  readonly cursor?: string;
}

/**
 * The keys of one store that this component sees. Every operation waits for the store, and throws a GuestError when it
 * does not answer in time (what was asked for may then still happen), fails, or a limit is passed.
 */
declare class Bucket {
  /** Opens a store by its name in the manifest. Throws for any name that is not granted. */
  constructor(name: string);
  get(key: string): Uint8Array | undefined;
  text(key: string): string | undefined;
  json(key: string): unknown;
  /** Puts a value under a key, for so many milliseconds or until it is changed. */
  set(key: string, value: string | Uint8Array, options?: { ttl?: number }): void;
  setJson(key: string, value: unknown, options?: { ttl?: number }): void;
  /** The same if what stands there now is `expected`, or nothing for undefined. Whether it was. */
  setIf(
    key: string,
    expected: string | Uint8Array | undefined,
    value: string | Uint8Array,
    options?: { ttl?: number },
  ): boolean;
  /** Removes a key. Whether it was there. */
  delete(key: string): boolean;
  exists(key: string): boolean;
  /** Adds a number that is not negative to the one under a key; nothing counts as 0. The sum. */
  increment(key: string, delta?: number | bigint): bigint;
  keys(prefix?: string, options?: { cursor?: string; limit?: number }): Page;
}

/** Stores of keys and values that the manifest grants to this component. */
export const store: { readonly Bucket: typeof Bucket };

/** What a column can have. Values of types without a case of their own are texts. */
export type SqlValue = null | boolean | number | bigint | string | Uint8Array;

/** What a parameter can have. Dates are given as their texts in UTC. */
export type SqlParameter = SqlValue | undefined | Date;

/** A result. */
export interface SqlRows {
  /** The columns, in their order. `type` is the server's name of the type: `int4`. */
  readonly columns: { readonly name: string; readonly type: string }[];
  /** The rows by the names of their columns. Whole numbers that `number` cannot hold are of the type `bigint`. */
  readonly rows: Record<string, SqlValue>[];
}

/**
 * Runs statements with `$1`, `$2` and so on for parameters, which are never read as part of them. Throws an SqlFault when
 * the server refuses one, and a GuestError over a limit or when the database fails.
 */
interface SqlStatements {
  query(statement: string, parameters?: SqlParameter[]): SqlRows;
  /** Runs a statement. How many rows it changed. */
  execute(statement: string, parameters?: SqlParameter[]): number;
}

/** Statements that happen wholly or not at all. One that is left open is rolled back after the request. */
interface Transaction extends SqlStatements {
  commit(): void;
  rollback(): void;
}

/** A database as this component may use it. Statements outside of a transaction have nothing in common. */
declare class Database implements SqlStatements {
  /** Opens a database by its name in the manifest. Throws for any name that is not granted. */
  constructor(name: string);
  query(statement: string, parameters?: SqlParameter[]): SqlRows;
  execute(statement: string, parameters?: SqlParameter[]): number;
  begin(): Transaction;
  /** Runs a function in a transaction, which is committed after it, and rolled back if it throws. */
  transaction<T>(run: (transaction: Transaction) => T): T;
}

/** PostgreSQL databases that the manifest grants to this component. */
export const sql: { readonly Database: typeof Database };

/** The server refused a statement, and nothing of it has happened. */
export class SqlFault extends Error {
  /** The SQLSTATE: five characters, the same in all versions and languages of the server. */
  readonly code: string;
  readonly detail?: string;
  readonly hint?: string;
  /** The constraint that does not hold. */
  readonly constraint?: string;
  /** Where in the statement, in characters from 1. */
  readonly position?: number;
}

/** The manifest's named routes. */
export const routes: {
  /** The path of a named route with its parameters filled in and percent-encoded. */
  urlFor(name: string, params?: Record<string, string>): string;
};

/** Lines of the host's log, with the request's id, route and component. `console` goes there too. */
export const log: Record<'trace' | 'debug' | 'info' | 'warn' | 'error', (message: unknown) => void>;

// A request. Nothing of it is copied into the guest before it is asked for: a handler pays for what it reads.

import { HttpError, host } from './errors.js';
import { fromWit, text } from './fields.js';

const VERSIONS = { http10: 'HTTP/1.0', http11: 'HTTP/1.1', http2: 'HTTP/2.0', http3: 'HTTP/3.0' };

/** A request body. Iterating over it gives its pieces as they come. */
export class Body {
  #raw;

  constructor(raw) {
    this.#raw = raw;
  }

  /** Whether there was no body to begin with. */
  get isEmpty() {
    return this.#raw === undefined;
  }

  read(limit = 0) {
    return this.#raw && host(() => this.#raw.read(limit));
  }

  readAll() {
    return this.#raw ? host(() => this.#raw.readToEnd()) : new Uint8Array();
  }

  trailers() {
    return this.#raw ? fromWit(host(() => this.#raw.trailers())) : [];
  }

  *[Symbol.iterator]() {
    for (let piece = this.read(); piece !== undefined; piece = this.read()) yield piece;
  }
}

/** A request. */
export class Request {
  #raw;

  constructor(raw) {
    this.#raw = raw;
  }

  get id() {
    return this.#raw.id();
  }

  get method() {
    return this.#raw.method();
  }

  get scheme() {
    return this.#raw.scheme();
  }

  get authority() {
    return this.#raw.authority();
  }

  get path() {
    return this.#raw.path();
  }

  get query() {
    return this.#raw.query();
  }

  get searchParams() {
    return new URLSearchParams(this.query ?? '');
  }

  get version() {
    return VERSIONS[this.#raw.version()];
  }

  get peer() {
    return this.#raw.peer();
  }

  get clientCertificate() {
    return this.#raw.clientCertificate();
  }

  get params() {
    return Object.fromEntries(this.#raw.params());
  }

  get route() {
    return this.#raw.route();
  }

  get headers() {
    return fromWit(this.#raw.headers());
  }

  get upgrade() {
    const upgrade = this.#raw.upgrade();
    if (upgrade === undefined) return undefined;
    return upgrade.tag === 'websocket' ? { to: 'websocket', protocols: upgrade.val } : { to: upgrade.tag };
  }

  param(name) {
    return this.#raw.param(name);
  }

  header(name) {
    const value = this.#raw.header(name.toLowerCase());
    return value && text(value);
  }

  headerValues(name) {
    return this.#raw.headerValues(name.toLowerCase()).map(text);
  }

  body() {
    return new Body(this.#raw.body());
  }

  text() {
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(this.body().readAll());
    } catch (error) {
      if (error instanceof TypeError) throw new HttpError(400, 'the request body is not UTF-8');
      throw error;
    }
  }

  json() {
    this.#expect('application/json');
    const text = this.text();
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new HttpError(400, `the request body is not JSON: ${error.message}`);
    }
  }

  form() {
    this.#expect('application/x-www-form-urlencoded');
    return new URLSearchParams(this.text());
  }

  #expect(wanted) {
    const essence = (this.header('content-type') ?? '').split(';')[0].trim().toLowerCase();
    if (essence !== wanted) throw new HttpError(415, `the request body should be ${wanted}`);
  }
}

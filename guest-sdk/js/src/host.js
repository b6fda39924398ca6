// What a guest can ask the host for, apart from the request at hand.

import * as rawBus from 'roadrunner:handler/bus@0.1.0';
import * as rawConfig from 'roadrunner:handler/config@0.1.0';
import * as rawLog from 'roadrunner:handler/log@0.1.0';
import * as rawRoutes from 'roadrunner:handler/routes@0.1.0';
import * as rawSecrets from 'roadrunner:handler/secrets@0.1.0';
import * as rawStore from 'roadrunner:handler/store@0.1.0';
import * as rawTimers from 'roadrunner:handler/timers@0.1.0';

import { GuestError, host } from './errors.js';
import { bytes } from './fields.js';

export const bus = {
  subscribe: (topic) => host(() => rawBus.subscribe(topic)),
  unsubscribe: (topic) => rawBus.unsubscribe(topic),
  publish: (topic, payload) => host(() => rawBus.publish(topic, bytes(payload))),
};

export const config = {
  get: (key) => rawConfig.get(key),
  entries: () => Object.fromEntries(rawConfig.entries()),
};

/** The values of the manifest as properties: what an app with a `fetch` method gets beside the request. */
export const env = new Proxy(
  {},
  {
    get: (_, key) => (typeof key === 'string' ? config.get(key) : undefined),
    has: (_, key) => typeof key === 'string' && config.get(key) !== undefined,
  },
);

const line = (level) => (message) => rawLog.log(level, String(message));

export const log = {
  trace: line('trace'),
  debug: line('debug'),
  info: line('info'),
  warn: line('warn'),
  error: line('error'),
};

export const routes = {
  urlFor: (name, params = {}) => host(() => rawRoutes.urlFor(name, Object.entries(params))),
};

export const secrets = {
  get: (name) => rawSecrets.get(name),
  text: (name) => {
    const secret = rawSecrets.get(name);
    return secret && new TextDecoder().decode(secret);
  },
};

const ttl = (milliseconds) => (milliseconds === undefined ? undefined : BigInt(Math.max(1, Math.round(milliseconds))));

class Bucket {
  #raw;

  constructor(name) {
    this.#raw = host(() => rawStore.open(name));
  }

  get(key) {
    return host(() => this.#raw.get(key));
  }

  text(key) {
    const value = this.get(key);
    return value && new TextDecoder().decode(value);
  }

  json(key) {
    const text = this.text(key);
    return text === undefined ? undefined : JSON.parse(text);
  }

  set(key, value, { ttl: milliseconds } = {}) {
    host(() => this.#raw.set(key, bytes(value), ttl(milliseconds)));
  }

  setJson(key, value, options) {
    this.set(key, JSON.stringify(value), options);
  }

  setIf(key, expected, value, { ttl: milliseconds } = {}) {
    const before = expected === undefined ? undefined : bytes(expected);
    return host(() => this.#raw.setIf(key, before, bytes(value), ttl(milliseconds)));
  }

  delete(key) {
    return host(() => this.#raw.delete(key));
  }

  exists(key) {
    return host(() => this.#raw.exists(key));
  }

  increment(key, delta = 1) {
    const added = BigInt(delta);
    // componentize-js ends the instance where a negative number is passed to the host.
    if (added < 0n) throw new GuestError('refused', 'increment takes no negative number: use setIf');
    return BigInt.asIntN(64, host(() => this.#raw.increment(key, added)));
  }

  keys(prefix = '', { cursor, limit = 0 } = {}) {
    return host(() => this.#raw.keys(prefix, cursor, limit));
  }
}

export const store = { Bucket };

export const timers = {
  after: (milliseconds) => rawTimers.after(BigInt(Math.round(milliseconds))),
  every: (milliseconds) => rawTimers.every(BigInt(Math.max(1, Math.round(milliseconds)))),
  cancel: (id) => rawTimers.cancel(id),
};

// What a guest can ask the host for, apart from the request at hand.

import * as rawBus from 'roadrunner:handler/bus@0.1.0';
import * as rawConfig from 'roadrunner:handler/config@0.1.0';
import * as rawLog from 'roadrunner:handler/log@0.1.0';
import * as rawRoutes from 'roadrunner:handler/routes@0.1.0';
import * as rawTimers from 'roadrunner:handler/timers@0.1.0';

import { host } from './errors.js';
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

export const timers = {
  after: (milliseconds) => rawTimers.after(BigInt(Math.round(milliseconds))),
  every: (milliseconds) => rawTimers.every(BigInt(Math.max(1, Math.round(milliseconds)))),
  cancel: (id) => rawTimers.cancel(id),
};

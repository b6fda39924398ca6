// Write Roadrunner handlers in JavaScript or TypeScript. The types and their documentation are in index.d.ts.

export { GuestError, HttpError, SqlFault } from './errors.js';
export { bus, config, log, routes, secrets, store, timers } from './host.js';
export { Buffered, EventLoop, SendFile, Stream, WebSocket, json, sse } from './response.js';
export { Stop } from './session.js';
export { sql } from './sql.js';

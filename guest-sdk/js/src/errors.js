// What can go wrong between a guest and its host. The WIT item is `types.error`.

/** An operation on a body, a writer or a topic failed. `kind` is the contract's name for why. */
export class GuestError extends Error {
  constructor(kind, message, limit) {
    super(message);
    this.name = 'GuestError';
    this.kind = kind;
    this.limit = limit;
  }
}

/** A database refused a statement, and nothing of it has happened. `code` is the SQLSTATE. */
export class SqlFault extends Error {
  constructor({ code, message, detail, hint, constraint, position }) {
    super(message);
    this.name = 'SqlFault';
    Object.assign(this, { code, detail, hint, constraint, position });
  }
}

/** Ends a handler with this status and a line of text for the client. */
export class HttpError extends Error {
  constructor(status, message) {
    super(message);
    this.name = 'HttpError';
    this.status = status;
  }
}

/** Calls the host, and turns the contract's errors into GuestErrors. */
export function host(call) {
  try {
    return call();
  } catch (thrown) {
    throw fromWit(thrown.payload) ?? thrown;
  }
}

function fromWit(error) {
  switch (error?.tag) {
    case 'fault':
      return new SqlFault(error.val);
    case 'host':
      return fromWit(error.val);
    case 'closed':
      return new GuestError('closed', 'the other side is gone');
    case 'timeout':
      return new GuestError('timeout', 'a deadline passed');
    case 'too-large': {
      const limit = Number(error.val);
      return new GuestError('too-large', `larger than the limit of ${limit} bytes`, limit);
    }
    case 'refused':
    case 'internal':
      return new GuestError(error.tag, error.val);
    default:
      return undefined;
  }
}

/** The contract's error for what ends a stream. */
export function toWit(error) {
  if (!(error instanceof GuestError)) return { tag: 'internal', val: String(error) };
  switch (error.kind) {
    case 'too-large':
      return { tag: error.kind, val: BigInt(error.limit) };
    case 'refused':
    case 'internal':
      return { tag: error.kind, val: error.message };
    default:
      return { tag: error.kind };
  }
}

/** The answer to a request that made a handler fail; undefined when the fault is not the client's. */
export function rejection(error) {
  if (error instanceof HttpError) return error;
  if (!(error instanceof GuestError)) return undefined;
  switch (error.kind) {
    case 'closed':
      return new HttpError(400, 'the request body was cut short');
    case 'timeout':
      return new HttpError(408, 'the request took too long');
    case 'too-large':
      return new HttpError(413, `the request body is larger than ${error.limit} bytes`);
    default:
      return undefined;
  }
}

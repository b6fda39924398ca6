// PostgreSQL databases that the manifest grants to this component.

import * as raw from 'roadrunner:handler/sql@0.1.0';

import { host } from './errors.js';

/** The contract's value of a parameter. Numbers go as text, which the server reads as the type that it wants:
 * componentize-js cannot pass a negative one to the host. */
function toWit(value) {
  switch (typeof value) {
    case 'boolean':
      return { tag: 'boolean', val: value };
    case 'bigint':
    case 'number':
    case 'string':
      return { tag: 'text', val: String(value) };
    default:
      if (value === null || value === undefined) return { tag: 'null' };
      if (value instanceof Date) return { tag: 'text', val: value.toISOString() };
      if (value instanceof Uint8Array) return { tag: 'bytes', val: value };
      throw new TypeError('a parameter is null, a boolean, a number, a string, a Date or a Uint8Array');
  }
}

function fromWit({ tag, val }) {
  switch (tag) {
    case 'null':
      return null;
    case 'integer': {
      const integer = BigInt.asIntN(64, val);
      return integer >= Number.MIN_SAFE_INTEGER && integer <= Number.MAX_SAFE_INTEGER ? Number(integer) : integer;
    }
    default:
      return val;
  }
}

class Statements {
  #raw;

  constructor(handle) {
    this.#raw = handle;
  }

  query(statement, parameters = []) {
    const { columns, rows } = host(() => this.#raw.query(statement, parameters.map(toWit)));
    return {
      columns: columns.map(({ name, typeName }) => ({ name, type: typeName })),
      rows: rows.map((row) => Object.fromEntries(row.map((value, index) => [columns[index].name, fromWit(value)]))),
    };
  }

  execute(statement, parameters = []) {
    return Number(host(() => this.#raw.execute(statement, parameters.map(toWit))));
  }
}

class Transaction extends Statements {
  #raw;

  constructor(handle) {
    super(handle);
    this.#raw = handle;
  }

  commit() {
    host(() => this.#raw.commit());
  }

  rollback() {
    host(() => this.#raw.rollback());
  }
}

class Database extends Statements {
  #raw;

  constructor(name) {
    const handle = host(() => raw.open(name));
    super(handle);
    this.#raw = handle;
  }

  begin() {
    return new Transaction(host(() => this.#raw.begin()));
  }

  transaction(run) {
    const transaction = this.begin();
    let result;
    try {
      result = run(transaction);
    } catch (thrown) {
      try {
        transaction.rollback();
      } catch {
        // It is over, and what was thrown says more.
      }
      throw thrown;
    }
    transaction.commit();
    return result;
  }
}

export const sql = { Database };

// Header and trailer fields: text in JavaScript, bytes in the contract, in order and with repeats.

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Bytes of a chunk or a body. */
export function bytes(value) {
  return typeof value === 'string' ? encoder.encode(value) : value;
}

/** Text of a field's value; what is not UTF-8 becomes U+FFFD. */
export function text(value) {
  return decoder.decode(value);
}

/** Fields for the host, from an object, pairs or Headers. */
export function toWit(fields = {}) {
  const pairs = typeof fields[Symbol.iterator] === 'function' ? [...fields] : Object.entries(fields);
  return pairs.map(([name, value]) => [name.toLowerCase(), encoder.encode(value)]);
}

/** Fields from the host. */
export function fromWit(fields) {
  return fields.map(([name, value]) => [name, text(value)]);
}

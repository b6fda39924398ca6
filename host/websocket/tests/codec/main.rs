//! The codec from outside: by RFC section, by limit, and as properties that hold for any bytes.

mod handshake;
mod limits;
mod properties;
mod rfc6455;
mod rfc7692;
mod session;
mod support;

//! A connection to a NATS server that comes back.
//!
//! [`Client`] is what the rest of a program holds: it publishes, subscribes and counts, and never waits. [`Driver`] owns
//! the socket: it connects, speaks, and connects again. A [`Handler`] is told what arrives, and that something may not
//! have.
//!
//! What it is for decides what it does: messages that are worth something now. Nothing that was published is sent twice,
//! and nothing that waited when the connection was lost is sent afterwards. Whoever needs to know what is lost numbers
//! its messages; [`Handler::connected`] says when the own subscriptions have had a gap.
//!
//! Every buffer is bounded: what waits to be sent by bytes and by messages, what is received by the largest message,
//! and subscriptions by whoever asks for them.
//!
//! Not here: queue groups, replies, JetStream, credentials with nkeys or JWT, and following a cluster's other servers. A
//! name that resolves to several addresses has them tried in turn.

mod client;
mod codec;
mod connection;

pub use client::{Client, Counters, Credentials, Driver, Handler, PublishError, Settings};
pub use connection::{ConnectError, Tls};

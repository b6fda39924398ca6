//! A connection to a cluster of NATS servers that comes back.
//!
//! The protocol is [async-nats]'s: its parser, TLS, nkeys and JWTs, pings. Here is what a bus needs beside it.
//!
//! | part | what it is for |
//! |---|---|
//! | [`Client`] | what the rest of a program holds: it publishes, subscribes and counts, and never waits |
//! | [`Driver`] | connects to one server after the other, and again when a connection is lost |
//! | [`Handler`] | is told what arrives, and that something may not have |
//!
//! What it is for decides what it does: messages that are worth something now. Nothing that was published is sent twice,
//! and nothing that waited when the connection was lost is sent afterwards. async-nats by itself keeps such messages for
//! the next connection; so each of its clients serves one connection here, and the next connection is another client's.
//! A publisher that has to report losses numbers its messages; [`Handler::gap`] says when the own subscriptions have had
//! a gap.
//!
//! Queues are bounded: what waits to be sent by bytes and by messages, for each account and for all; what waits for the
//! [`Handler`] by bytes; subscriptions by their callers.
//!
//! # Not covered
//!
//! - Queue groups, replies and JetStream.
//! - The length of a single message on its way in. async-nats reads all of it before it is looked at, and the server's
//!   `max_payload` is its bound. A server is trusted, and so are all its publishers: a message with malformed
//!   headers ends the connection.
//! - Servers that join a cluster later. A server's list is read when it is connected to.
//! - TLS that begins before the server's greeting (`handshake_first`), and the server's name in the handshake (SNI).
//!
//! [async-nats]: https://docs.rs/async-nats

#![forbid(unsafe_code)]

mod arrivals;
mod client;
mod credentials;
mod driver;
mod link;
mod outgoing;
mod servers;
mod settings;
mod shared;
mod tls;

pub use client::{Client, PublishError};
pub use credentials::{Credentials, InvalidCredentials};
pub use driver::Driver;
pub use link::ConnectError;
pub use servers::Server;
pub use settings::{Handler, Settings};
pub use shared::Counters;
pub use tls::Tls;

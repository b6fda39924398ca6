//! HTTP/3 (RFC 9114) for a server, on quinn.
//!
//! # Contract
//! A [`Service`] answers requests; [`serve`] runs it on an endpoint, [`serve_connection`] on one connection that the
//! caller has accepted. This crate enforces every rule of RFC 9114 for requests, so that a service only sees
//! well-formed ones. [`TransportSettings`](roadrunner_values::TransportSettings) bound all memory: a declared length is
//! checked against a limit before any of it is read.
//!
//! | module | content | does I/O |
//! |---|---|---|
//! | [`varint`], [`frame`], [`settings`] | the wire format | no |
//! | [`message`], [`control`] | request streams and the control stream as state machines | no |
//! | [`head`] | field sections as requests and responses | no |
//! | [`capsule`] | capsules (RFC 9297) | no |
//! | `shared`, `unidirectional`, `connection` | QPACK tables, critical streams, accepting and leaving | yes |
//! | `exchange`, `receive`, `send`, `body` | one request stream | yes |
//! | `resets` | the budget for abandoned requests | no |
//! | `pool`, `handshake` | several endpoints on one port, and the handshake | yes |
//! | `tunnel`, `datagram`, `datagram_queue` | extended CONNECT (RFC 9220), HTTP datagrams (RFC 9297) | yes |
//! | [`webtransport`] | sessions over them (draft-ietf-webtrans-http3, 02 and 07) | yes |
//!
//! # Not covered
//! - Server push: never sent, and a client cannot.
//! - Priorities (RFC 9218): PRIORITY_UPDATE is checked and ignored.
//! - Deadlines of bodies: implement them in [`Service::watch`].
//! - Fields that a server adds, such as `date` and `alt-svc`: the caller adds them.

mod body;
pub mod capsule;
mod code;
mod config;
mod connection;
pub mod control;
mod datagram;
mod datagram_queue;
mod exchange;
pub mod frame;
mod handshake;
pub mod head;
pub mod message;
mod pool;
mod receive;
mod resets;
mod send;
mod serve;
mod service;
pub mod settings;
mod shared;
mod tokens;
mod tunnel;
mod unidirectional;
pub mod varint;
pub mod webtransport;

pub use body::{BodyError, RequestBody};
pub use code::{Code, Fault};
pub use config::{ALPN, NoInitialCipherSuite, quinn};
pub use connection::serve_connection;
pub use datagram::{DatagramError, Datagrams};
pub use handshake::{HandshakeError, establish};
pub use head::Protocol;
pub use pool::{MAX_ENDPOINTS, MemberStats, Pool, PoolKeys, PoolObserver, PoolStats, Steering};
pub use serve::{DrainSignal, DrainTrigger, serve};
pub use service::{BoxError, Notice, Service};
pub use shared::{Closed, ConnectionInfo};
pub use tunnel::{Tunnel, TunnelRequest};

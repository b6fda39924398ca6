//! Turns sockets into exchanges.
//!
//! This crate owns listeners, TLS, HTTP/1.1, HTTP/2, HTTP/3 on the layer of `roadrunner-h3`, their timers, caps and
//! drain. It produces an [`Exchange`]: one request whose protocol no longer matters, on a [`Connection`] that can tell
//! how it ended. It takes back an `http::Response` with a [`ResponseBody`]. It knows no wasm.
//!
//! # Contract
//!
//! * All work is pull-driven. The future that a [`Service`] returns, and then the response body, are polled in the task
//!   of the connection (HTTP/1) or of the stream (HTTP/2, HTTP/3), and **dropping them is how cancellation arrives**: a
//!   client that leaves, a deadline and a cut all end in a drop. Nothing is spawned behind the service.
//! * Nothing here waits without a deadline; every deadline is a field of [`Timeouts`](roadrunner_values::Timeouts) and is
//!   counted in [`Stats`] under the same name.
//! * A panic in the service is a 500 before the head and an abort after it; the connection survives on HTTP/2 and
//!   HTTP/3 and, before the head, on HTTP/1.
//! * A request that reaches the service has one valid authority, one framing, at most one `cookie`, a path that every
//!   URL parser reads in the same way, and no field that its `Connection` names. On HTTP/1 the other
//!   connection-specific fields stay until [`drop_connection_fields`], since handshakes are judged by them.
//!
//! # Modules
//!
//! | module | purpose |
//! |---|---|
//! | [`server`](Server) | binds, accepts, drains, cuts |
//! | `accept` | one listener's accept loop; from a socket to a protocol |
//! | `admission` | the caps on connections |
//! | `network` | sets of trusted peers |
//! | `address`, `protocol`, `ending` | the ends of a connection, its protocol, and how it ended |
//! | `proxy` | the PROXY header at the start of a connection; bytes in, addresses out |
//! | `forwarded` | the client of a request that came through proxies |
//! | `tls` | certificates, their selection and reload; client certificates |
//! | `h2c` | from an HTTP/1.1 `Upgrade` to HTTP/2 |
//! | `drive` | one connection's task: hyper's future, the commands, the one lazy timer |
//! | `stream` | the task of one stream (HTTP/2, HTTP/3): window stalls and body deadlines |
//! | `quic` | HTTP/3: from the UDP socket to exchanges |
//! | `connection_fields`, `target` | which fields and which paths are let in |
//! | `dispatch` | from hyper's request to the service and back: validation, panics, response hygiene |
//! | `leftover` | the unread rest of an HTTP/1 request body |
//! | `socket`, `io` | the descriptor, and the stream that hyper reads and writes |
//! | `heads` | tracks HTTP/1 heads, for faults that hyper tolerates and hides; bytes in, verdicts out |
//! | `version`, `extensions` | the version of a request line; the grammar of chunk extensions |
//! | `frames` | tracks HTTP/2 frame headers, for flood budgets; bytes in, verdicts out |
//! | [`alarm`](Alarm) | one timer for each task, moved only when it has to be |
//! | `marks` | how the parts polled inside one task tell that task what they wait for |
//!
//! # Not covered
//!
//! Early hints (103) are not sent. HTTP/1 response trailers reach the wire only if the client sent `TE: trailers` and
//! the response names them in `Trailer` (RFC 9110, 6.5.1 and 6.6.2).

mod accept;
mod address;
mod admission;
mod alarm;
mod body;
mod connection;
mod connection_fields;
mod control;
mod dispatch;
mod drive;
mod ending;
mod exchange;
mod extensions;
mod forwarded;
mod frames;
mod h2c;
mod heads;
mod io;
mod leftover;
mod marks;
mod network;
mod protocol;
mod proxy;
mod quic;
mod response;
mod server;
mod service;
mod settings;
mod sniff;
mod socket;
mod stats;
mod stream;
mod target;
mod tls;
mod tunnel;
mod validate;
mod version;

pub use address::Address;
pub use alarm::Alarm;
pub use body::{BodyError, RequestBody};
pub use connection::Connection;
pub use connection_fields::drop_connection_fields;
pub use ending::{Ending, TimeoutName};
pub use exchange::{Exchange, Held};
pub use network::{Network, Peers};
pub use protocol::{Protocol, Protocols};
pub use response::{Abort, ResponseBody};
pub use roadrunner_h3::{MemberStats, PoolStats};
pub use server::{BindError, BoundListener, DrainOutcome, Server};
pub use service::{Service, end_by, untimed};
pub use settings::{Forwarding, ListenAddress, ListenerConfig};
pub use stats::Stats;
pub use tls::{ClientAuth, ClientCertificate, TlsConfig, TlsError, TlsInfo};
pub use tunnel::{Tunnel, TunnelKind, TunnelRequest};

/// WebTransport sessions; [`Tunnel::into_webtransport`] makes one.
pub mod webtransport {
    pub use roadrunner_h3::DatagramError;
    pub use roadrunner_h3::webtransport::{Close, End, Event, Session, SessionLimits, StreamError};
}

//! WebTransport sessions over HTTP/3: draft-ietf-webtrans-http3-02, which stock browsers use, and 07.
//!
//! A session is an extended CONNECT whose tunnel carries capsules, together with the streams and datagrams that name
//! it: [`Tunnel::into_webtransport`](crate::Tunnel::into_webtransport) makes one. It is pull-driven:
//! [`Session::poll_event`] reads one item at a time, and without polls the windows of its streams stay closed. All
//! operations take the identifier of a stream and may be called between polls.
//!
//! | module | content | does I/O |
//! |---|---|---|
//! | [`code`] | error codes of applications as those of QUIC | no |
//! | [`close`] | CLOSE_WEBTRANSPORT_SESSION | no |
//! | `event` | the events of a session, its limits and its errors | no |
//! | `registry` | matches streams to sessions, and keeps early streams | yes |
//! | `offered` | a session that a client has asked for | yes |
//! | `connect` | the capsules of one session | yes |
//! | `streams` | the streams of one session, and which of them are ready | yes |
//! | `session` | all of it as one source of events | yes |
//!
//! # Not covered
//! - RESET_STREAM_AT (draft 08 and later): quinn has no such frame. A stream that the client resets before its first
//!   bytes have arrived never becomes known.
//! - Flow control of sessions by capsules (draft 09 and later): [`SessionLimits`] and the windows of QUIC take its
//!   place.
//! - Sessions over HTTP/2.

pub mod close;
pub mod code;
mod connect;
mod event;
mod offered;
mod registry;
mod session;
mod streams;

pub use close::Close;
pub use connect::End;
pub use event::{Event, SessionLimits, StreamError};
pub(crate) use offered::Offered;
pub(crate) use registry::{Arrival, Registry};
pub use session::Session;

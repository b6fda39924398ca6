//! WebSocket without sockets: RFC 6455 frames and sessions, RFC 7692 compression, bytes in and events out.
//!
//! - [`handshake`] checks and writes the header fields that open a WebSocket, over HTTP/1.1, 2 and 3.
//! - [`Session`] is one WebSocket: it answers pings, carries out the close handshake, keeps limits and deadlines.
//! - [`Decoder`] and [`Encoder`] are the two halves below it, for callers that want frames.
//!
//! Nothing here reads, writes, waits or uses the clock; the driver does, and passes the time in. Both roles are
//! implemented: servers use one, tests and tools the other. [`Limits`] holds every limit, and [`Violation`] every fault
//! of a peer.
//!
//! # Examples
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//! use roadrunner_websocket::{Config, Event, Message, Role, Session};
//!
//! let now = Instant::now();
//! let config = Arc::new(Config::default());
//! let mut client = Session::new(Role::Client, config.clone(), None, now);
//! let mut server = Session::new(Role::Server, config, None, now);
//!
//! client.send_text("hello", now)?;
//! server.feed(client.outgoing());
//! assert_eq!(server.next_event(now), Some(Event::Message(Message::Text("hello".into()))));
//! # Ok::<(), roadrunner_websocket::SendError>(())
//! ```

mod close;
mod config;
mod decoder;
mod deflate;
mod encoder;
mod frame;
pub mod handshake;
mod mask;
mod message;
mod rate;
mod session;
pub mod utf8;
mod violation;

pub use self::close::{CloseCode, CloseFrame, MAX_REASON};
pub use self::config::{Config, Limits, Rate, Role, Timers};
pub use self::decoder::{Decoder, Frame};
pub use self::deflate::{DeflateConfig, DeflateParams, InvalidAnswer, Level, WindowBits};
pub use self::encoder::{ControlTooLong, Encoder, Kind};
pub use self::frame::MAX_CONTROL;
pub use self::message::{Message, Text};
pub use self::session::{End, Event, SendError, Session, State};
pub use self::violation::Violation;

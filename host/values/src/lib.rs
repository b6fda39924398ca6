//! Plain settings: for each one its type, its default and its meaning, said once for every crate.
//!
//! `roadrunner-manifest` reads these values from a file, and makes the reference of the file from their documentation.
//! The crates that obey them take them as arguments, and have no defaults of their own.
//!
//! | module | values |
//! |---|---|
//! | [`limits`] | one request and its instance, all instances of a component or a tenant, the host |
//! | [`timeouts`] | the deadlines of the transport |
//! | [`http`] | HTTP/1.1, HTTP/2 and HTTP/3, and the request's path and client |
//! | [`transport`] | all settings of the transport, as one value |
//! | [`websocket`], [`webtransport`] | sessions |
//! | [`compile`] | the compiler's process |
//!
//! # Not covered
//! - Ranges of values: the manifest declares them, since it is the only way for a value to come in.
//! - Reading: this crate knows no file and no format.

#![forbid(unsafe_code)]

mod choice;
pub mod compile;
pub mod http;
pub mod limits;
pub mod timeouts;
pub mod transport;
pub mod units;
mod values;
pub mod websocket;
pub mod webtransport;

pub use choice::Choice;
pub use compile::Compile;
pub use http::{ForwardedField, H2c, Http1, Http2, Http3, PathRule};
pub use limits::{Caps, ConnectionCaps, HostCaps, Limits, Quota};
pub use timeouts::Timeouts;
pub use transport::TransportSettings;
pub use values::{Field, Values};
pub use websocket::{AnyOr, WebSocket};
pub use webtransport::{WebTransport, WebTransportCaps};

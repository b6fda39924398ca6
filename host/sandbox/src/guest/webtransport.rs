//! A WebTransport session as a guest sees it: its actions and its events.
//!
//! The other shapes send their output through an outbox. Here a guest's calls name one of many streams, and each stream
//! has its own back-pressure and its own answer. So the guest has a handle on the session itself, behind a trait, since
//! this crate knows no sockets.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::bindings::roadrunner::handler::types;
use crate::guest::event::Event;

/// The actions of a guest in its session: the resource `wt-session`. Its futures are polled in the task of the
/// session's driver.
pub trait WebTransport: Debug + Send + Sync {
    /// Opens a stream, and returns its id. Waits while the client allows no more.
    fn open(&self, bidirectional: bool) -> Waits<'_, u64>;
    /// Sends bytes on a stream. Waits while the client does not read.
    fn send(&self, id: u64, bytes: Bytes) -> Waits<'_, ()>;
    /// Ends a stream after all its bytes.
    fn finish(&self, id: u64);
    /// Gives up sending on a stream.
    fn reset(&self, id: u64, code: u32);
    /// Asks the client to send no more on a stream.
    fn stop(&self, id: u64, code: u32);
    /// Sends a datagram.
    fn send_datagram(&self, bytes: &[u8]) -> Result<(), WebTransportError>;
    /// Closes the session.
    fn close(&self, code: u32, reason: &str);
}

/// A call of a guest that may have to wait.
pub type Waits<'a, T> = Pin<Box<dyn Future<Output = Result<T, WebTransportError>> + Send + 'a>>;

/// The reason why a call of a guest did nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WebTransportError {
    /// The stream or the session is over.
    Closed,
    /// A policy, named here, forbids it.
    Refused(&'static str),
    /// The data is larger than this many bytes.
    TooLarge(u64),
}

/// An event in a WebTransport session.
#[derive(Debug)]
pub enum WebTransportEvent {
    /// The handshake's answer was sent.
    Open,
    /// The client opened a stream.
    Opened {
        /// The stream.
        id: u64,
        /// Whether the guest can send on it.
        bidirectional: bool,
    },
    /// Bytes arrived on a stream.
    Data(u64, Bytes),
    /// The client has sent all of a stream.
    Finished(u64),
    /// The client gave up sending on a stream, with a code.
    Reset(u64, u32),
    /// The client wants no more of a stream, with a code.
    Stopped(u64, u32),
    /// A datagram arrived.
    Datagram(Bytes),
    /// The client asks to finish soon.
    Draining,
    /// The client closed the session, with a code and a reason.
    Closed(u32, String),
    /// Anything else.
    Event(Event),
}

/// The guest's end of a session: the resource `wt-session`.
#[derive(Debug)]
pub struct SessionHandle(pub(crate) Arc<dyn WebTransport>);

/// Events of a session, sorted by callback.
pub(crate) enum Lowered {
    Open,
    Session(types::WtEvent),
    Event(Event),
}

impl WebTransportEvent {
    pub(crate) fn lower(self) -> Lowered {
        Lowered::Session(match self {
            Self::Open => return Lowered::Open,
            Self::Event(event) => return Lowered::Event(event),
            Self::Opened { id, bidirectional } => types::WtEvent::Opened(types::WtStream { id, bidirectional }),
            Self::Data(id, bytes) => types::WtEvent::Data(types::WtData { id, bytes: bytes.into() }),
            Self::Finished(id) => types::WtEvent::Finished(id),
            Self::Reset(id, code) => types::WtEvent::Reset(types::WtAbort { id, code }),
            Self::Stopped(id, code) => types::WtEvent::Stopped(types::WtAbort { id, code }),
            Self::Datagram(bytes) => types::WtEvent::Datagram(bytes.into()),
            Self::Draining => types::WtEvent::Draining,
            Self::Closed(code, reason) => types::WtEvent::Closed(types::WtClose { code, reason }),
        })
    }
}

impl From<WebTransportError> for types::Error {
    fn from(error: WebTransportError) -> Self {
        match error {
            WebTransportError::Closed => Self::Closed,
            WebTransportError::Refused(rule) => Self::Refused(rule.to_owned()),
            WebTransportError::TooLarge(limit) => Self::TooLarge(limit),
        }
    }
}

//! The acceptance of a WebTransport session, and the session after it.

use std::any::Any;
use std::fmt;

use super::{Event, Next, Response, Shape, header_setters};
use crate::bindings::roadrunner::handler::types as wit;
use crate::error::Result;

/// The acceptance of a WebTransport session: streams and datagrams over one HTTP/3 connection.
///
/// ```no_run
/// # use roadrunner_guest::{Next, WebTransport, WtEvent};
/// // Sends back what comes on the streams that go both ways.
/// WebTransport::new(|event, session| {
///     match event {
///         WtEvent::Data { id, bytes } => session.send(id, bytes)?,
///         WtEvent::Finished(id) => session.finish(id),
///         _ => {}
///     }
///     Ok(Next::Continue)
/// });
/// ```
#[derive(Debug)]
pub struct WebTransport {
    pub(crate) response: Response,
}

impl WebTransport {
    /// Makes a session that is driven by a closure, which is called for each event of the session.
    pub fn new(on_session_event: impl FnMut(WtEvent, &WtSession<'_>) -> Result<Next> + 'static) -> Self {
        Self::session(on_session_event)
    }

    /// Makes a session that is driven by a value that implements [`WebTransportHandler`].
    pub fn session(handler: impl WebTransportHandler) -> Self {
        Self { response: Response::new(Shape::WebTransport(Box::new(handler))) }
    }
}

header_setters!(WebTransport, response);

/// The driver of a WebTransport session. [`Error::Closed`](crate::Error::Closed) concerns one stream, so a callback
/// that returns it continues with the next event; any other error ends the session as a fault, with code 1011.
///
/// A type that serde can serialise can hibernate, if the [`handler`](crate::handler) attribute names it: after a time
/// without an event its instance is dropped, and the next event restores the value in a fresh instance. The streams of
/// the session stay open, with their ids.
pub trait WebTransportHandler: Any {
    /// Called once, after the handshake's answer was sent.
    ///
    /// # Errors
    /// See [`WebTransportHandler`].
    fn on_open(&mut self, session: &WtSession<'_>) -> Result<Next> {
        let _ = session;
        Ok(Next::Continue)
    }

    /// Called for each event of the session.
    ///
    /// # Errors
    /// See [`WebTransportHandler`].
    fn on_session_event(&mut self, event: WtEvent, session: &WtSession<'_>) -> Result<Next>;

    /// Called for each other event. The default ignores messages and timers; on a shutdown of the host it closes the
    /// session with 1001.
    ///
    /// # Errors
    /// See [`WebTransportHandler`].
    fn on_event(&mut self, event: Event, session: &WtSession<'_>) -> Result<Next> {
        if let Event::Drain(_) = event {
            session.close(1001, "the server is shutting down");
        }
        Ok(Next::Continue)
    }
}

impl<F: FnMut(WtEvent, &WtSession<'_>) -> Result<Next> + 'static> WebTransportHandler for F {
    fn on_session_event(&mut self, event: WtEvent, session: &WtSession<'_>) -> Result<Next> {
        self(event, session)
    }
}

/// An event of a WebTransport session. The WIT item is `types.wt-event`. Streams have ids that are unique in the
/// session.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum WtEvent {
    /// The client closed the session; [`Event::Disconnect`] follows.
    Closed {
        /// The application's code.
        code: u32,
        /// At most 1024 bytes.
        reason: String,
    },
    /// Bytes came on a stream.
    Data {
        /// The stream.
        id: u64,
        /// Never empty, at most 64 KiB.
        bytes: Vec<u8>,
    },
    /// A datagram came.
    Datagram(Vec<u8>),
    /// The client asks to finish soon.
    Draining,
    /// The client has sent all data of a stream.
    Finished(u64),
    /// The client opened a stream.
    Opened {
        /// The stream.
        id: u64,
        /// Whether this side can send on it.
        bidirectional: bool,
    },
    /// The client stopped sending on a stream, with a reset.
    Reset {
        /// The stream.
        id: u64,
        /// The application's code; 0 if the client gave none.
        code: u32,
    },
    /// The client wants no more of a stream: nothing can be sent on it.
    Stopped {
        /// The stream.
        id: u64,
        /// The application's code; 0 if the client gave none.
        code: u32,
    },
}

/// The operations of a WebTransport session. Operations without a result ignore a stream that is unknown, or over in
/// their direction.
pub struct WtSession<'a>(&'a wit::WtSession);

impl<'a> WtSession<'a> {
    #[cfg(target_family = "wasm")]
    pub(crate) fn new(session: &'a wit::WtSession) -> Self {
        Self(session)
    }

    /// Opens a bidirectional stream, and returns its id. Waits while the client allows no more.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused) above the host's limit, [`Error::Closed`](crate::Error::Closed) when
    /// the session is over.
    pub fn open_bidirectional(&self) -> Result<u64> {
        Ok(self.0.open_bidirectional()?)
    }

    /// Opens a stream to the client, and returns its id. Waits while the client allows no more.
    ///
    /// # Errors
    /// As [`WtSession::open_bidirectional`].
    pub fn open_unidirectional(&self) -> Result<u64> {
        Ok(self.0.open_unidirectional()?)
    }

    /// Sends bytes on a stream. Waits while the client does not read.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) for a stream that is over or was stopped.
    pub fn send(&self, id: u64, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.0.send(id, bytes.as_ref())?)
    }

    /// Ends a stream on which everything was sent.
    pub fn finish(&self, id: u64) {
        self.0.finish(id);
    }

    /// Stops sending on a stream with a reset; data sent before may not arrive.
    pub fn reset(&self, id: u64, code: u32) {
        self.0.reset(id, code);
    }

    /// Asks the client to stop sending on a stream, which gives no more events.
    pub fn stop(&self, id: u64, code: u32) {
        self.0.stop(id, code);
    }

    /// Sends a datagram, which may be lost. Never waits: it displaces older datagrams that still wait.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) with the size that the path takes now,
    /// [`Error::Refused`](crate::Error::Refused) when the client accepts no datagrams.
    pub fn send_datagram(&self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.0.send_datagram(bytes.as_ref())?)
    }

    /// Closes the session and all of its streams. At most 1024 bytes of the reason are sent.
    pub fn close(&self, code: u32, reason: &str) {
        self.0.close(code, reason);
    }
}

impl fmt::Debug for WtSession<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WtSession").finish_non_exhaustive()
    }
}

impl From<wit::WtEvent> for WtEvent {
    fn from(event: wit::WtEvent) -> Self {
        match event {
            wit::WtEvent::Closed(wit::WtClose { code, reason }) => Self::Closed { code, reason },
            wit::WtEvent::Data(wit::WtData { id, bytes }) => Self::Data { id, bytes },
            wit::WtEvent::Datagram(bytes) => Self::Datagram(bytes),
            wit::WtEvent::Draining => Self::Draining,
            wit::WtEvent::Finished(id) => Self::Finished(id),
            wit::WtEvent::Opened(wit::WtStream { id, bidirectional }) => Self::Opened { id, bidirectional },
            wit::WtEvent::Reset(wit::WtAbort { id, code }) => Self::Reset { id, code },
            wit::WtEvent::Stopped(wit::WtAbort { id, code }) => Self::Stopped { id, code },
        }
    }
}

//! The acceptance of a WebSocket handshake, and the session after it.

use std::any::Any;
use std::cell::Cell;
use std::fmt;

use super::{Event, Next, Response, Shape, header_setters};
use crate::bindings::roadrunner::handler::types as wit;
use crate::error::Result;

/// The acceptance of a WebSocket handshake (RFC 6455, 8441 or 9220). The host answers pings, reassembles messages and
/// checks UTF-8.
///
/// ```no_run
/// # use roadrunner_guest::{Next, WebSocket};
/// WebSocket::new(|message, out| {
///     out.send(message)?;
///     Ok(Next::Continue)
/// });
/// ```
#[derive(Debug)]
pub struct WebSocket {
    pub(crate) response: Response,
}

impl WebSocket {
    /// Makes a WebSocket that is driven by a closure, which is called for each complete message.
    pub fn new(on_message: impl FnMut(WsMessage, &Sender<'_>) -> Result<Next> + 'static) -> Self {
        Self::session(on_message)
    }

    /// Makes a WebSocket that is driven by a value that implements [`WebSocketHandler`].
    pub fn session(handler: impl WebSocketHandler) -> Self {
        Self { response: Response::new(Shape::WebSocket { handler: Box::new(handler), subprotocol: None }) }
    }

    /// Chooses a subprotocol: one of those that [`crate::Request::upgrade`] lists.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        if let Shape::WebSocket { subprotocol, .. } = &mut self.response.shape {
            *subprotocol = Some(name.into());
        }
        self
    }
}

header_setters!(WebSocket, response);

/// The driver of a WebSocket. Errors are treated as those of a [`crate::Session`].
///
/// A type that serde can serialise can hibernate, if the [`handler`](crate::handler) attribute names it: after a time
/// without an event its instance is dropped, and the next event restores the value in a fresh instance.
pub trait WebSocketHandler: Any {
    /// Called once, after the handshake's answer was sent.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) ends the session quietly, any other error as a fault.
    fn on_open(&mut self, out: &Sender<'_>) -> Result<Next> {
        let _ = out;
        Ok(Next::Continue)
    }

    /// Called for each complete message.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) ends the session quietly, any other error as a fault.
    fn on_message(&mut self, message: WsMessage, out: &Sender<'_>) -> Result<Next>;

    /// Called for each other event. The default ignores messages and timers; on a shutdown of the host it closes the
    /// session with 1001 (RFC 6455, 7.4.1).
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) ends the session quietly, any other error as a fault.
    fn on_event(&mut self, event: Event, out: &Sender<'_>) -> Result<Next> {
        if let Event::Drain(_) = event {
            out.close(1001, "the server is shutting down");
            return Ok(Next::stop());
        }
        Ok(Next::Continue)
    }
}

impl<F: FnMut(WsMessage, &Sender<'_>) -> Result<Next> + 'static> WebSocketHandler for F {
    fn on_message(&mut self, message: WsMessage, out: &Sender<'_>) -> Result<Next> {
        self(message, out)
    }
}

/// A WebSocket message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WsMessage {
    /// Bytes.
    Binary(Vec<u8>),
    /// UTF-8 text.
    Text(String),
}

/// Sends on a WebSocket.
pub struct Sender<'a> {
    sender: &'a wit::WsSender,
    closed: Cell<bool>,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(sender: &'a wit::WsSender) -> Self {
        Self { sender, closed: Cell::new(false) }
    }

    /// Whether the close handshake was started with this value.
    #[cfg(target_family = "wasm")]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Sends one message: text, bytes or a [`WsMessage`]. Waits while the client does not read.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) when the client is gone or the close handshake has begun.
    pub fn send(&self, message: impl Into<WsMessage>) -> Result<()> {
        Ok(self.sender.send(&message.into().into())?)
    }

    /// Starts the close handshake. Nothing can be sent after it. Codes are those of RFC 6455, 7.4.1, and 3000 to 4999.
    pub fn close(&self, code: u16, reason: &str) {
        self.sender.close(code, reason);
        self.closed.set(true);
    }
}

impl fmt::Debug for Sender<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl From<String> for WsMessage {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for WsMessage {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Vec<u8>> for WsMessage {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

impl From<&[u8]> for WsMessage {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(bytes.to_vec())
    }
}

impl From<wit::WsMessage> for WsMessage {
    fn from(message: wit::WsMessage) -> Self {
        match message {
            wit::WsMessage::Binary(bytes) => Self::Binary(bytes),
            wit::WsMessage::Text(text) => Self::Text(text),
        }
    }
}

impl From<WsMessage> for wit::WsMessage {
    fn from(message: WsMessage) -> Self {
        match message {
            WsMessage::Binary(bytes) => Self::Binary(bytes),
            WsMessage::Text(text) => Self::Text(text),
        }
    }
}

//! What the `handler` attribute makes of a handler function, and what is held between the host's calls.

use crate::request::Request;
use crate::response::{Response, Session, StreamFn, WebSocketHandler, WebTransportHandler};

/// What the `handler` attribute implements.
pub trait Entry {
    /// Calls the handler.
    fn answer(request: Request) -> Response;

    /// The state of a held session of one of the types that the attribute names.
    fn suspend(held: &Held) -> Option<Vec<u8>> {
        let _ = held;
        None
    }

    /// The session that a state was taken from.
    fn resume(state: &[u8]) -> Option<Held> {
        let _ = state;
        None
    }
}

/// What the host calls next on this instance.
pub enum Held {
    /// `event-loop`.
    EventLoop(Box<dyn Session>),
    /// Nothing is held.
    Nothing,
    /// `streaming`.
    Stream(Box<StreamFn>),
    /// `websocket`.
    WebSocket(Box<dyn WebSocketHandler>),
    /// `webtransport`.
    WebTransport(Box<dyn WebTransportHandler>),
}

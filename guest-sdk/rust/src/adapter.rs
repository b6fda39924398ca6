//! The items that the `handler` attribute generates code for, and the state held between the host's calls.

use crate::request::Request;
use crate::response::{Response, Session, StreamFn, WebSocketHandler, WebTransportHandler};

/// The trait that the `handler` attribute implements.
pub trait Entry {
    /// Calls the handler.
    fn answer(request: Request) -> Response;

    /// The state of a held session of a type that the attribute names.
    fn suspend(held: &Held) -> Option<Vec<u8>> {
        let _ = held;
        None
    }

    /// The session restored from a state.
    fn resume(state: &[u8]) -> Option<Held> {
        let _ = state;
        None
    }
}

/// The callback that the host calls next on this instance.
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

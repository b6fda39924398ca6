//! Events that wake a held instance, and the next step that its callback asks for.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::response::fields;
use crate::bindings::roadrunner::handler::types;
use crate::capability::bus::Message;

/// An event that wakes a held instance.
#[derive(Debug)]
pub enum Event {
    /// A message on a subscribed topic.
    Message(Message),
    /// A timer.
    Timer(u64),
    /// A piece of the request body.
    Body(Bytes),
    /// The end of the request body.
    BodyEnd(HeaderMap),
    /// The host shuts down after this time.
    Drain(Duration),
    /// The last event.
    Disconnect(Disconnect),
}

/// The reason why a session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Disconnect {
    /// The client ended it in an orderly way.
    Closed,
    /// The client reset the stream.
    Reset,
    /// The connection under the stream was lost.
    ConnectionLost,
    /// A limit on idleness or duration was reached.
    Timeout,
}

/// The next step that a callback asks for.
#[derive(Debug)]
pub enum Next {
    /// Wait for the next event.
    Continue,
    /// End the response with these trailers.
    Stop(HeaderMap),
}

impl Event {
    /// Converts the event for the guest.
    pub(crate) fn lower(self) -> types::Event {
        match self {
            Self::Message(message) => types::Event::Message(types::Message {
                topic: message.topic.to_string(),
                payload: message.payload.into(),
                missed: message.missed,
            }),
            Self::Timer(id) => types::Event::Timer(id),
            Self::Body(piece) => types::Event::Body(piece.into()),
            Self::BodyEnd(trailers) => types::Event::BodyEnd(fields(&trailers)),
            Self::Drain(left) => types::Event::Drain(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            Self::Disconnect(reason) => types::Event::Disconnect(match reason {
                Disconnect::Closed => types::Disconnect::Closed,
                Disconnect::Reset => types::Disconnect::Reset,
                Disconnect::ConnectionLost => types::Disconnect::ConnectionLost,
                Disconnect::Timeout => types::Disconnect::Timeout,
            }),
        }
    }
}

//! A long-lived response: it waits for events and pushes to its client.

use std::any::Any;

use super::{Response, Shape, Writer, head_setters};
use crate::bindings::roadrunner::handler::types as wit;
use crate::error::Result;
use crate::fields::Fields;

/// A response that is held open and driven by events: messages of subscribed topics, timers, pieces of the request
/// body, the host's shutdown, the client's departure. Subscribe and set timers in the handler, before returning this.
///
/// ```no_run
/// # use std::time::Duration;
/// # use roadrunner_guest::{Event, EventLoop, Next, timers};
/// timers::after(Duration::from_secs(1));
/// EventLoop::new(|event, out| {
///     if let Event::Timer(_) = event {
///         out.write("that was a second\n")?;
///         return Ok(Next::stop());
///     }
///     Ok(Next::Continue)
/// });
/// ```
#[derive(Debug)]
pub struct EventLoop {
    pub(crate) response: Response,
}

impl EventLoop {
    /// Makes a response that is driven by a closure `|event, out| ...` or by a type that implements [`Session`].
    pub fn new(session: impl FnMut(Event, &Writer<'_>) -> Result<Next> + 'static) -> Self {
        Self::session(session)
    }

    /// Makes a response that is driven by a value that implements [`Session`].
    pub fn session(session: impl Session) -> Self {
        Self { response: Response::new(Shape::EventLoop { session: Box::new(session), body_events: false }) }
    }

    /// Sets whether pieces of the request body arrive as [`Event::Body`] and [`Event::BodyEnd`]. They do not if the
    /// handler has taken the body.
    ///
    /// # Defaults
    /// false
    #[must_use]
    pub fn body_events(mut self, wanted: bool) -> Self {
        if let Shape::EventLoop { body_events, .. } = &mut self.response.shape {
            *body_events = wanted;
        }
        self
    }
}

head_setters!(EventLoop, response);

/// The driver of a held response.
///
/// A type that serde can serialise can hibernate, if the [`handler`](crate::handler) attribute names it: after a time
/// without an event its instance is dropped, and the next event restores the value in a fresh instance.
pub trait Session: Any {
    /// Called for each event, one at a time; its fields live as long as the response.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed), which a write to a departed client returns, ends the session quietly.
    /// Any other error ends it as a fault: the body is aborted, so that the client can tell that it is not whole.
    fn on_event(&mut self, event: Event, out: &Writer<'_>) -> Result<Next>;
}

impl<F: FnMut(Event, &Writer<'_>) -> Result<Next> + 'static> Session for F {
    fn on_event(&mut self, event: Event, out: &Writer<'_>) -> Result<Next> {
        self(event, out)
    }
}

/// An event that wakes a held session. The WIT item is `types.event`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A piece of the request body.
    Body(Vec<u8>),
    /// The end of the request body, with its trailer fields.
    BodyEnd(Fields),
    /// The last event. Nothing more can be written.
    Disconnect(Disconnect),
    /// The host is shutting down; the milliseconds left to finish in.
    Drain(u64),
    /// A message on a subscribed topic.
    Message(Message),
    /// A timer, by its id.
    Timer(u64),
}

/// A message from the bus.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// The topic it was published to.
    pub topic: String,
    /// The published bytes.
    pub payload: Vec<u8>,
    /// How many messages of this topic were lost before this one, because this session's queue was full, or on the way
    /// from another host. If the host was cut off from the others, the number is not known, and at least 1.
    pub missed: u32,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Disconnect {
    /// The client ended it cleanly.
    Closed,
    /// The connection under the stream was lost.
    ConnectionLost,
    /// The client reset the stream.
    Reset,
    /// A limit of the host on idleness or duration was reached.
    Timeout,
}

/// The next step of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Next {
    /// Wait for the next event.
    Continue,
    /// End the response, with these trailer fields (none for a WebSocket or a WebTransport session).
    Stop(Fields),
}

impl Next {
    /// Ends the response without trailer fields.
    pub fn stop() -> Self {
        Self::Stop(Fields::new())
    }

    /// Ends the response with these trailer fields.
    pub fn stop_with(trailers: impl Into<Fields>) -> Self {
        Self::Stop(trailers.into())
    }
}

#[cfg(target_family = "wasm")]
impl From<Next> for wit::Next {
    fn from(next: Next) -> Self {
        match next {
            Next::Continue => Self::Continue,
            Next::Stop(trailers) => Self::Stop(trailers.into()),
        }
    }
}

impl From<wit::Event> for Event {
    fn from(event: wit::Event) -> Self {
        match event {
            wit::Event::Body(piece) => Self::Body(piece),
            wit::Event::BodyEnd(trailers) => Self::BodyEnd(trailers.into()),
            wit::Event::Disconnect(reason) => Self::Disconnect(match reason {
                wit::Disconnect::Closed => Disconnect::Closed,
                wit::Disconnect::ConnectionLost => Disconnect::ConnectionLost,
                wit::Disconnect::Reset => Disconnect::Reset,
                wit::Disconnect::Timeout => Disconnect::Timeout,
            }),
            wit::Event::Drain(left) => Self::Drain(left),
            wit::Event::Message(message) => {
                Self::Message(Message { topic: message.topic, payload: message.payload, missed: message.missed })
            }
            wit::Event::Timer(id) => Self::Timer(id),
        }
    }
}

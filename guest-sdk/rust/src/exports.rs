//! Joins a handler function to the exports of `roadrunner:handler`.
//!
//! A component built with this crate exports every shape's interface. The handler's result is kept here between the
//! host's calls. One instance answers one request, so there is a single place for it.

use std::cell::RefCell;

use crate::adapter::{Entry, Held};
use crate::bindings::exports::roadrunner::handler::{
    event_loop, handler, hibernation, streaming, websocket, websocket_batch, webtransport,
};
use crate::bindings::roadrunner::handler::types as wit;
use crate::error::{Error, Result};
use crate::fields::Fields;
use crate::request::Request;
use crate::response::{Next, Response, Sender, Shape, WebSocketHandler, WebTransportHandler, Writer, WtSession};

thread_local! {
    static HELD: RefCell<Held> = const { RefCell::new(Held::Nothing) };
}

impl<E: Entry> handler::Guest for E {
    fn handle(request: wit::Request) -> wit::Response {
        crate::log::install();
        let (response, held) = split(E::answer(Request::from(request)));
        if let Some(held) = held {
            HELD.with_borrow_mut(|place| *place = held);
        }
        response
    }
}

impl<E: Entry> streaming::Guest for E {
    fn run(out: &wit::BodyWriter) -> Result<Vec<wit::Field>, wit::Error> {
        let held = HELD.with_borrow_mut(|place| std::mem::replace(place, Held::Nothing));
        let Held::Stream(write) = held else { out_of_turn("streaming.run") };
        match write(&Writer::new(out)) {
            Ok(trailers) => Ok(trailers.into()),
            Err(error) => Err(error.into()),
        }
    }
}

impl<E: Entry> event_loop::Guest for E {
    fn on_event(event: wit::Event, out: &wit::BodyWriter) -> wit::Next {
        with_held(|held| match held {
            Held::EventLoop(session) => session.on_event(event.into(), &Writer::new(out)),
            _ => out_of_turn("event-loop.on-event"),
        })
    }
}

impl<E: Entry> websocket::Guest for E {
    fn on_open(out: &wit::WsSender) -> wit::Next {
        with_websocket("websocket.on-open", |handler| handler.on_open(&Sender::new(out)))
    }

    fn on_message(message: wit::WsMessage, out: &wit::WsSender) -> wit::Next {
        with_websocket("websocket.on-message", |handler| handler.on_message(message.into(), &Sender::new(out)))
    }

    fn on_event(event: wit::Event, out: &wit::WsSender) -> wit::Next {
        with_websocket("websocket.on-event", |handler| handler.on_event(event.into(), &Sender::new(out)))
    }
}

impl<E: Entry> websocket_batch::Guest for E {
    /// A handler sees no difference: it is called for each message, up to the one that ends the session.
    fn on_messages(messages: Vec<wit::WsMessage>, out: &wit::WsSender) -> wit::Next {
        with_websocket("websocket-batch.on-messages", |handler| {
            let sender = Sender::new(out);
            for message in messages {
                if let Next::Stop(trailers) = handler.on_message(message.into(), &sender)? {
                    return Ok(Next::Stop(trailers));
                }
                if sender.is_closed() {
                    break;
                }
            }
            Ok(Next::Continue)
        })
    }
}

impl<E: Entry> hibernation::Guest for E {
    fn suspend() -> Option<Vec<u8>> {
        HELD.with_borrow(|held| E::suspend(held))
    }

    fn resume(state: Vec<u8>) {
        crate::log::install();
        let Some(held) = E::resume(&state) else { panic!("no type of this component takes this state") };
        HELD.with_borrow_mut(|place| *place = held);
    }
}

fn with_websocket(call: &str, run: impl FnOnce(&mut dyn WebSocketHandler) -> Result<Next>) -> wit::Next {
    with_held(|held| match held {
        Held::WebSocket(handler) => run(handler.as_mut()),
        _ => out_of_turn(call),
    })
}

impl<E: Entry> webtransport::Guest for E {
    fn on_open(session: &wit::WtSession) -> wit::Next {
        with_webtransport("webtransport.on-open", |handler| handler.on_open(&WtSession::new(session)))
    }

    fn on_session_event(event: wit::WtEvent, session: &wit::WtSession) -> wit::Next {
        with_webtransport("webtransport.on-session-event", |handler| {
            handler.on_session_event(event.into(), &WtSession::new(session))
        })
    }

    fn on_event(event: wit::Event, session: &wit::WtSession) -> wit::Next {
        with_webtransport("webtransport.on-event", |handler| handler.on_event(event.into(), &WtSession::new(session)))
    }
}

/// Calls the handler of a WebTransport session. The end of a stream is not the end of its session; the host reports
/// that.
fn with_webtransport(call: &str, run: impl FnOnce(&mut dyn WebTransportHandler) -> Result<Next>) -> wit::Next {
    with_held(|held| match held {
        Held::WebTransport(handler) => match run(handler.as_mut()) {
            Err(Error::Closed) => Ok(Next::Continue),
            result => result,
        },
        _ => out_of_turn(call),
    })
}

/// Calls a held session. A session that stops is dropped, so that a reused instance does not keep it.
fn with_held(call: impl FnOnce(&mut Held) -> Result<Next>) -> wit::Next {
    HELD.with_borrow_mut(|held| {
        let next = next(call(held));
        if let wit::Next::Stop(_) = next {
            *held = Held::Nothing;
        }
        next
    })
}

/// Splits a response into the part that goes to the host now and the part that is kept for its next call.
fn split(response: Response) -> (wit::Response, Option<Held>) {
    let head = |headers: Fields| wit::Head { status: response.status, headers: headers.into() };
    match response.shape {
        Shape::Buffered { body, trailers } => {
            let buffered = wit::Buffered { head: head(response.headers), body, trailers: trailers.into() };
            (wit::Response::Buffered(buffered), None)
        }
        Shape::EventLoop { session, body_events } => {
            let start = wit::LoopStart { head: head(response.headers), body_events };
            (wit::Response::Loop(start), Some(Held::EventLoop(session)))
        }
        Shape::SendFile { directory, path, range } => {
            let range = range.map(|range| wit::ByteRange { start: range.start, length: range.length });
            (wit::Response::Sendfile(wit::Sendfile { head: head(response.headers), directory, path, range }), None)
        }
        Shape::Stream(write) => (wit::Response::Stream(head(response.headers)), Some(Held::Stream(write))),
        Shape::WebSocket { handler, subprotocol } => {
            let start = wit::WebsocketStart { headers: response.headers.into(), subprotocol };
            (wit::Response::Websocket(start), Some(Held::WebSocket(handler)))
        }
        Shape::WebTransport(handler) => {
            (wit::Response::Webtransport(response.headers.into()), Some(Held::WebTransport(handler)))
        }
    }
}

/// Converts a callback's result. The contract's `next` has no error. A client that left ends the session quietly; a
/// fault becomes a trap, because only a trap aborts the body, and a truncated body must not look whole.
fn next(result: Result<Next>) -> wit::Next {
    match result {
        Ok(next) => next.into(),
        Err(Error::Closed) => Next::stop().into(),
        Err(error) => panic!("the session failed: {error}"),
    }
}

/// Traps: the host calls only the callbacks that the response announced.
fn out_of_turn(call: &str) -> ! {
    panic!("the host called {call}, which the response did not ask for")
}

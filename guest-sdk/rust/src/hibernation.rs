//! Converts sessions to bytes and back, for the types that the `handler` attribute names.
//!
//! The first byte gives the type, in the attribute's order; the rest is CBOR (RFC 8949), which carries everything that
//! serde can describe. Only the same component ever reads it. Only the attribute uses this module.

use std::any::Any;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::adapter::Held;
use crate::response::{Session, WebSocketHandler, WebTransportHandler};

/// The two functions of a shape.
macro_rules! shape {
    ($shape:ident, $driver:ident, $suspend:ident, $resume:ident) => {
        /// The state of a held session of this shape, if a `T` drives it.
        pub fn $suspend<T: $driver + Serialize>(index: u8, held: &Held) -> Option<Vec<u8>> {
            let Held::$shape(driver) = held else { return None };
            let driver: &dyn Any = driver.as_ref();
            driver.downcast_ref::<T>().and_then(|driver| encode(index, driver))
        }

        /// The session of this shape, restored from its state, if a `T` drove it.
        pub fn $resume<T: $driver + DeserializeOwned>(index: u8, state: &[u8]) -> Option<Held> {
            decode::<T>(index, state).map(|driver| Held::$shape(Box::new(driver)))
        }
    };
}

shape!(EventLoop, Session, suspend_event_loop, resume_event_loop);
shape!(WebSocket, WebSocketHandler, suspend_websocket, resume_websocket);
shape!(WebTransport, WebTransportHandler, suspend_webtransport, resume_webtransport);

/// Encodes a session; `None`, which keeps the session in its instance, if its current value cannot be serialised.
fn encode(index: u8, value: &impl Serialize) -> Option<Vec<u8>> {
    let mut state = vec![index];
    match ciborium::into_writer(value, &mut state) {
        Ok(()) => Some(state),
        Err(error) => {
            let reason = match error {
                ciborium::ser::Error::Io(error) => error.to_string(),
                ciborium::ser::Error::Value(reason) => reason,
            };
            crate::log::warn!("the session cannot hibernate: {reason}");
            None
        }
    }
}

fn decode<T: DeserializeOwned>(index: u8, state: &[u8]) -> Option<T> {
    let encoded = state.strip_prefix(&[index])?;
    match ciborium::from_reader(encoded) {
        Ok(value) => Some(value),
        Err(error) => panic!("the state of the session cannot be read back: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{Event, Next, Result, Sender, Writer, WsMessage, WtEvent, WtSession};

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Room {
        name: String,
        bytes: Vec<u8>,
        seen: std::collections::BTreeMap<u64, (bool, Option<char>)>,
    }

    #[derive(Deserialize, Serialize)]
    struct Clock(u32);

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Streams(Vec<u64>);

    impl WebSocketHandler for Room {
        fn on_message(&mut self, _: WsMessage, _: &Sender<'_>) -> Result<Next> {
            Ok(Next::Continue)
        }
    }

    impl Session for Clock {
        fn on_event(&mut self, _: Event, _: &Writer<'_>) -> Result<Next> {
            Ok(Next::Continue)
        }
    }

    impl WebTransportHandler for Streams {
        fn on_session_event(&mut self, _: WtEvent, _: &WtSession<'_>) -> Result<Next> {
            Ok(Next::Continue)
        }
    }

    #[test]
    fn a_session_comes_back_as_it_was() {
        let room = || Room { name: "a".to_owned(), bytes: vec![0, 255], seen: [(7, (true, Some('x')))].into() };
        let held = Held::WebSocket(Box::new(room()));
        let state = suspend_websocket::<Room>(3, &held).expect("it is a room");
        assert_eq!(state[0], 3);
        assert!(resume_websocket::<Room>(2, &state).is_none(), "another type's index");
        let Some(Held::WebSocket(back)) = resume_websocket::<Room>(3, &state) else { panic!("no WebSocket") };
        let back: &dyn Any = back.as_ref();
        assert_eq!(back.downcast_ref::<Room>(), Some(&room()));

        let held = Held::WebTransport(Box::new(Streams(vec![0, 4])));
        let state = suspend_webtransport::<Streams>(0, &held).expect("they are streams");
        let Some(Held::WebTransport(back)) = resume_webtransport::<Streams>(0, &state) else { panic!("no session") };
        let back: &dyn Any = back.as_ref();
        assert_eq!(back.downcast_ref::<Streams>(), Some(&Streams(vec![0, 4])));
    }

    #[test]
    fn types_and_shapes_are_not_mixed_up() {
        let held = Held::EventLoop(Box::new(Clock(7)));
        assert!(suspend_websocket::<Room>(0, &held).is_none());
        assert!(suspend_webtransport::<Streams>(0, &held).is_none());
        let state = suspend_event_loop::<Clock>(1, &held).expect("it is a clock");
        let Some(Held::EventLoop(back)) = resume_event_loop::<Clock>(1, &state) else { panic!("no event loop") };
        let back: &dyn Any = back.as_ref();
        assert_eq!(back.downcast_ref::<Clock>().map(|clock| clock.0), Some(7));
        assert!(
            suspend_websocket::<Room>(0, &Held::WebSocket(Box::new(|_: WsMessage, _: &Sender<'_>| Ok(Next::Continue))))
                .is_none()
        );
    }
}

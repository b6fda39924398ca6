//! Converts sessions to bytes and back, for the types that the `handler` attribute names.
//!
//! The first byte gives the type, in the attribute's order; the rest is CBOR (RFC 8949), which carries everything that
//! serde can describe. Only the same component ever reads it. Only the attribute uses this module.

use std::any::Any;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::adapter::Held;
use crate::response::{Session, WebSocketHandler};

/// The state of a held WebSocket, if it is driven by a `T`.
pub fn suspend_websocket<T: WebSocketHandler + Serialize>(index: u8, held: &Held) -> Option<Vec<u8>> {
    let Held::WebSocket(handler) = held else { return None };
    let handler: &dyn Any = handler.as_ref();
    handler.downcast_ref::<T>().and_then(|handler| encode(index, handler))
}

/// The state of a held event loop, if it is driven by a `T`.
pub fn suspend_event_loop<T: Session + Serialize>(index: u8, held: &Held) -> Option<Vec<u8>> {
    let Held::EventLoop(session) = held else { return None };
    let session: &dyn Any = session.as_ref();
    session.downcast_ref::<T>().and_then(|session| encode(index, session))
}

/// Restores a held WebSocket from its state, if it was driven by a `T`.
pub fn resume_websocket<T: WebSocketHandler + DeserializeOwned>(index: u8, state: &[u8]) -> Option<Held> {
    decode::<T>(index, state).map(|handler| Held::WebSocket(Box::new(handler)))
}

/// Restores a held event loop from its state, if it was driven by a `T`.
pub fn resume_event_loop<T: Session + DeserializeOwned>(index: u8, state: &[u8]) -> Option<Held> {
    decode::<T>(index, state).map(|session| Held::EventLoop(Box::new(session)))
}

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
    use crate::{Event, Next, Result, Sender, Writer, WsMessage};

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Room {
        name: String,
        bytes: Vec<u8>,
        seen: std::collections::BTreeMap<u64, (bool, Option<char>)>,
    }

    #[derive(Deserialize, Serialize)]
    struct Clock(u32);

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
    }

    #[test]
    fn types_and_shapes_are_not_mixed_up() {
        let held = Held::EventLoop(Box::new(Clock(7)));
        assert!(suspend_websocket::<Room>(0, &held).is_none());
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

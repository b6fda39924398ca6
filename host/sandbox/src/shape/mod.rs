//! Shapes: the ways in which a guest answers. One file has the calls of each that goes on after `handle`.
//!
//! The interfaces that a component may export for them stand in one list.

mod event_loop;
mod stream;
pub(crate) mod websocket;
mod webtransport;

use roadrunner_account::{Failure, Outcome, Shape};

use crate::guest::response::Response;
use crate::instance::Instance;

/// Checks that the component exports what its answer needs, and records the shape.
pub(crate) fn check(instance: &Instance, response: &Response) -> Result<(), Failure> {
    let exports = &instance.binding.component.exports;
    let (shape, is_there, interface) = match response {
        Response::Buffered { .. } => (Shape::Buffered, true, ""),
        Response::Stream(_) => (Shape::Stream, exports.streaming.is_some(), "streaming"),
        Response::Loop { .. } => (Shape::Loop, exports.event_loop.is_some(), "event-loop"),
        Response::Sendfile { .. } => (Shape::Sendfile, true, ""),
        Response::WebSocket { .. } => (Shape::WebSocket, exports.websocket.is_some(), "websocket"),
        Response::WebTransport { .. } => (Shape::WebTransport, exports.webtransport.is_some(), "webtransport"),
    };
    instance.meter.set_shape(shape);
    if is_there {
        return Ok(());
    }
    let detail = format!("the component answered with a shape that needs it to export {interface}");
    Err(Failure::new(Outcome::Unsupported, detail))
}
